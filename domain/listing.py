"""Which threads, or which calls, a list shows."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

ThreadStatus = Literal["active", "waiting", "failed"]


class ThreadFilter(BaseModel):
    """All that is given must hold; without any, all threads. `text`: words that the thread's last prompt has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant: str | None = None
    owner: str | None = None
    agent: str | None = None
    status: ThreadStatus | None = None  # see domain.messages.ThreadRecord
    text: str | None = Field(None, max_length=200)


class CallFilter(BaseModel):
    """Calls that wait for somebody: for an `approval`, or for their `result`. All that is given must hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    waits: Literal["approval", "result"] = "approval"
    tenant: str | None = None
    owner: str | None = None
    thread: str | None = None


class OwnerCount(BaseModel):
    """Somebody who has, or had, threads; `threads` is how many there are."""

    tenant: str = ""
    owner: str
    threads: int = 0


ALL_THREADS = ThreadFilter()
