"""The local model as a child process, and the chat adapter against it."""

from __future__ import annotations

import asyncio
import importlib.util
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel

from adapters import local_model
from adapters.openai_chat import OpenAIChat
from domain.chat import ChatMessage
from domain.content import Part
from domain.errors import ImagesRefusedError, ModelRefusedError
from domain.model import AnswerFormat, Completion, ModelRequest, TextDelta
from domain.output import output_of
from tests.programs import ROOT, environment

IN_TIME = 40  # seconds, on a busy machine


class Ticket(BaseModel):
    kind: Literal["question", "fault"]
    urgent: bool


installed = importlib.util.find_spec("xllamacpp") is not None and local_model.find_weights() is not None
needs_the_model = pytest.mark.skipif(not installed, reason="the group `local` is not installed")


@asynccontextmanager
async def child(stdin: int = PIPE) -> AsyncIterator[tuple[Process, str]]:
    """The process and the address in its READY line."""
    command = (sys.executable, "-m", "adapters.local_model")
    process = await asyncio.create_subprocess_exec(
        *command, stdin=stdin, stdout=PIPE, stderr=PIPE, cwd=ROOT, env=environment()
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(IN_TIME):
            word, _, address = (await process.stdout.readline()).decode().strip().partition(" ")
        assert word == "READY"
        yield process, address
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@asynccontextmanager
async def chatting(address: str) -> AsyncIterator[OpenAIChat]:
    chat = OpenAIChat(base_url=address, api_key="", default_model=local_model.NAME)
    try:
        yield chat
    finally:
        await chat.close()


@needs_the_model
async def test_it_streams_an_answer_and_ends_with_its_input() -> None:
    async with child() as (process, address), chatting(address) as chat:
        assert await chat.probe() == [local_model.NAME]
        messages = [ChatMessage("system", "You are kind."), ChatMessage("user", "What is the capital of France?")]
        request = ModelRequest(None, messages, options={"max_tokens": 30})
        pieces = [piece async for piece in chat.stream(request)]
        deltas, completion = pieces[:-1], pieces[-1]
        assert isinstance(completion, Completion)
        assert "".join(piece.text for piece in deltas if isinstance(piece, TextDelta)) == completion.text
        assert len(deltas) > 1
        assert completion.finish in {"stop", "length"}
        assert completion.usage is not None
        assert completion.usage.completion_tokens > 1
        assert process.stdin is not None
        process.stdin.close()
        assert await asyncio.wait_for(process.wait(), IN_TIME) == 0


@needs_the_model
async def test_even_the_small_model_keeps_to_a_schema() -> None:
    """llama.cpp holds it to the letter; what it chooses is another matter."""
    output = output_of(Ticket)
    form = AnswerFormat(output.name, output.sent, strict=output.strict)
    async with child() as (_, address), chatting(address) as chat:
        said = [ChatMessage("user", "The app crashes when I log in. File a ticket as JSON.")]
        pieces = [piece async for piece in chat.stream(ModelRequest(None, said, answer_format=form))]
    completion = pieces[-1]
    assert isinstance(completion, Completion)
    assert isinstance(Ticket.model_validate_json(completion.text), Ticket)


@needs_the_model
async def test_it_ends_on_sigterm_and_serves_without_input_until_then() -> None:
    async with child(DEVNULL) as (process, address), chatting(address) as chat:
        assert await chat.probe()
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), IN_TIME) == 0


@needs_the_model
async def test_a_prompt_longer_than_a_slot_is_refused_in_words() -> None:
    async with child() as (_, address), chatting(address) as chat:
        request = ModelRequest(None, [ChatMessage("user", "word " * (local_model.SLOT_TOKENS + 1))])
        with pytest.raises(ModelRefusedError, match=f"exceeds the available context size .{local_model.SLOT_TOKENS}"):
            await anext(chat.stream(request))


@needs_the_model
async def test_an_image_is_refused_for_good() -> None:
    """It says so with the status 500, at which others are asked again."""
    async with child() as (_, address), chatting(address) as chat:
        image = Part(type="image", url="data:image/png;base64,iVBORw0KGgo=")
        with pytest.raises(ImagesRefusedError):
            await anext(chat.stream(ModelRequest(None, [ChatMessage("user", "", parts=[image])])))


async def test_without_the_weights_it_says_how_to_get_them(tmp_path: Path) -> None:
    """A python that sees our code, but nothing that is installed."""
    bare = (
        sys.executable,
        "-I",
        "-S",
        "-c",
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from adapters import local_model; sys.exit(local_model.main())",
    )
    process = await asyncio.create_subprocess_exec(*bare, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, cwd=tmp_path)
    output, errors = await process.communicate()
    assert (process.returncode, output) == (local_model.NOT_INSTALLED, b"")
    assert b"sh bootstrap.sh run local" in errors
    assert errors.count(b"\n") == 1
