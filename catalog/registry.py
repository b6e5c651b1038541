"""The agents a user has defined, by name."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Sequence
from dataclasses import replace

from domain.agent import Agent, AgentFactory
from domain.errors import HookError, SetupError, UnknownAgentError
from domain.handoffs import with_handoffs
from domain.memory_tools import with_memory
from domain.messages import mend_text, preview
from domain.tooling import Asker

BUILD_S = 30.0


class Registry:
    """activities.ports.Catalog over a set of agents."""

    def __init__(self, agents: Sequence[Agent | AgentFactory], default: str) -> None:
        """Raises: SetupError if two agents have one name, or the default or one that another names is none of them."""
        self._agents: dict[str, Agent | AgentFactory] = {}
        for agent in agents:
            if agent.name in self._agents:
                raise SetupError(f"two agents are named {agent.name!r}: rename one of them in catalog/agents/")
            self._agents[agent.name] = agent
        if default not in self._agents:
            raise SetupError(f"EVERTHREAD_AGENT is {default!r}, but the agents are: {', '.join(self.names())}")
        try:
            for agent in self.ready_made():
                self._agents[agent.name] = with_memory(with_handoffs(agent, self._agents))
        except ValueError as error:
            raise SetupError(f"{error}: correct it in catalog/agents/") from None
        self._default = default

    @property
    def default(self) -> str:
        return self._default

    async def agent(self, name: str, asker: Asker | None = None) -> Agent:
        found = self._agents.get(name)
        if found is None:
            raise UnknownAgentError(f"there is no agent {name!r}; the agents are: {', '.join(self.names())}")
        if isinstance(found, Agent):
            return found
        made = await _built(found, asker or Asker())
        try:
            return with_memory(with_handoffs(made, self._agents))
        except ValueError as error:
            raise _error(found, f"returned what cannot be used: {error}") from None

    def names(self) -> list[str]:
        return sorted(self._agents)

    def ready_made(self) -> list[Agent]:
        """Those that are the same for everybody."""
        return [agent for agent in self._agents.values() if isinstance(agent, Agent)]


async def _built(factory: AgentFactory, asker: Asker) -> Agent:
    """Raises: HookError."""
    limit = asyncio.timeout(BUILD_S)
    try:
        async with limit:
            made = await _build(factory, asker)
    except (Exception, SystemExit) as error:
        if limit.expired():
            raise _error(factory, f"did not finish within {BUILD_S:g} s") from error
        raise _error(factory, f"failed: {type(error).__name__}: {error}") from error
    if not isinstance(made, Agent):
        raise _error(factory, f"returned a {type(made).__name__}; return an Agent")
    return replace(made, name=factory.name)


async def _build(factory: AgentFactory, asker: Asker) -> object:
    if inspect.iscoroutinefunction(factory.build):
        return await factory.build(asker)
    made = await asyncio.to_thread(factory.build, asker)
    return await made if inspect.isawaitable(made) else made


def _error(factory: AgentFactory, what: str) -> HookError:
    return HookError(f"The build of agent {factory.name!r} {preview(mend_text(what))}")
