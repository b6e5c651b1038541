"""What a person reads when the system is up."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True)
class Facts:
    """What runs where. Addresses without a scheme are host:port; `ui` is None where Temporal is not ours."""

    version: str
    temporal: str
    namespace: str
    ui: str | None
    gateway: str
    store: str
    model: str
    model_reason: str
    embedding: str
    agent: str
    agents: Sequence[str]
    thread: str | None
    pid: int
    temporal_binary: str
    logs: str


def banner(facts: Facts) -> str:
    return "\n".join([f"Everthread {facts.version}", "", *_parts(facts), ""])


def things_to_try(facts: Facts, thread: str) -> str:
    """The three things that show what this is, each one line to paste."""
    workflow = f"thread/{thread}"
    prompt = json.dumps({"content": "Say hello to the other terminal."})
    signal = shlex.join(
        [
            *(facts.temporal_binary, "workflow", "signal", "--address", facts.temporal, "--namespace", facts.namespace),
            *("--workflow-id", workflow, "--name", "prompt", "--input", prompt),
        ]
    )
    lines = [
        "Three things to try",
        f"  1. Kill it in the middle of a sentence, from another terminal, and start it again:\n       kill -9 {facts.pid}",
        f"  2. Speak to this thread from another terminal:\n       {signal}",
    ]
    if facts.ui:
        page = f"{facts.ui}/namespaces/{facts.namespace}/workflows/{quote(workflow, safe='')}"
        lines.append(f"  3. Look at the thread in Temporal's Web UI:\n       {page}")
    return "\n".join([*lines, "", "Ctrl-D leaves.", ""])


def _parts(facts: Facts) -> list[str]:
    parts = {
        "Temporal": facts.temporal + (f" · Web UI {facts.ui}" if facts.ui else ""),
        "Gateway": f"{facts.gateway}/api/threads",
        "Store": facts.store,
        "Model": facts.model,
        "": facts.model_reason,
        "Embedding": facts.embedding,
        "Agent": f"{facts.agent} (of {', '.join(facts.agents)}) · --agent chooses another",
        "Logs": facts.logs,
    }
    if facts.thread is not None:
        parts["Thread"] = facts.thread
    return [f"  {name:<10} {value}" for name, value in parts.items()]
