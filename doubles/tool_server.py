"""A tool server on standard input and output that misbehaves as it is told: it dies, hangs, floods, prints garbage.

    python doubles/tool_server.py [--hang-at METHOD] [--die-at METHOD] [--stubborn] [--pages N]

It speaks the Model Context Protocol by hand, since no server that is written with care does such things. Its tools are the
functions of `Tools`. Standard library only, and quick to start.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

VERSION = "2025-06-18"


class Tools:
    """What may be called. Each returns the result of `tools/call`, or None for no answer."""

    def __init__(self) -> None:
        self.gone: set[str] = set()

    def echo(self, text: str = "", **_: Any) -> dict[str, Any]:
        return said(text)

    def pid(self) -> dict[str, Any]:
        return said(str(os.getpid()))

    def environment(self) -> dict[str, Any]:
        return said(json.dumps(dict(os.environ)))

    def note(self, path: str, die: bool = False, hang: bool = False) -> dict[str, Any] | None:
        """Leave a line in a file, so that it can be seen how often it ran."""
        with Path(path).open("a", encoding="utf-8") as file:
            file.write("ran\n")
        if die:
            os._exit(3)
        return None if hang else said("noted")

    def work(self, seconds: float) -> dict[str, Any]:
        """Do nothing else meanwhile."""
        time.sleep(seconds)
        return said("worked")

    def fail(self) -> dict[str, Any]:
        return said("The drawer is empty.") | {"isError": True}

    def flood(self, size: int) -> dict[str, Any]:
        return said("x" * size)

    def garbage(self) -> dict[str, Any]:
        sys.stdout.buffer.write(b"Starting up...\n\xff\xfe\x00 no text\n[1, 2\n{}\nnull\n\n" + b"warn\n" * 100)
        return said("after the garbage")

    def surrogate(self) -> dict[str, Any]:
        return said("half a \ud83d character")

    def picture(self) -> dict[str, Any]:
        link = {"type": "resource_link", "uri": "file:///a", "name": "a"}
        inner = {"type": "resource", "resource": {"uri": "file:///b", "text": "words"}}
        blob = {"type": "resource", "resource": {"uri": "file:///c", "blob": "AAAA", "mimeType": "application/pdf"}}
        return {"content": [{"type": "image", "data": "AAAA", "mimeType": "image/png"}, link, inner, blob]}

    def structured(self) -> dict[str, Any]:
        return {"content": [], "structuredContent": {"answer": 42}}

    def nothing(self) -> dict[str, Any]:
        return {"content": []}

    def nonsense(self) -> dict[str, Any]:
        return {"content": "no list"}

    def vanish(self, name: str) -> dict[str, Any]:
        """Take a tool off the list."""
        self.gone.add(name)
        send({"method": "notifications/tools/list_changed"})
        return said(f"{name} is gone")

    def child(self) -> dict[str, Any]:
        """Start a process that outlives this one, if it may."""
        with subprocess.Popen(["sleep", "1000"], stdout=subprocess.DEVNULL) as process:
            answer = said(str(process.pid))
            process.returncode = 0  # not waited for
        return answer


def said(text: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}]}


def send(message: dict[str, Any]) -> None:
    sys.stdout.buffer.write(json.dumps({"jsonrpc": "2.0"} | message).encode() + b"\n")
    sys.stdout.buffer.flush()


def names(tools: Tools) -> list[str]:
    public = [name for name, value in vars(Tools).items() if not name.startswith("_") and callable(value)]
    return [name for name in public if name not in tools.gone]


def listed(tools: Tools, pages: int, cursor: str) -> dict[str, Any]:
    """A page of the list; of no more than one page, all."""
    all_names, page = names(tools), int(cursor or 0)
    share = all_names[page::pages]
    found = {"tools": [{"name": name, "description": name, "inputSchema": {"type": "object"}} for name in share]}
    return found | ({"nextCursor": str(page + 1)} if page + 1 < pages else {})


def answer(tools: Tools, request: dict[str, Any], pages: int) -> None:
    method, params = request["method"], request.get("params") or {}
    result: dict[str, Any] | None
    if method == "initialize":
        result = {
            "protocolVersion": VERSION,
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "odd", "version": "1"},
        }
    elif method == "tools/list":
        result = listed(tools, pages, params.get("cursor", ""))
    elif method == "tools/call" and params["name"] in names(tools):
        function: Callable[..., dict[str, Any] | None] = getattr(tools, params["name"])
        result = function(**params.get("arguments") or {})
    else:
        send({"id": request["id"], "error": {"code": -32601, "message": f"There is no {params.get('name', method)}."}})
        return
    if result is not None:
        send({"id": request["id"], "result": result})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--hang-at", default="")
    parser.add_argument("--die-at", default="")
    parser.add_argument("--stubborn", action="store_true", help="end neither at the end of the input nor at SIGTERM")
    parser.add_argument("--pages", type=int, default=1)
    options = parser.parse_args()
    tools = Tools()
    if options.stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for line in sys.stdin:
        request = json.loads(line)
        if request.get("method") == options.die_at:
            sys.stderr.write("out of luck\n")
            sys.exit(7)
        while request.get("method") == options.hang_at:
            time.sleep(1)
        if "id" in request and "method" in request:
            answer(tools, request, options.pages)
    while options.stubborn:
        time.sleep(1)


if __name__ == "__main__":
    main()
