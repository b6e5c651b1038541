"""Which reply answers which request."""

from __future__ import annotations

import re
from collections import Counter
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from doubles.chat_request import ChatRequest
from doubles.replies import Reply


class Script(BaseModel):
    """Replies in order of preference, as the control door and a script file have them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    replies: list[Reply] = Field(default_factory=list)
    cycle: bool = False

    @model_validator(mode="after")
    def _every_reply_can_be_reached(self) -> Self:
        """Two plain replies without `times` are a slip: the first would be given for ever."""
        taken: dict[tuple[bool, bool], int] = {}
        for index, reply in enumerate(self.replies):
            kind = (reply.embeds, reply.for_tool_results)
            if (first := taken.get(kind)) is not None:
                raise ValueError(
                    f"replies.{index} is never reached, since replies.{first} answers everything: "
                    "set times or when on that one, or cycle on the script"
                )
            conditions = (reply.when, reply.when_offered, reply.step, reply.times)
            if not self.cycle and all(condition is None for condition in conditions):
                taken[kind] = index
        return self


class Playback:
    """A script being used: counts the uses and goes round."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._used: Counter[int] = Counter()
        self._last = -1  # the plain reply given last, when cycling

    def choose(self, request: ChatRequest) -> tuple[int | None, Reply | None]:
        """Position and reply: (None, the echo) without a script, (None, None) when no reply fits."""
        replies = self._script.replies
        if not replies:
            return None, ECHO
        order = self._cycled() if self._script.cycle else range(len(replies))
        index = next((i for i in order if self._fits(i, request)), None)
        if index is None:
            return None, None
        self._used[index] += 1
        if replies[index].when is None:
            self._last = index
        return index, replies[index]

    def _cycled(self) -> list[int]:
        """Replies with `when` in their order, then the plain ones starting after the one given last."""
        replies = self._script.replies
        asked = [i for i, reply in enumerate(replies) if reply.when is not None]
        plain = [i for i, reply in enumerate(replies) if reply.when is None]
        return asked + [i for i in plain if i > self._last] + [i for i in plain if i <= self._last]

    def _fits(self, index: int, request: ChatRequest) -> bool:
        reply = self._script.replies[index]
        return (
            (reply.times is None or self._used[index] < reply.times)
            and reply.embeds == request.embeds
            and reply.for_tool_results == request.after_tool
            and reply.step in {None, request.step}
            and (reply.when_offered is None or reply.when_offered in request.offered)
            and (reply.when is None or re.search(reply.when, request.user) is not None)
        )


def explain(error: ValidationError) -> str:
    """What is wrong with a script, one `where: what` a line."""
    problems = (
        (".".join(str(part) for part in problem["loc"]) or "script", problem["msg"].removeprefix("Value error, "))
        for problem in error.errors(include_url=False, include_context=False, include_input=False)
    )
    return "\n".join(f"{where}: {what}" for where, what in problems)


ECHO = Reply(text="You said: {user}")
