"""`cli.py facts …`: what is remembered, over the gateway that runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from client.commands.console import Console, Json, run, tell, tell_pages
from domain.facts import Fact, FactFilter, FactStatus, FoundFact
from domain.memory import FactScope
from domain.messages import preview, printable

app = typer.Typer(no_args_is_help=True)
Owner = Annotated[str | None, typer.Option(help="Only of this owner.")]
Tenant = Annotated[str | None, typer.Option(help="Only of this tenant.")]
Agent = Annotated[str | None, typer.Option(help="Only of this agent.")]
Status = Annotated[FactStatus | None, typer.Option(help="Only those that are so.")]
Limit = Annotated[int, typer.Option(min=1, help="No more than this many.")]
FactId = Annotated[str, typer.Argument(help="The fact's id.")]


@app.callback()
def facts() -> None:
    """Look at what is remembered, add to it, forget it. Asks the gateway at EVERTHREAD_HOST and EVERTHREAD_PORT."""


@app.command("list")
def list_facts(
    context: typer.Context,
    owner: Owner = None,
    agent: Agent = None,
    status: Status = None,
    tenant: Tenant = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List facts, the newest first."""
    where = FactFilter(tenant=tenant, owner=owner, agent=agent, status=status)
    run(context, lambda console: _list(console, where, limit, as_json=as_json))


@app.command()
def search(
    context: typer.Context,
    text: Annotated[str, typer.Argument(help="What to look for.")],
    owner: Annotated[str, typer.Option(help="Whose facts.")] = "",
    agent: Agent = None,
    status: Status = None,
    tenant: Tenant = None,
    limit: Limit = 10,
    as_json: Json = False,
) -> None:
    """Search the facts of an owner, the best first."""
    where = FactFilter(tenant=tenant, owner=owner, agent=agent, status=status)
    run(context, lambda console: _search(console, text, where, limit, as_json=as_json))


@app.command()
def add(
    context: typer.Context,
    text: Annotated[str, typer.Argument(help="One fact, as a sentence.")],
    owner: Annotated[str, typer.Option(help="Whose it is.")] = "",
    agent: Annotated[str, typer.Option(help="For this agent alone, with --scope agent.")] = "",
    scope: Annotated[FactScope, typer.Option(help="Who shares it.")] = "owner",
    replaces: Annotated[list[str] | None, typer.Option(help="The id of a fact that is no longer so.")] = None,
    tenant: Annotated[str, typer.Option(help="Of this tenant.")] = "",
    as_json: Json = False,
) -> None:
    """Remember a fact, unless it is known."""
    fields = {"tenant": tenant, "owner": owner, "agent": agent, "scope": scope, "text": text}
    run(context, lambda console: _add(console, fields | {"replaces": replaces or []}, as_json=as_json))


@app.command()
def forget(context: typer.Context, fact: FactId, as_json: Json = False) -> None:
    """Forget a fact: it is no longer recalled, and its history says so."""
    run(context, lambda console: _forget(console, fact, as_json=as_json))


@app.command()
def history(context: typer.Context, fact: FactId, as_json: Json = False) -> None:
    """Print a fact, what it replaced and what replaced it, the oldest first."""
    run(context, lambda console: _history(console, fact, as_json=as_json))


@app.command()
def notes(
    context: typer.Context,
    owner: Annotated[str, typer.Option(help="Whose it is.")] = "",
    agent: Annotated[str, typer.Option(help="Which agent's.")] = "",
    write: Annotated[str | None, typer.Option(help="Put this text in its place.")] = None,
    tenant: Annotated[str, typer.Option(help="Of this tenant.")] = "",
    as_json: Json = False,
) -> None:
    """Print the working memory of an owner and agent, or write it."""
    whose = {"tenant": tenant, "owner": owner, "agent": agent}
    run(context, lambda console: _notes(console, whose, write, as_json=as_json))


async def _list(console: Console, where: FactFilter, limit: int, *, as_json: bool) -> int:
    gateway = console.gateway()
    return await tell_pages(
        lambda cursor, most: gateway.facts(where, cursor=cursor, limit=most), limit, _line, as_json=as_json
    )


async def _search(console: Console, text: str, where: FactFilter, limit: int, *, as_json: bool) -> int:
    for hit in (await console.gateway().search_facts(text, where, limit=limit)).items:
        tell(_hit(hit), hit.model_dump(), as_json=as_json)
    return 0


async def _add(console: Console, fields: dict[str, Any], *, as_json: bool) -> int:
    learned = await console.gateway().add_fact(fields)
    word = "known already" if learned.known else "remembered"
    tell(f"{word}: {_line(learned.fact)}", learned.model_dump(), as_json=as_json)
    return 0


async def _forget(console: Console, fact: str, *, as_json: bool) -> int:
    forgotten = await console.gateway().forget_fact(fact)
    tell(_line(forgotten), forgotten.model_dump(), as_json=as_json)
    return 0


async def _history(console: Console, fact: str, *, as_json: bool) -> int:
    for found in (await console.gateway().fact_history(fact)).items:
        tell(_line(found), found.model_dump(), as_json=as_json)
    return 0


async def _notes(console: Console, whose: dict[str, str], write: str | None, *, as_json: bool) -> int:
    gateway = console.gateway()
    notes = await (gateway.notes(whose) if write is None else gateway.write_notes(whose | {"content": write}))
    tell(printable(notes.text), notes.model_dump(), as_json=as_json)
    return 0


def _line(fact: Fact) -> str:
    since = f"{datetime.fromtimestamp(fact.valid_from, UTC):%Y-%m-%d %H:%M}"
    until = f" to {datetime.fromtimestamp(fact.valid_to, UTC):%Y-%m-%d %H:%M}" if fact.valid_to is not None else ""
    who = " ".join(name for name in (fact.tenant, fact.owner, fact.agent) if name)
    return printable(f"{fact.id}  {fact.status}  {since}{until}  {preview(who, 60)}  {preview(fact.text, 200)}")


def _hit(hit: FoundFact) -> str:
    return f"{hit.score:.2f}  {_line(hit.fact)}"
