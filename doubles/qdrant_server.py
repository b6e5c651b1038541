"""A test double of a Qdrant server: the part of its REST API that our store calls, served over Qdrant Edge.

It stands in for a server on machines that have none, always behind the real `qdrant-client` over real HTTP. It refuses
what Qdrant refuses, in Qdrant's words. It is one process on one folder: no cluster, no replicas: what a
collection is to have of these is only kept, and shown. What was
written is on disk when it is answered, and the folder opens again after kill -9.

    python -m doubles.qdrant_server --port 6333 --dir /tmp/qdrant

prints `READY http://127.0.0.1:6333` when it listens.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import uvicorn
from pydantic import BaseModel, RootModel, ValidationError
from qdrant_client import models
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from doubles.qdrant_collections import Collection, Collections
from doubles.qdrant_errors import QdrantError
from doubles.qdrant_vectors import filters_of

HOST = "127.0.0.1"
VERSION = "1.20.0"  # whose API this is
IDLE_S = 5  # as Qdrant closes connections
Body = TypeVar("Body", bound=BaseModel)
_BESIDE = ("quantization_config", "strict_mode_config")  # of a collection's config, beside its params
_NewVector = RootModel[models.DenseVectorNameConfig | models.SparseVectorNameConfig]
_Selected = RootModel[models.FilterSelector | models.PointIdsList]
Answer = Callable[[Request], Awaitable[Any]]


class QdrantServer:
    """An ASGI application. `strict`: filters need indexes, as at Qdrant Cloud."""

    def __init__(self, folder: Path, *, api_key: str | None = None, strict: bool = False) -> None:
        self._collections = Collections(folder)
        self._api_key = api_key
        self._strict = strict
        self._operations = 0
        name = "/collections/{name}"
        self._router = Router(
            [
                Route("/", _version),
                Route("/healthz", _healthy),
                _route(f"{name}/exists", "GET", self._exists),
                _route(name, "GET", self._info),
                _route(name, "PUT", self._create),
                _route(name, "PATCH", self._change),
                _route(f"{name}/vectors/{{vector}}", "PUT", self._create_vector),
                _route(f"{name}/vectors/{{vector}}", "DELETE", self._drop_vector),
                _route(f"{name}/index", "PUT", self._index),
                _route(f"{name}/points", "PUT", self._upsert),
                _route(f"{name}/points", "POST", self._retrieve),
                _route(f"{name}/points/scroll", "POST", self._scroll),
                _route(f"{name}/points/payload", "POST", self._set_payload),
                _route(f"{name}/points/vectors", "PUT", self._update_vectors),
                _route(f"{name}/points/query", "POST", self._query),
                _route(f"{name}/points/query/batch", "POST", self._query_batch),
                _route(f"{name}/points/count", "POST", self._count),
                _route(f"{name}/points/delete", "POST", self._delete),
            ],
            default=_unknown,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if refusal := self._refusal(Request(scope)):
            await refusal(scope, receive, send)
        else:
            await self._router(scope, receive, send)

    def close(self) -> None:
        self._collections.close()

    def _refusal(self, request: Request) -> Response | None:
        given = request.headers.get("api-key") or request.headers.get("authorization", "").removeprefix("Bearer ")
        if self._api_key in (None, given) or request.url.path == "/healthz":
            return None
        said = "Invalid API key or JWT" if given else "Must provide an API key or an Authorization bearer token"
        return PlainTextResponse(said, 401)

    # --- collections

    async def _exists(self, request: Request) -> Any:
        return {"exists": request.path_params["name"] in self._collections}

    async def _info(self, request: Request) -> Any:
        collection = self._collection(request)
        schema = {
            field: {"data_type": kind, "points": collection.points}
            | ({"params": {"type": "keyword", "is_tenant": True}} if collection.is_tenant(field) else {})
            for field, kind in collection.indexes.items()
        }
        asked = {name: value for name, value in collection.config.items() if name not in ("hnsw_config", *_BESIDE)}
        beside = {name: collection.config[name] for name in _BESIDE if name in collection.config}
        config = beside | {
            "params": asked,
            "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10_000},
            "optimizer_config": {"default_segment_number": 0, "flush_interval_sec": 5},
            "strict_mode_config": {"enabled": self._strict},
        }
        counts = {"points_count": collection.points, "segments_count": 1, "indexed_vectors_count": 0}
        return {"status": "green", "optimizer_status": "ok", "config": config, "payload_schema": schema} | counts

    async def _create(self, request: Request) -> Any:
        self._collections.create(request.path_params["name"], await _read(request, models.CreateCollection))
        return True

    async def _change(self, request: Request) -> Any:
        self._collection(request).change_vectors(await _read(request, models.UpdateCollection))
        return True

    async def _create_vector(self, request: Request) -> Any:
        wanted = await _read(request, _NewVector)
        self._collection(request).create_vector(request.path_params["vector"], wanted.root)
        return self._done(request)

    async def _drop_vector(self, request: Request) -> Any:
        self._collection(request).drop_vector(request.path_params["vector"])
        return self._done(request)

    async def _index(self, request: Request) -> Any:
        wanted = await _read(request, models.CreateFieldIndex)
        self._collection(request).index(wanted)
        return self._done(request)

    # --- points

    async def _upsert(self, request: Request) -> Any:
        wanted = await _read(request, models.PointsList)
        self._collection(request).upsert(wanted)
        return self._done(request)

    async def _set_payload(self, request: Request) -> Any:
        wanted = await _read(request, models.SetPayload)
        self._filtered(request, wanted.filter).set_payload(wanted)
        return self._done(request)

    async def _retrieve(self, request: Request) -> Any:
        return self._collection(request).retrieve(await _read(request, models.PointRequest))

    async def _scroll(self, request: Request) -> Any:
        wanted = await _read(request, models.ScrollRequest)
        return self._filtered(request, wanted.filter).scroll(wanted)

    async def _update_vectors(self, request: Request) -> Any:
        self._collection(request).update_vectors(await _read(request, models.UpdateVectors))
        return self._done(request)

    async def _query(self, request: Request) -> Any:
        wanted = await _read(request, models.QueryRequest)
        return {"points": self._filtered(request, *filters_of(wanted)).query(wanted)}

    async def _query_batch(self, request: Request) -> Any:
        wanted = await _read(request, models.QueryRequestBatch)
        return [{"points": self._filtered(request, *filters_of(one)).query(one)} for one in wanted.searches]

    async def _count(self, request: Request) -> Any:
        wanted = await _read(request, models.CountRequest)
        return {"count": self._filtered(request, wanted.filter).count(wanted)}

    async def _delete(self, request: Request) -> Any:
        wanted = (await _read(request, _Selected)).root
        where = wanted.filter if isinstance(wanted, models.FilterSelector) else None
        self._filtered(request, where).delete(wanted)
        return self._done(request)

    def _collection(self, request: Request) -> Collection:
        return self._collections[request.path_params["name"]]

    def _filtered(self, request: Request, *filters: models.Filter | None) -> Collection:
        collection = self._collection(request)
        for where in filters if self._strict else ():
            collection.check_indexed(where)
        return collection

    def _done(self, request: Request) -> dict[str, Any]:
        """It is done in any case; who did not wait is not told so."""
        self._operations += 1
        waited = request.query_params.get("wait") == "true"
        return {"operation_id": self._operations, "status": "completed" if waited else "acknowledged"}


async def _read(request: Request, kind: type[Body]) -> Body:
    """The body. Raises: QdrantError if it is not of that kind, or the query has a value that is none."""
    for field, known in {"wait": ("true", "false"), "ordering": ("weak", "medium", "strong")}.items():
        if (value := request.query_params.get(field)) not in (None, *known):
            raise QdrantError(400, f"Deserialize error in query parameters: unknown {field} `{value}`")
    try:
        return kind.model_validate_json(await request.body())
    except ValidationError as error:
        raise QdrantError(400, f"Format error in JSON body: {_first(error)}") from error


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"


def _route(path: str, method: str, answer: Answer) -> Route:
    async def endpoint(request: Request) -> Response:
        began = time.perf_counter()
        try:
            body, code = {"result": await answer(request), "status": "ok"}, 200
        except QdrantError as error:
            body, code = {"status": {"error": str(error)}}, error.status
        except Exception as error:  # noqa: BLE001 the engine's errors have no other class
            body, code = {"status": {"error": f"Service internal error: {error}"}}, 500
        return JSONResponse(body | {"time": time.perf_counter() - began}, code)

    return Route(path, endpoint, methods=[method])


async def _version(_: Request) -> Response:
    return JSONResponse({"title": "qdrant - vector search engine (a test double)", "version": VERSION})


async def _healthy(_: Request) -> Response:
    return PlainTextResponse("healthz check passed")


async def _unknown(scope: Scope, receive: Receive, send: Send) -> None:
    await Response(status_code=404)(scope, receive, send)


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Uvicorn's own way ends the process by the signal that it got."""
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._stop)
        yield

    def _stop(self) -> None:
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        [listener] = sockets or []
        sys.stdout.write(f"READY http://{HOST}:{listener.getsockname()[1]}\n")
        sys.stdout.flush()


