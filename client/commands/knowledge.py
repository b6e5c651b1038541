"""`cli.py knowledge`: documents into a namespace, and what is in it. Asks the gateway that runs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from client.commands.console import FAILED, Console, Json, Progress, complain, run, tell, tell_pages
from client.knowledge import Counts, File, Shelf, Terms, content_of, files_of, is_there
from domain.errors import InputRefusedError
from domain.knowledge import STATES, Document, KnowledgeHit, place_of
from domain.messages import preview, printable

AT_ONCE = 4  # files that are sent
LOOK_EVERY_S = 0.5
TOLD_EVERY = 100  # documents, where there is no terminal
SHOWN_CHARS = 300

app = typer.Typer(no_args_is_help=True, help="Documents that agents look things up in.")
Namespace = Annotated[str, typer.Option(help="The namespace of the documents.")]
Tenant = Annotated[str, typer.Option(help="Whose documents they are.")]
Filters = Annotated[list[str] | None, typer.Option("--filter", help="name=value; may be given more than once.")]


@dataclass
class Tally:
    """How an import went."""

    sent: int = 0
    known: int = 0
    refused: list[str] = field(default_factory=list)


@app.command("import")
def import_files(
    context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(help="Files (.txt, .md, .pdf) or folders of them.")],
    namespace: Namespace = "default",
    tenant: Tenant = "",
    filters: Filters = None,
    importance: Annotated[float, typer.Option(min=0, max=1, help="How much it counts, 0 to 1.")] = 1.0,
    wait: Annotated[bool, typer.Option(help="Wait until all is read.")] = True,
) -> None:
    """Import documents. What is there already is skipped, so an import that was cut off is just begun again.

    Exit status 0: all is there; 1: some could not be read; 2: it could not be done.
    """
    terms = Terms(importance, _pairs(filters))
    run(context, lambda console: _import(Shelf(console.gateway(), namespace, tenant), paths, terms, wait=wait))


@app.command("list")
def list_documents(
    context: typer.Context,
    namespace: Namespace = "default",
    tenant: Tenant = "",
    status: Annotated[str | None, typer.Option(help=f"Only those that are {', '.join(STATES)}.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="No more than this many.")] = 50,
    as_json: Json = False,
) -> None:
    """List documents, the newest first.

    Exit status 0: they were listed; 2: they could not be.
    """

    async def listed(console: Console) -> int:
        shelf = Shelf(console.gateway(), namespace, tenant)
        return await tell_pages(
            lambda cursor, most: shelf.documents(status, cursor=cursor, limit=most), limit, _line, as_json=as_json
        )

    run(context, listed)


@app.command()
def search(
    context: typer.Context,
    text: Annotated[str, typer.Argument(help="What to look for.")],
    namespace: Namespace = "default",
    tenant: Tenant = "",
    filters: Filters = None,
    limit: Annotated[int, typer.Option(min=1, max=50, help="No more than this many.")] = 5,
    as_json: Json = False,
) -> None:
    """Search as agents do, with scores and sources.

    Exit status 0: something was found; 1: nothing; 2: it could not be searched.
    """

    async def searched(console: Console) -> int:
        shelf = Shelf(console.gateway(), namespace, tenant)
        found = await shelf.search(text, limit=limit, filters=filters or [])
        if found.note:
            typer.echo(found.note, err=True)
        for hit in found.hits:
            tell(_hit(hit), hit.model_dump(), as_json=as_json)
        return 0 if found.hits else FAILED

    run(context, searched)


@app.command()
def delete(
    context: typer.Context,
    key: Annotated[str | None, typer.Argument(help="The key of the document, as the list shows it.")] = None,
    namespace: Namespace = "default",
    tenant: Tenant = "",
    everything: Annotated[bool, typer.Option("--all", help="All of the namespace.")] = False,
) -> None:
    """Delete a document, all of its versions, with what is found of it.

    Exit status 0: it is gone; 1: there was none; 2: it could not be deleted.
    """
    if (key is None) is not everything:
        raise typer.Exit(complain("name a key, or say --all"))

    async def deleted(console: Console) -> int:
        count = await Shelf(console.gateway(), namespace, tenant).delete(key)
        typer.echo(f"deleted {count}")
        return 0 if count else FAILED

    run(context, deleted)


@app.command()
def status(
    context: typer.Context, namespace: Namespace = "default", tenant: Tenant = "", as_json: Json = False
) -> None:
    """How many documents are in which state.

    Exit status 0: none failed; 1: some did; 2: it could not be asked.
    """

    async def told(console: Console) -> int:
        counts = await Shelf(console.gateway(), namespace, tenant).status()
        tell(_counts(counts), counts.model_dump(), as_json=as_json)
        return FAILED if counts.failed else 0

    run(context, told)


async def _import(shelf: Shelf, paths: Sequence[Path], terms: Terms, *, wait: bool) -> int:
    files, others = files_of(paths)
    if others:
        typer.echo(f"{others} files of other kinds are left out", err=True)
    if not files:
        raise InputRefusedError("there is nothing to import: no file ends in .txt, .md or .pdf")
    known, tally, progress = await shelf.known(), Tally(), Progress("sent", len(files), "documents", TOLD_EVERY)
    waiting = iter(files)

    async def send_rest() -> None:
        for file in waiting:
            await _send(shelf, file, known.get(file.key), terms, tally)
            progress.step()

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(send_rest())
    progress.clear()
    for refusal in tally.refused:
        typer.echo(refusal, err=True)
    typer.echo(f"{tally.sent} sent, {tally.known} there already, {len(tally.refused)} refused")
    failed = await _read(shelf) if wait else 0
    return FAILED if failed or tally.refused else 0


async def _send(shelf: Shelf, file: File, known: Document | None, terms: Terms, tally: Tally) -> None:
    try:
        content = await asyncio.to_thread(content_of, file)
        if is_there(known, content, terms):
            tally.known += 1
            return
        await shelf.add(file, content, terms)
        tally.sent += 1
    except (InputRefusedError, OSError) as error:
        tally.refused.append(printable(f"{file.key}: {preview(str(error), 300)}"))


async def _read(shelf: Shelf) -> int:
    """Wait until all is read; returns how many failed."""
    counts = await shelf.status()
    total = counts.pending
    progress = Progress("read", total, "documents", TOLD_EVERY)
    while counts.pending:
        progress.reach(max(0, total - counts.pending))
        await asyncio.sleep(LOOK_EVERY_S)
        counts = await shelf.status()
    progress.clear()
    typer.echo(_counts(counts))
    if counts.failed:
        for document in (await shelf.documents("failed", limit=20)).items:
            typer.echo(_line(document), err=True)
    return counts.failed


def _pairs(filters: Sequence[str] | None) -> dict[str, str]:
    found = {}
    for text in filters or []:
        name, equals, value = text.partition("=")
        if not equals:
            raise typer.Exit(complain(f"--filter {text[:60]!r} is no name=value, such as lang=de"))
        found[name] = value
    return found


def _line(document: Document) -> str:
    at = datetime.fromtimestamp(document.updated_at, UTC)
    how = f"{document.status}, {document.done} of {document.chunks} chunks" if document.chunks else document.status
    why = f": {document.error}" if document.error else ""
    return printable(f"{document.id}  {at:%Y-%m-%d %H:%M}  {preview(document.key, 80)}  {how}{why}")


def _hit(hit: KnowledgeHit) -> str:
    return printable(f"{hit.score:.3f}  {place_of(hit)}\n  {preview(hit.passage, SHOWN_CHARS)}")


def _counts(counts: Counts) -> str:
    return ", ".join(f"{count:,} {state}" for state, count in counts.model_dump().items() if count) or "no documents"
