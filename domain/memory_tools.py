"""The tools by which an agent uses its memory. They are run where the memory is, see activities.remembering."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from domain.agent import Agent, Effect, Tool
from domain.facts import MAX_FACT_CHARS, MAX_REPLACED
from domain.memory import NotesChange

REMEMBER, RECALL, FORGET, UPDATE_MEMORY = "remember", "recall", "forget", "update_memory"


class Remember(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: str = Field(
        description='One fact as a sentence that can be read by itself, such as "User is allergic to peanuts".',
        max_length=MAX_FACT_CHARS,
    )
    replaces: list[str] = Field(
        default_factory=list, max_length=MAX_REPLACED, description="Ids of facts that are no longer so because of it."
    )


class Recall(BaseModel):
    model_config = ConfigDict(extra="forbid")

    query: str = Field(description="What to look for, in a few words.", min_length=1, max_length=1_000)
    limit: int = Field(10, ge=1, le=50)


class Forget(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: str | None = Field(None, description="The id of the fact, as recall and remember tell it.", max_length=100)
    text: str | None = Field(None, description="Or what the fact says.", max_length=MAX_FACT_CHARS)


def with_memory(agent: Agent) -> Agent:
    """The agent with the tools of its memory. Raises: ValueError if it has a tool of such a name itself."""
    memory = agent.memory
    if memory is None:
        return agent
    made = [*(_FACTS if memory.facts else ()), *(_NOTES if memory.working else ())]
    own = tuple(tool for tool in agent.tools if not tool.memory)
    return replace(agent, tools=(*own, *made))


def _tool(name: str, description: str, arguments: type[BaseModel], effect: Effect) -> Tool:
    parameters = {
        key: value for key, value in arguments.model_json_schema().items() if key not in ("title", "description")
    }
    return Tool(name, description, parameters, _parser(arguments), _elsewhere, effect=effect, memory=True)


def _parser(arguments: type[BaseModel]) -> Callable[[str], dict[str, Any]]:
    def parse(text: str) -> dict[str, Any]:
        try:
            return {"arguments": arguments.model_validate_json(text.strip() or "{}")}
        except ValidationError as error:
            problems = (f"{'.'.join(map(str, e['loc'])) or 'arguments'}: {e['msg']}" for e in error.errors())
            raise ValueError("; ".join(problems)) from None

    return parse


def _elsewhere(**_: Any) -> str:
    raise NotImplementedError("the memory itself answers")


_FACTS = (
    _tool(
        REMEMBER,
        "Keep a fact for later conversations. Only what was said in this conversation and will still matter later; not "
        "what you recalled. Name in `replaces` the ids of facts that are no longer so.",
        Remember,
        "idempotent",
    ),
    _tool(RECALL, "Search what is remembered: facts, and what was said in earlier conversations.", Recall, "read"),
    _tool(FORGET, "Forget a fact, by its id or by what it says, when the user wants that.", Forget, "idempotent"),
)
_NOTES = (
    _tool(
        UPDATE_MEMORY,
        "Change your working memory, the document that you always see: replace all of it by `content`, or one passage of "
        "it by `find` and `replace`.",
        NotesChange,
        "idempotent",
    ),
)
