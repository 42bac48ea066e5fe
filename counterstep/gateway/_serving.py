"""The gateway's process: settings, then servers, until a signal asks to end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import grpc
import uvicorn
from starlette.applications import Starlette
from temporalio.client import Client
from uvicorn.protocols.http.h11_impl import H11Protocol

from activities import Registry
from counterstep.gateway._access import EVERYTHING, Access, AccessError, Permission, read_access
from counterstep.gateway._addresses import bound_socket, is_loopback, shown
from counterstep.gateway._calls import Calls
from counterstep.gateway._errors import GatewayError, GatewayStartError
from counterstep.gateway._grpc import OperationsService, make_server, set_health
from counterstep.gateway._http import CERTIFICATE, HttpService
from counterstep.gateway._metrics import Metrics
from counterstep.gateway._operations import Operations
from counterstep.gateway._starting import Starting
from counterstep.gateway._temporal import Temporal
from counterstep.gateway._tls import Tls
from counterstep.gateway._tombstones import Tombstones
from counterstep.gateway._waits import Waits
from counterstep.serving import host_port

_CHECK_EVERY = 3.0


@dataclass(frozen=True)
class GatewaySettings:
    """How a gateway serves.

    Attributes:
        listen: host and port of gRPC; none to leave it out. Port 0 takes a free one.
        http: the same, of HTTP.
        task_queue: where the flows that it starts are served.
        tokens: a file with bearer tokens and named certificates; with it every call needs one of them.
        allow: what callers may do who need none.
        cert: the server's certificate chain, PEM.
        key: its key.
        client_ca: who signs clients' certificates; with it every client needs one.
        page_limit: operations in a page, at most.
        wait_limit: how long a wait may take.
        open_waits: how many may be open at once.
        grace: how long calls may go on when the gateway is asked to end.
    """

    listen: str | None = "127.0.0.1:7250"
    http: str | None = "127.0.0.1:7251"
    task_queue: str = "counterstep"
    tokens: Path | None = None
    allow: frozenset[Permission] = EVERYTHING
    cert: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    page_limit: int = 200
    wait_limit: timedelta = timedelta(minutes=10)
    open_waits: int = 1000
    grace: timedelta = timedelta(seconds=10)

    def access(self) -> Access:
        """Read who may do what.

        Raises:
            GatewayStartError: when the file can't be used, or the gateway would be open to anybody.
        """
        if (self.cert is None) != (self.key is None) or (self.client_ca and not self.cert):
            raise GatewayStartError(
                "--tls-cert and --tls-key belong together, and --tls-client-ca needs them"
            )
        for flag, where in (("--listen", self.listen), ("--http", self.http)):
            host, _ = host_port(where, flag, GatewayStartError) if where else ("localhost", 0)
            if not (self.tokens or self.client_ca or is_loopback(host)):
                raise GatewayStartError(
                    f"{where} can be reached from elsewhere: "
                    "give --tokens, or --tls-cert, --tls-key and --tls-client-ca"
                )
        try:
            access = read_access(self.tokens, self.allow) if self.tokens else Access(allow=self.allow)
        except AccessError as error:
            raise GatewayStartError(str(error)) from None
        if access.certificates and not self.client_ca:
            raise GatewayStartError(f"{self.tokens} has a [[certificate]]: give --tls-client-ca")
        return access

    def tls(self) -> Tls | None:
        """Give the certificates, if there are any.

        Raises:
            GatewayStartError: when they can't be used.
        """
        if self.cert is None or self.key is None:
            return None
        found = Tls(self.cert, self.key, self.client_ca)
        found.check()
        return found


@dataclass(frozen=True)
class Gateway:
    """A gateway that serves.

    Attributes:
        grpc: host and port of gRPC, if it is served.
        http: URL of HTTP, if it is served.
        tombstones: marks of deleted operations.
    """

    grpc: str | None
    http: str | None
    tombstones: Tombstones


@contextlib.asynccontextmanager
async def gateway(
    client: Client, settings: GatewaySettings, registry: Registry | None = None
) -> AsyncIterator[Gateway]:
    """Serve for as long as the block lasts; then let open calls end, waits at once.

    Args:
        client: Temporal's; a lazy one lets the gateway start without Temporal.
        settings: how to serve.
        registry: of flows that may be started over HTTP.

    Raises:
        GatewayStartError: when it can't.
    """
    access, tls, temporal = settings.access(), settings.tls(), Temporal(client)
    waits, tombstones = Waits(temporal, settings.open_waits), Tombstones(temporal)
    metrics, health = Metrics(lambda: waits.open), Health(temporal)
    operations = Operations(temporal, waits, tombstones, settings.page_limit)
    seconds = settings.wait_limit.total_seconds()
    service = OperationsService(operations, Calls("grpc", access, metrics), seconds)
    web = HttpService(
        operations,
        Starting(temporal, registry, settings.task_queue),
        Calls("http", access, metrics),
        metrics,
        health.serving,
        not access.tokens or bool(access.certificates),
        not (access.tokens or settings.client_ca),
        seconds,
    )
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(_cancelled, asyncio.create_task(tombstones.keep_sweeping()))
        url = await stack.enter_async_context(_http(web.app(), settings, tls))
        where = await stack.enter_async_context(_grpc(service, health, settings, tls))
        stack.callback(waits.stop)
        yield Gateway(where, url, tombstones)


class Health:
    """Whether Temporal answers, asked at most once a second."""

    def __init__(self, temporal: Temporal) -> None:
        """Begin without an answer."""
        self._temporal = temporal
        self._asked = 0.0
        self._serving = False
        self._lock = asyncio.Lock()

    async def serving(self) -> bool:
        """Ask."""
        async with self._lock:
            if time.monotonic() - self._asked > 1 or not self._asked:
                self._serving = await self._answers()
                self._asked = time.monotonic()
        return self._serving

    async def _answers(self) -> bool:
        try:
            await self._temporal.check()
        except GatewayError:
            return False
        return True


@contextlib.asynccontextmanager
async def _grpc(
    service: OperationsService, health: Health, settings: GatewaySettings, tls: Tls | None
) -> AsyncIterator[str | None]:
    if not settings.listen:
        yield None
        return
    server, servicer = make_server(service, settings.open_waits)
    port = _bound(server, settings.listen, tls)
    await set_health(servicer, serving=await health.serving())
    await server.start()

    async def keep() -> None:
        while True:
            await asyncio.sleep(_CHECK_EVERY)
            await set_health(servicer, serving=await health.serving())

    keeping = asyncio.create_task(keep())
    try:
        yield f"{shown(settings.listen)}:{port}"
    finally:
        await _cancelled(keeping)
        await servicer.enter_graceful_shutdown()
        await server.stop(settings.grace.total_seconds())


def _bound(server: grpc.aio.Server, where: str, tls: Tls | None) -> int:
    try:
        return server.add_secure_port(where, tls.grpc()) if tls else server.add_insecure_port(where)
    except RuntimeError:
        raise GatewayStartError(f"can't listen on {where}: is something else there?") from None


@contextlib.asynccontextmanager
async def _http(app: Starlette, settings: GatewaySettings, tls: Tls | None) -> AsyncIterator[str | None]:
    if not settings.http:
        yield None
        return
    bound = bound_socket(settings.http)
    server = _Server(_uvicorn(app, settings, tls))
    serving = asyncio.create_task(server.serve([bound]))
    try:
        await _up(server, serving, settings.http)
        yield f"{'https' if tls else 'http'}://{shown(settings.http)}:{bound.getsockname()[1]}"
    finally:
        server.should_exit = True
        with contextlib.suppress(Exception):  # it is told by _up; later it would hide why the block ends
            await serving
        bound.close()


async def _up(server: uvicorn.Server, serving: asyncio.Task[None], where: str) -> None:
    """Wait until HTTP is served.

    Raises:
        GatewayStartError: when that ends before it began.
    """
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    if serving.done():
        raise GatewayStartError(f"can't serve HTTP on {where}: {serving.exception() or 'it ended at once'}")


def _uvicorn(app: Starlette, settings: GatewaySettings, tls: Tls | None) -> uvicorn.Config:
    options = tls.uvicorn() if tls else {}
    grace = max(1, round(settings.grace.total_seconds()))
    return uvicorn.Config(
        app, http=_Http, lifespan="off", log_config=None, log_level="warning", access_log=False, server_header=False,
        timeout_graceful_shutdown=grace, **options,
    )  # fmt: skip


class _Http(H11Protocol):
    """uvicorn's, which also tells the application whose certificate a connection came with."""

    def connection_made(self, transport: Any) -> None:
        """See base class."""
        super().connection_made(transport)
        tls, app = transport.get_extra_info("ssl_object"), cast(Any, self.app)
        name = _common_name(tls.getpeercert() or {}) if tls else None

        async def known(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, CERTIFICATE: name}, receive, send)

        self.app = known


def _common_name(certificate: Mapping[str, Any]) -> str | None:
    """Give the first common name of a certificate, as ``ssl`` gives it."""
    parts = (pair for part in certificate.get("subject", ()) for pair in part)
    return next((value for kind, value in parts if kind == "commonName"), None)


class _Server(uvicorn.Server):
    """uvicorn without signal handlers of its own: the process has them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """See base class."""
        yield


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
