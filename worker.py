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
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from opentelemetry.sdk.trace.export import SpanExporter
from temporalio.client import Client
from temporalio.common import WorkerDeploymentVersion
from temporalio.service import RPCError
from temporalio.worker import Worker, WorkerDeploymentConfig

from activities import CounterstepError
from counterstep.serving import (
    FAILED,
    ConnectionFlags,
    Ending,
    Parent,
    Polling,
    Probe,
    Processes,
    StartError,
    connect_config,
    decoding,
    embedded,
    health_server,
    measured,
    shifted,
    takes_flags,
)
from flows import TASK_QUEUE, CounterstepPlugin, Module, load_modules, spans_asked

DEV_PORT, DEV_UI_PORT = 7233, 8233
_log = logging.getLogger("counterstep.worker")


@dataclass(frozen=True)
class Settings:
    """How a worker connects and serves.

    Attributes:
        modules: user modules, by name.
        task_queue: that it polls.
        connection: which Temporal, as the Temporal CLI's flags say it.
        grace: how long running operations may go on when it is asked to end.
        deployment: name and build id, if it is a version of a worker deployment.
        health: host and port where it answers whether it is ready, if it does.
        metrics: host and port where Prometheus reads its metrics, if it does.
    """

    modules: tuple[str, ...]
    task_queue: str = TASK_QUEUE
    connection: ConnectionFlags = ConnectionFlags()
    grace: timedelta = timedelta(seconds=30)
    deployment: tuple[str, str] | None = None
    health: str | None = None
    metrics: str | None = None


async def connect(
    settings: Settings, module: Module, *, lazy: bool = False, spans: SpanExporter | None = None
) -> Client:
    """Connect as the Temporal CLI does: flags, its environments, environment variables, ``temporal.toml``.

    Args:
        settings: which Temporal, which namespace.
        module: whose data converter is needed.
        lazy: whether to connect only with the first call; such a client can't serve.
        spans: where the spans of the runs go that it serves, if anywhere.

    Raises:
        StartError: when Temporal isn't there, or what says where it is can't be read.
    """
    config = connect_config(settings.connection)
    config |= {"runtime": measured(settings.metrics)} if settings.metrics else {}
    plugin = CounterstepPlugin(
        module.registry,
        lifespan=module.lifespan,
        secrets=module.secrets,
        data_converter=decoding(settings.connection, module.data_converter),
        spans=spans,
    )
    try:
        return await Client.connect(**config, plugins=[plugin], lazy=lazy)
    except ValueError as error:
        kind, _, why = str(error).partition("invalid target URL: ")
        if kind:
            raise
        raise StartError(f"{config['target_host']!r} is no address, HOST:PORT: {why}") from error
    except RuntimeError as error:
        raise StartError(
            f"can't reach Temporal at {config['target_host']}: is it running there? "
            f"Start one with --dev, or say where it is with --address. ({_short(error)})"
        ) from error


def _short(error: RuntimeError) -> str:
    """Give the innermost message of a connection error, which is nested in quotes."""
    found = re.findall(r'(?:message|error): "([^"]+)"', str(error))
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


async def serve(settings: Settings, module: Module, ending: Ending, parent: Parent | None = None) -> None:
    """Serve until a signal asks to end; a second one ends at once.

    Args:
        settings: how to connect and serve.
        module: what is served.
        ending: says when to end.
        parent: the parent process, if this is one of several.

    Raises:
        StartError: when Temporal isn't there, or refuses the worker.
    """
    client = await connect(settings, module, spans=spans_asked())
    worker = make_worker(client, settings)
    ready = Polling(worker, ending.asked)
    with _watched(settings, ready):
        running = asyncio.create_task(worker.run())
        while not (worker.is_running or running.done()):
            await asyncio.sleep(0.01)
        if parent is not None and not running.done():
            parent.listen(ready, ending)
        elif parent is None and not running.done():
            print(f"Serving task queue {settings.task_queue}", flush=True)
        await _until_the_end(running, worker, settings, ending)


@contextlib.contextmanager
def _watched(settings: Settings, ready: Probe) -> Iterator[None]:
    """Answer health checks, and say where metrics are, as far as that is wanted."""
    with contextlib.ExitStack() as stack:
        if settings.metrics:
            print(f"Metrics: http://{settings.metrics}/metrics", flush=True)
        if settings.health:
            print(f"Health: {stack.enter_context(health_server(settings.health, ready))}", flush=True)
        yield


async def _until_the_end(
    running: asyncio.Task[None], worker: Worker, settings: Settings, ending: Ending
) -> None:
    asked = asyncio.create_task(ending.asked.wait())
    await asyncio.wait([running, asked], return_when=asyncio.FIRST_COMPLETED)
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