def _listener(port: int) -> socket.socket:
    # Of protocol TCP by name: else asyncio does not turn Nagle's algorithm off, and each answer takes 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((HOST, port))
    return listener


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m doubles.qdrant_server", description="A test double of Qdrant")
    parser.add_argument("--port", type=int, default=0, help="0 is any free port")
    parser.add_argument("--dir", type=Path, required=True, help="where everything is kept; made if it is not there")
    parser.add_argument("--api-key", help="refuse requests with another key")
    parser.add_argument("--strict", action="store_true", help="refuse filters by fields without an index")
    options = parser.parse_args()
    try:
        app = QdrantServer(options.dir, api_key=options.api_key, strict=options.strict)
    except Exception as error:  # noqa: BLE001 the engine's errors have no other class
        parser.exit(1, f"Qdrant double: {options.dir} cannot be opened: {error}\n")
    try:
        listener = _listener(options.port)
        config = uvicorn.Config(
            app, ws="none", lifespan="off", log_config=None, timeout_keep_alive=IDLE_S, timeout_graceful_shutdown=2
        )
        asyncio.run(_Server(config).serve(sockets=[listener]))
    except OSError as error:
        parser.exit(1, f"Qdrant double: port {options.port}: {error.strerror}\n")
    finally:
        app.close()


if __name__ == "__main__":
    main()
