"""The control door: another process scripts the model over HTTP and reads what it was asked."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from doubles.journal import Journal
from doubles.script import Script, explain


def routes(journal: Journal, play: Callable[[Script], None]) -> list[Route]:
    """`PUT /_control/script`, `GET /_control/requests?since=<number>` and `DELETE /_control/requests`."""

    async def put_script(request: Request) -> Response:
        try:
            script = Script.model_validate_json(await request.body())
        except ValidationError as error:
            return _problem("The script is not valid", explain(error))
        play(script)
        return JSONResponse({"replies": len(script.replies), "cycle": script.cycle})

    async def get_requests(request: Request) -> Response:
        since = request.query_params.get("since", "0")
        if not (since.isascii() and since.isdecimal()):
            return _problem("since is not the number of a request", f"since: {since}")
        return JSONResponse({"requests": [record.as_json() for record in journal.since(int(since))]})

    async def delete_requests(_: Request) -> Response:
        journal.clear()
        return Response(status_code=204)

    return [
        Route("/_control/script", put_script, methods=["PUT"]),
        Route("/_control/requests", get_requests),
        Route("/_control/requests", delete_requests, methods=["DELETE"]),
    ]


def _problem(title: str, detail: str) -> Response:
    """Reference: RFC 9457."""
    problem = {"title": title, "status": 422, "detail": detail}
    return JSONResponse(problem, 422, media_type="application/problem+json")
