"""The command ``counterstep gateway``: serves flows as long-running operations."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from activities import CounterstepError, Registry
from counterstep.serving import ConnectionFlags, Ending, StartError, takes_flags
from flows import TASK_QUEUE, Module, load_modules
from worker import Settings, connect

if TYPE_CHECKING:
    from counterstep.gateway import GatewaySettings

LISTEN, HTTP = "127.0.0.1:7250", "127.0.0.1:7251"


@takes_flags
def gateway(
    flags: ConnectionFlags,
    listen: Annotated[str, typer.Option(help="HOST:PORT of gRPC; '' leaves it out.")] = LISTEN,
    http: Annotated[str, typer.Option(help="HOST:PORT of JSON over HTTP; '' leaves it out.")] = HTTP,
    module: Annotated[
        list[str] | None, typer.Option(help="A module with flows that may be started; repeatable.")
    ] = None,
    task_queue: Annotated[str, typer.Option(help="Where its workers serve them.")] = TASK_QUEUE,
    tokens: Annotated[
        Path | None, typer.Option(help="A file with bearer tokens and named certificates.")
    ] = None,
    allow: Annotated[
        str, typer.Option(help="What callers without a token may do, where none is asked for.")
    ] = "read,cancel,start",
    tls_cert: Annotated[Path | None, typer.Option(help="The server's certificate chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key, PEM.")] = None,
    tls_client_ca: Annotated[Path | None, typer.Option(help="Who signs clients' certificates, PEM.")] = None,
    page_limit: Annotated[int, typer.Option(min=1, max=1000, help="Operations in a page, at most.")] = 200,
    wait_limit: Annotated[float, typer.Option(min=0, help="Seconds that a wait may take.")] = 600,
    open_waits: Annotated[int, typer.Option(min=0, help="Waits that may be open at once.")] = 1000,
    grace: Annotated[float, typer.Option(min=0, help="Seconds for open calls at the end.")] = 10,
) -> None:
    """Serve flows as google.longrunning.Operations."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        from counterstep.gateway import AccessError, GatewaySettings
        from counterstep.gateway._access import permissions
    except ImportError as error:
        raise _failed(f"needs the extra 'gateway': pip install 'counterstep[gateway]' ({error})") from None
    connection = Settings(tuple(module or ()), task_queue, flags)
    try:
        settings = GatewaySettings(
            listen or None, http or None, task_queue, tokens, permissions(allow.split(","), "--allow"),
            tls_cert, tls_key, tls_client_ca, page_limit, timedelta(seconds=wait_limit), open_waits,
            timedelta(seconds=grace),
        )  # fmt: skip
        asyncio.run(_serve(connection, settings))
    except (StartError, CounterstepError, AccessError) as error:
        raise _failed(getattr(error, "message", str(error))) from None


async def _serve(connection: Settings, settings: GatewaySettings) -> None:
    from counterstep.gateway import gateway as serving

    ending = Ending()
    module = load_modules(connection.modules) if connection.modules else Module(Registry())
    client = await connect(connection, module, lazy=True)
    async with serving(client, settings, module.registry if connection.modules else None) as served:
        for name, where in (("gRPC", served.grpc), ("HTTP", served.http)):
            if where:
                print(f"{name}: {where}", flush=True)
        await ending.asked.wait()


def _failed(said: str) -> typer.Exit:
    typer.echo(f"counterstep gateway: {said}", err=True)
    return typer.Exit(1)