async def serve_many(settings: Settings, count: int, ending: Ending) -> None:
    """Serve with several processes until a signal asks to end.

    Args:
        settings: how each connects and serves; the metrics of each have a port of their own, from theirs on.
        count: how many.
        ending: says when to end.

    Raises:
        StartError: when the first of them doesn't come to serve.
    """
    processes = Processes(partial(_one_of_many, settings), count, ending)
    with _watched(replace(settings, metrics=None), processes.ready):
        await processes.begin()
        if not ending.asked.is_set():
            print(f"Serving task queue {settings.task_queue} with {count} processes", flush=True)
        await processes.run()


def _one_of_many(settings: Settings, number: int, pipe: Connection) -> NoReturn:
    """Be one of several worker processes."""
    _log_to_stderr()
    parent, code = Parent(pipe), 0
    metrics = settings.metrics and shifted(settings.metrics, number)
    try:
        asyncio.run(_serve_led(replace(settings, health=None, metrics=metrics), parent))
    except (StartError, CounterstepError) as error:
        parent.say(FAILED, _said(error))
        code = 1
    except Exception:
        _log.exception("worker process %d failed", number + 1)
        code = 1
    leave(code)


async def _serve_led(settings: Settings, parent: Parent) -> None:
    ending = Ending(led=True)
    await serve(settings, load_modules(settings.modules), ending, parent)


async def _run(settings: Settings, dev: tuple[int, int, Path | None] | None, processes: int) -> None:
    ending = Ending()
    module = None if processes > 1 else load_modules(settings.modules)
    async with contextlib.AsyncExitStack() as stack:
        if dev is not None:
            address = await stack.enter_async_context(embedded(*dev, ending))
            settings = replace(settings, connection=_only(address, settings.connection))
        if module is None:
            return await serve_many(settings, processes, ending)
        await serve(settings, module, ending)


def _only(address: str, given: ConnectionFlags) -> ConnectionFlags:
    """Connect to an embedded Temporal, whatever flags and environment say of another one."""
    here = ConnectionFlags(
        address,
        "default",
        disable_config_file=True,
        disable_config_env=True,
        env="default",
        env_file=os.devnull,
    )
    codec = {name: getattr(given, name) for name in ("codec_endpoint", "codec_auth", "codec_header")}
    return replace(here, identity=given.identity, **codec)


@takes_flags
def worker(
    connection: ConnectionFlags,
    module: Annotated[
        list[str], typer.Option(help="A Python module that offers operations and flows; repeatable.")
    ],
    task_queue: Annotated[str, typer.Option(help="The task queue to poll.")] = TASK_QUEUE,
    grace: Annotated[
        float, typer.Option(help="Seconds that running operations may go on for at the end.")
    ] = 30,
    deployment_name: Annotated[
        str | None, typer.Option(help="The worker deployment that this is a version of.")
    ] = None,
    build_id: Annotated[str | None, typer.Option(help="This version's build id.")] = None,
    processes: Annotated[
        int, typer.Option(min=1, help="Worker processes; each that dies is started again.")
    ] = 1,
    health: Annotated[str | None, typer.Option(help="HOST:PORT of /healthz and /readyz.")] = None,
    metrics: Annotated[
        str | None, typer.Option(help="HOST:PORT of /metrics, for Prometheus; each process has its own port.")
    ] = None,
    dev: Annotated[bool, typer.Option("--dev", help="Start an embedded Temporal with its UI first.")] = False,
    dev_port: Annotated[int, typer.Option(help="Its port; 0 takes a free one.")] = DEV_PORT,
    ui_port: Annotated[int, typer.Option(help="The UI's port; 0 takes a free one.")] = DEV_UI_PORT,
    dev_database: Annotated[Path | None, typer.Option(help="A file that keeps its runs.")] = None,
) -> None:
    """Serve the operations and flows of some modules."""
    _log_to_stderr()
    if (deployment_name is None) != (build_id is None):
        raise typer.BadParameter("--deployment-name and --build-id belong together")
    deployment = (deployment_name, build_id) if deployment_name and build_id else None
    settings = Settings(
        tuple(module), task_queue, connection, timedelta(seconds=grace), deployment, health, metrics
    )
    try:
        asyncio.run(_run(settings, (dev_port, ui_port, dev_database) if dev else None, processes))
    except (StartError, CounterstepError) as error:
        typer.echo(f"counterstep worker: {_said(error)}", err=True)
        raise typer.Exit(1) from None


def _said(error: Exception) -> str:
    return str(getattr(error, "message", error))


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")


def run(app: typer.Typer) -> None:
    """Run a command, and :func:`leave`."""
    try:
        app()
    except SystemExit as ending:
        leave(ending.code if isinstance(ending.code, int) else bool(ending.code))


def leave(code: int) -> NoReturn:
    """End the process without the interpreter's usual end.

    A thread of Temporal's client can abort an interpreter that ends (exit code 134), and a ``def`` handler
    that outlived the grace time would keep it alive.
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main() -> None:
    """Run the command."""
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    app.command()(worker)
    run(app)


if __name__ == "__main__":
    main()
