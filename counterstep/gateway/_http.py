"""``google.longrunning.Operations`` as JSON over HTTP, starting flows, health, metrics and the OpenAPI document."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import unquote

import pydantic_core
from google.longrunning.operations_pb2 import ListOperationsRequest, WaitOperationRequest
from google.protobuf import json_format
from google.rpc import code_pb2
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from counterstep.gateway._access import Caller, Permission
from counterstep.gateway._addresses import is_loopback
from counterstep.gateway._calls import Calls
from counterstep.gateway._errors import GatewayError, gone, internal, invalid
from counterstep.gateway._grpc import seconds_of
from counterstep.gateway._json_forms import error_json, list_json, operation_json
from counterstep.gateway._metrics import CONTENT_TYPE, Metrics
from counterstep.gateway._names import is_collection
from counterstep.gateway._openapi import document
from counterstep.gateway._operations import Operations
from counterstep.gateway._starting import Starting

T = TypeVar("T")
BODY_LIMIT = 2 * 1024 * 1024
"""Bytes of a body: as many as Temporal takes for an input."""

_LIST = {"filter": "filter", "pageSize": "page_size", "page_size": "page_size", "pageToken": "page_token"}
_LIST |= {"page_token": "page_token", "returnPartialSuccess": "", "return_partial_success": ""}
_START = {"requestId": "request_id", "request_id": "request_id"}
_TRACE = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\Z")


@dataclass(frozen=True)
class HttpService:
    """The gateway's HTTP side.

    Attributes:
        operations: the five methods.
        starting: starts flows.
        calls: permission, metrics, errors.
        metrics: for ``/metrics``.
        serving: whether Temporal answers, for ``/healthz``.
        open: whether no token is asked for, so that a browser could be tricked into a call.
        local: whether requests must call this gateway by a name of this machine's own.
        wait_limit: seconds that a wait may take.
    """

    operations: Operations
    starting: Starting
    calls: Calls
    metrics: Metrics
    serving: Callable[[], Awaitable[bool]]
    open: bool
    local: bool
    wait_limit: float

    def app(self) -> Starlette:
        """Give it for an ASGI server."""
        return Starlette(
            routes=[
                Route("/healthz", self._healthz),
                Route("/metrics", self._metrics),
                Route("/openapi.json", self._openapi),
                Route("/v1/flows/{definition:path}:run", self._run, methods=["POST"]),
                Route("/v1/{name:path}:cancel", self._cancel, methods=["POST"]),
                Route("/v1/{name:path}:wait", self._wait, methods=["POST"]),
                Route("/v1/{name:path}", self._delete, methods=["DELETE"]),
                Route("/v1/{name:path}", self._get, methods=["GET"]),
            ],
            middleware=[Middleware(_raw_paths)],
            exception_handlers={
                GatewayError: _refused,
                HTTPException: _no_route,
                Exception: _broken,
            },
        )

    async def _get(self, request: Request) -> Response:
        name = request.path_params["name"]
        if is_collection(name):
            return await self._list(request, name)
        _query(request, {})
        operation = await self._call(request, "get", Permission.READ, lambda: self.operations.get(name))
        return JSONResponse(operation_json(operation))

    async def _list(self, request: Request, name: str) -> Response:
        async def work() -> Any:
            return await self.operations.list(_list_request(request, name))

        return JSONResponse(list_json(await self._call(request, "list", Permission.READ, work)))

    async def _wait(self, request: Request) -> Response:
        name = request.path_params["name"]

        async def work() -> Any:
            wanted = seconds_of(await _wait_request(request))
            waiting = self.operations.wait(name, min(wanted, self.wait_limit))
            return await _unless_gone(request, waiting)

        operation = await self._call(request, "wait", Permission.READ, work)
        return JSONResponse(operation_json(operation))

    async def _cancel(self, request: Request) -> Response:
        name = request.path_params["name"]
        await self._call(request, "cancel", Permission.CANCEL, lambda: self.operations.cancel(name))
        return JSONResponse({})

    async def _delete(self, request: Request) -> Response:
        name = request.path_params["name"]
        await self._call(request, "delete", Permission.CANCEL, lambda: self.operations.delete(name))
        return JSONResponse({})

    async def _run(self, request: Request) -> Response:
        async def work() -> Any:
            query = _query(request, _START)
            trace = request.headers.get("traceparent", "")
            name = await self.starting.start(
                unquote(request.path_params["definition"]),
                await _body(request),
                query.get("request_id", ""),
                trace if _TRACE.match(trace) else None,
            )
            return await self.operations.get(name)

        return JSONResponse(operation_json(await self._call(request, "start", Permission.START, work)))

    async def _healthz(self, request: Request) -> Response:
        serving = await self.serving()
        word = "SERVING" if serving else "NOT_SERVING"
        return JSONResponse({"status": word}, 200 if serving else 503)

    async def _metrics(self, request: Request) -> Response:
        async def work() -> bytes:
            return self.metrics.text()

        text = await self._call(request, "metrics", Permission.READ, work)
        return Response(text, media_type=CONTENT_TYPE)

    async def _openapi(self, request: Request) -> Response:
        return JSONResponse(document())

    async def _call(
        self, request: Request, method: str, needed: Permission, work: Callable[[], Awaitable[T]]
    ) -> T:
        async def checked() -> T:
            self._check_browser(request)
            return await work()

        caller = Caller(request.headers.get("authorization"), request.scope.get(CERTIFICATE))
        return await self.calls.run(method, needed, caller, checked)

    def _check_browser(self, request: Request) -> None:
        """Refuse what a web page makes a browser send to a gateway that asks for no token."""
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        name = (request.url.hostname or "").lower()
        foreign = self.open and origin is not None and origin.partition("://")[2] != host
        if foreign or (self.local and not is_loopback(name)):
            said = (
                "web pages elsewhere, and other names for this host, are refused where no token is asked for"
            )
            raise GatewayError(code_pb2.PERMISSION_DENIED, "FOREIGN_ORIGIN", said)


CERTIFICATE = "counterstep.certificate"
"""Where the server puts the common name of a client certificate that it has checked."""


def _raw_paths(app: ASGIApp) -> ASGIApp:
    """Match routes against paths as they came: in a decoded one ``operations/a%3Acancel`` looks like a cancel."""

    async def matching(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "path": scope["raw_path"].decode("latin-1")}
        await app(scope, receive, send)

    return matching


def _list_request(request: Request, name: str) -> ListOperationsRequest:
    query = _query(request, _LIST)
    size = query.get("page_size", "0")
    if not re.fullmatch(r"-?\d{1,9}", size, re.ASCII):
        raise invalid("page_size", "isn't a whole number", "INVALID_PAGE_SIZE")
    return ListOperationsRequest(
        name=name,
        filter=query.get("filter", ""),
        page_size=int(size),
        page_token=query.get("page_token", ""),
    )


async def _wait_request(request: Request) -> WaitOperationRequest:
    body = await _body(request)
    try:
        value = pydantic_core.from_json(body or b"{}")
        return json_format.ParseDict(value, WaitOperationRequest())
    except (ValueError, json_format.ParseError, AttributeError, TypeError):
        raise invalid("timeout", 'write {"timeout": "10s"}', "INVALID_REQUEST") from None


def _query(request: Request, known: dict[str, str]) -> dict[str, str]:
    """Read the query; what begins with ``$`` is Google's own, such as ``$alt``."""
    found = {}
    for key, value in request.query_params.multi_items():
        if key.startswith("$") or key == "alt":
            continue
        if key not in known:
            raise invalid("query", f"has the unknown name {key[:50]!r}", "UNKNOWN_PARAMETER")
        found[known[key]] = value
    return found


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > BODY_LIMIT:
            raise invalid("body", f"has more than {BODY_LIMIT} bytes", "REQUEST_TOO_LARGE")
    return bytes(body)


async def _unless_gone(request: Request, work: Awaitable[T]) -> T:
    """Await something, unless the caller goes away."""
    task = asyncio.ensure_future(work)
    left = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait([task, left], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise gone()
        return task.result()
    finally:
        task.cancel()
        left.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, GatewayError)
    status, body = error_json(error)
    headers = {"www-authenticate": "Bearer"} if status == 401 else None
    return JSONResponse(body, status, headers)


async def _no_route(request: Request, error: Exception) -> Response:
    said = f"there is no {request.method} {request.url.path[:300]}"
    return await _refused(request, GatewayError(code_pb2.NOT_FOUND, "METHOD_NOT_FOUND", said))


async def _broken(request: Request, error: Exception) -> Response:
    return await _refused(request, internal())
