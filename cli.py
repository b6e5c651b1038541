"""The command line of Everthread. `python cli.py --help` lists the commands."""

from __future__ import annotations

from typing import Annotated

import typer

from client.commands import context, doctor, facts, forget, knowledge, mcp, memory, repair, replay, threads
from client.commands.console import Console
from client.threads import Threads
from runtime import settings, temporal

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
Thread = Annotated[
    str | None, typer.Option(help="Talk to this thread. Default: the last one, or a new one for piped input.")
]


@app.callback()
def everthread(asked: typer.Context) -> None:
    """Durable agent threads on Temporal. TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE say which server (see .env.example)."""
    asked.obj = Console(_connect, _gateway_url, temporal.DATA_CONVERTER, (settings.SettingsError,))


async def _connect() -> Threads:
    found = settings.load()
    address = found.temporal_address or f"127.0.0.1:{found.temporal_port}"
    return Threads(await temporal.connect(address, found.temporal_namespace), found.task_queue, found.agent)


def _gateway_url() -> str:
    found = settings.load()
    host = f"[{found.host}]" if ":" in found.host else found.host
    return f"http://{host}:{found.port}"


@app.command()
def dev(
    thread: Thread = None,
    new: Annotated[bool, typer.Option("--new", help="Chat on a new thread.")] = False,
    agent: Annotated[str | None, typer.Option(help="The agent of new threads; see catalog/agents/.")] = None,
    serve: Annotated[bool, typer.Option("--serve", help="No chat: run until stopped.")] = False,
    demo: Annotated[
        bool, typer.Option("--demo", help="Set answers instead of a model, slow enough to be killed.")
    ] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for each answer to piped input.")] = 600.0,
) -> None:
    """Run everything on this machine and chat. With piped input: each line a prompt, each answer on standard output."""
    from runtime.dev import Options, main

    options = Options(thread, new=new, agent=agent, serve=serve, demo=demo, timeout_s=timeout)
    raise typer.Exit(main(options))


app.command()(context.context)
app.command()(mcp.mcp)
app.command()(repair.repair)
app.command()(replay.replay)
app.add_typer(forget.app, name="forget")
app.add_typer(doctor.app, name="doctor")
app.add_typer(knowledge.app, name="knowledge")
app.add_typer(memory.app, name="memory")
app.add_typer(facts.app, name="facts")
app.add_typer(threads.app, name="threads")

if __name__ == "__main__":
    app()
