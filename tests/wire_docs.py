"""Writes docs/wire.md from the table workflows/interface.py: `python -m tests.wire_docs --write`.

With `--check`, which `make check` does, it fails if the page is not what would be written.
"""

from __future__ import annotations

import inspect
import json
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from domain import ids
from domain.delivery import PromptEnd
from workflows.interface import ENTRIES, GATED_ARGUMENTS, GATED_TOOL, TASK_QUEUE, WORKFLOW, Entry

PAGE = Path(__file__).resolve().parent.parent / "docs" / "wire.md"
THREAD = "support-42"
WORKFLOW_ID = ids.workflow_id(THREAD)
STARTED = ["--type", WORKFLOW, "--task-queue", TASK_QUEUE, "--workflow-id", WORKFLOW_ID]

HEAD = f"""\
<!-- Written by `python -m tests.wire_docs --write` from workflows/interface.py. Do not edit. -->

# The wire

What a program in any language sends to a thread through Temporal, and what it gets back. A thread is a workflow of type
`{WORKFLOW}` with the id `thread/<thread_id>`, on the task queue `{TASK_QUEUE}` (or what `EVERTHREAD_TASK_QUEUE` says).
Each input is one JSON value, encoded `json/plain`; an answer leaves out the fields that equal their default. The names are
permanent, and fields are only ever added, with defaults.

A **signal** is taken without an answer: what cannot be taken is recorded on the thread as a refused message. An **update**
that cannot be taken fails with an application error of the type that is named with it, and whose text says what to do.
The commands are those of the `temporal` command line; `--address` and `--namespace` say where, if not on this machine.
"""


SENT = PromptEnd(
    thread=THREAD,
    prompt_id="p-5",
    status="answered",
    turn=3,
    message_id="0f0c4b0e-6f0c-5f0e-8a53-0b9c3d1f7a42",
    text="It left our house this morning.",
    error=None,
)
REPLY = f"""\
## What a thread sends

To a prompt's `reply_to`, once the prompt has ended: to a workflow the signal `answer` (or the one that `signal` names), to a
web address a signed POST, with the same JSON, a [PromptEnd](#promptend). See [Replies](temporal.md#replies).

```json
{SENT.model_dump_json(indent=2)}
```
"""


def page() -> str:
    return "\n".join([HEAD, *_summary(), *_entries(), REPLY, *_types()]).rstrip() + "\n"


def _summary() -> Iterator[str]:
    yield "| | name | input | answer | what it does |"
    yield "|---|---|---|---|---|"
    for entry in ENTRIES:
        yield f"| {entry.kind} | [`{entry.name}`](#{_anchor(entry)}) | {_link(entry.takes)} | {_link(entry.gives)} | {entry.about} |"
    yield ""


def _title(entry: Entry) -> str:
    return f"{entry.kind.capitalize()} {entry.name}"


def _anchor(entry: Entry) -> str:
    return _title(entry).lower().replace(" ", "-")


def _link(model: type[BaseModel] | None) -> str:
    return f"[{model.__name__}](#{model.__name__.lower()})" if model else "none"


def _entries() -> Iterator[str]:
    for entry in ENTRIES:
        yield f"## {_title(entry)}\n\n{entry.about}"
        if entry.busy:
            yield "The example is about a thread that answers `p-3` while `p-4` waits."
        if entry.gated:
            yield (
                f"The example is about a thread in which a call of `{GATED_TOOL}` with {GATED_ARGUMENTS} waits for an "
                "approval; the query `status` tells its `digest`."
            )
        if entry.operated:
            yield "The example is about a thread that ada has taken over."
        yield f"\nInput: {_link(entry.takes)}. Answer: {_link(entry.gives)}."
        if entry.fails:
            yield f"Fails with {', '.join(f'`{kind.__name__}`' for kind in entry.fails)}."
        yield "\n```sh"
        yield from (_shown(command) for command in commands(entry))
        yield "```\n"
        if entry.answer is not None:
            yield f"```json\n{json.dumps(entry.answer, indent=2)}\n```\n"


