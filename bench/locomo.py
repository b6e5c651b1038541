"""Conversations in LoCoMo's format (https://github.com/snap-research/locomo), as threads of ours."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from domain import ids
from domain.messages import Message

TENANT = "locomo"
CATEGORIES = {1: "multi-hop", 2: "temporal", 3: "open-domain", 4: "single-hop"}  # 5 has no evidence, and is left out
_EVIDENCE = re.compile(r"D:?(\d+):0*(\d+)")


@dataclass(frozen=True)
class Question:
    text: str
    category: int
    evidence: list[str]  # ids of messages


@dataclass(frozen=True)
class Conversation:
    """A thread of its own owner; `rows` in order."""

    name: str
    rows: list[Message]
    questions: list[Question]


def load(folder: Path) -> list[Conversation]:
    """Raises: SystemExit if there are none."""
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise SystemExit(f"DATA: no conversation (*.json) in {folder}")
    return [_conversation(path) for path in paths]


def _conversation(path: Path) -> Conversation:
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    name = path.stem
    rows: list[Message] = []
    by_label: dict[str, str] = {}
    for line, at in _lines(data):
        row = _row(name, len(rows), line, at, first_speaker=rows[0].author if rows else None)
        by_label[line["dia_id"]] = row.id
        rows.append(row)
    return Conversation(name, rows, [*_questions(data, by_label)])


def _lines(data: dict[str, Any]) -> Iterator[tuple[dict[str, Any], float]]:
    """Each with its time, a minute after the one before."""
    sessions = sorted((key for key in data if re.fullmatch(r"session_\d+", key)), key=lambda key: int(key[8:]))
    for key in sessions:
        began = datetime.strptime(data[f"{key}_date_time"].strip(), "%I:%M %p on %d %B, %Y").replace(tzinfo=UTC)
        for number, line in enumerate(data[key]):
            yield line, began.timestamp() + 60.0 * number


def _row(thread: str, place: int, line: dict[str, Any], at: float, first_speaker: str | None) -> Message:
    """What the first speaker says is a user's, what the other one says an assistant's, both by name."""
    speaker, caption = str(line["speaker"]), line.get("blip_caption")
    user = first_speaker in (None, speaker)
    label = f"{place}-{line['dia_id']}"
    return Message(
        id=ids.message_id(thread, label, "prompt" if user else "answer"),
        thread=thread,
        prompt_id=label,
        slot="prompt" if user else "answer",
        role="user" if user else "assistant",
        tenant=TENANT,
        owner=thread,
        turn=place,
        seq=ids.first_seq(place),
        status="answered" if user else "complete",
        text=f"{line['text']} [image: {caption}]" if caption else line["text"],
        author=speaker,
        index="due",
        created_at=at,
        updated_at=at,
    )


def _questions(data: dict[str, Any], by_label: dict[str, str]) -> Iterator[Question]:
    for asked in data["qa"]:
        labels = {f"D{a}:{b}" for text in asked.get("evidence", []) for a, b in _EVIDENCE.findall(text)}
        evidence = sorted(by_label[label] for label in labels if label in by_label)
        if asked.get("category") in CATEGORIES and evidence:
            yield Question(asked["question"], asked["category"], evidence)
