"""Who answers a turn: what an agent's `route` says, asked once for each try at the turn."""

from __future__ import annotations

import structlog

from activities.hooks import call_hook, hook_error
from activities.ports import Catalog, EventLog, Store
from activities.rows import asker_of
from activities.step import Step
from domain import ids
from domain.errors import NotVisibleYetError, UnknownAgentError
from domain.messages import Message, describe
from domain.routing import Route, RouteInfo

HOOK = "route"
RECENT_ROWS = 50

log = structlog.get_logger()


class Routes:
    """Over the ports it is given."""

    def __init__(self, store: Store, events: EventLog, catalog: Catalog) -> None:
        self._store = store
        self._events = events
        self._catalog = catalog

    async def follow(self, step: Step) -> None:
        """Make the step the chosen agent's. An attempt that finds an answer begun leaves it to the agent that began it.

        Raises: HookError if the hook fails, or names nobody that there is.
        """
        route, asked = step.agent.route, step.agent
        assert route is not None
        begun = await self._store.get([step.answer_id])
        name = begun[0].agent if begun else await self._choose(step, route)
        if name is None or name == asked.name:
            return
        try:
            step.pass_to(await self._catalog.agent(name, asker_of(step.request.thread, step.record)))
        except UnknownAgentError as error:
            raise hook_error(asked, HOOK, f"chose an agent that is not there: {error}") from None
        if not begun:
            log.info("turn.routed", prompt_id=step.request.prompt_id, agent=name, by=asked.name)
            data = step.event(prompt_id=step.request.prompt_id, before=asked.name)
            await self._events.publish(step.request.thread, "agent.changed", data)

    async def _choose(self, step: Step, route: Route) -> str | None:
        name = await call_hook(step.agent, HOOK, route, await self._info(step))
        if name is not None and not isinstance(name, str):
            raise hook_error(
                step.agent, HOOK, f"returned {describe(name)}; return the name of an agent, or None for this one"
            )
        return name

    async def _info(self, step: Step) -> RouteInfo:
        request, prompt = step.request, await self._prompt(step)
        recent = await self._store.history(request.thread, ids.first_seq(request.turn), RECENT_ROWS)
        return RouteInfo(
            agent=step.agent.name,
            thread=request.thread,
            turn=request.turn,
            prompt=prompt.text,
            agents=tuple(self._catalog.names()),
            answered_by=tuple(row.agent for row in recent if row.role == "assistant" and row.agent),
            author=prompt.author,
            owner=prompt.owner,
            tenant=prompt.tenant,
            metadata=prompt.metadata,
        )

    async def _prompt(self, step: Step) -> Message:
        for row in [step.prompt] if step.prompt else await self._store.get([step.prompt_row_id]):
            return row
        raise NotVisibleYetError(f"prompt {step.request.prompt_id} does not show yet")