def commands(entry: Entry) -> Iterator[list[str]]:
    """The ways to call a name, as argument lists of `temporal workflow`."""
    sent = ["--input", json.dumps(entry.example)] if entry.example is not None else []
    called = ["--workflow-id", WORKFLOW_ID, "--name", entry.name, *sent]
    prefixed = [f"--{entry.kind}-input", *sent[1:]] if sent else []
    if entry.kind == "start":
        yield ["start", *STARTED, *sent]
    elif entry.kind == "signal":
        yield ["signal", *called]
        if entry.opens:
            yield ["signal-with-start", *STARTED, "--signal-name", entry.name, *prefixed]
    elif entry.kind == "update":
        yield ["update", "execute", *called]
        if entry.opens:
            policy = ["--id-conflict-policy", "UseExisting"]
            yield ["execute-update-with-start", *STARTED, *policy, "--update-name", entry.name, *prefixed]
    else:
        yield ["query", *called]


def _shown(command: list[str]) -> str:
    """A command as it is typed, on several lines where it is long."""
    words = ["temporal", "workflow", *map(shlex.quote, command)]
    lines, line = [], ""
    for word in words:
        if word.startswith("--") and len(line) + len(word) > 70:
            lines.append(line.rstrip())
            line = "    "
        line += f"{word} "
    return " \\\n".join([*lines, line.rstrip()])


def _types() -> Iterator[str]:
    """Every model of the table, and those that they are made of, once."""
    yield "## The JSON\n"
    done: set[str] = set()
    models: list[type[BaseModel]] = [model for entry in ENTRIES for model in (entry.takes, entry.gives) if model]
    models.append(PromptEnd)
    for model in models:
        schema = model.model_json_schema()
        for name, part in ({model.__name__: schema} | schema.get("$defs", {})).items():
            if name not in done:
                done.add(name)
                yield from _type(name, part)


def _type(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield f"### {name}\n\n{inspect.cleandoc(schema.get('description', ''))}\n"
    required = schema.get("required", [])
    yield "| field | JSON | default |\n|---|---|---|"
    for field, part in schema.get("properties", {}).items():
        yield f"| `{field}` | {_kind(part)} | {_default(part, required=field in required)} |"
    yield ""


def _default(part: Mapping[str, Any], *, required: bool) -> str:
    if required:
        return "required"
    default = part.get("default")
    return "" if default in (None, "", {}, []) else f"`{json.dumps(default)}`"


def _kind(part: Mapping[str, Any]) -> str:
    """A JSON schema in words."""
    if "$ref" in part:
        name = part["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in part:
        return " or ".join(_kind(one) for one in part["anyOf"] if one.get("type") != "null")
    if "enum" in part or "const" in part:
        return ", ".join(f"`{json.dumps(value)}`" for value in part.get("enum", [part.get("const")]))
    if part.get("type") == "array":
        items = _kind(part.get("items", {}))
        return f"list of {items}" if items.startswith("[") else f"list of {items}s"
    return f"{part.get('type', 'any JSON')}{_rule(part)}"


def _rule(part: Mapping[str, Any]) -> str:
    low, high = part.get("minLength"), part.get("maxLength")
    rules = [f"{low or 0} to {high} characters"] if high else []
    if "pattern" in part:
        pattern = part["pattern"].replace("|", r"\|")
        rules.append(f"`{pattern}`")
    bounds = {"minimum": "from", "exclusiveMinimum": "over", "maximum": "to", "exclusiveMaximum": "under"}
    rules += [f"{word} {part[key]:,}" for key, word in bounds.items() if key in part]
    return f" ({', '.join(rules)})" if rules else ""


def main() -> int:
    """Returns the exit status."""
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page():
        return 0
    print("docs/wire.md is not what the code says: run `python -m tests.wire_docs --write`", file=sys.stderr)  # noqa: T201
    return 1


if __name__ == "__main__":
    sys.exit(main())
