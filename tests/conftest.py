"""Fixtures: a dev server for the session, workers on task queues of their own, a world outside the worker."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities import Registry
from counterstep.serving._program import TUNED
from flows import CounterstepPlugin
from tests.every_run import without_report
from tests.support import World, binary, dev_server


def pytest_configure() -> None:
    """Let no timing decide a property's test. Imported here, since the sandbox imports this module too."""
    from hypothesis import Phase, settings

    settings.register_profile("untimed", deadline=None)
    settings.register_profile("unshrunk", deadline=None, phases=[Phase.explicit, Phase.generate])
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "untimed"))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def _ready(address: str) -> str:
    """Wait until the server knows its default namespace; gives its address."""
    deadline = time.monotonic() + 120
    while True:
        try:
            client = await Client.connect(address)
            async for _ in client.list_workflows("WorkflowId = 'none'", limit=1):
                pass
            return address
        except Exception:
            assert time.monotonic() < deadline, "the dev server isn't ready"
            await asyncio.sleep(0.1)


@contextmanager
def dev(*values: str) -> Iterator[str]:
    """Run a dev server with more dynamic configuration; give its address. At its end every run on it must have a report."""
    port = _free_port()
    command = [*dev_server(port), *TUNED, "--log-level", "never"]
    for value in (
        'history.transferProcessorUpdateAckInterval="1s"',
        'history.visibilityProcessorUpdateAckInterval="1s"',
        *values,
    ):
        command += ["--dynamic-config-value", value]
    server = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while not _listening(port):
        assert server.poll() is None and time.monotonic() < deadline, "the dev server didn't come up"
        time.sleep(0.05)
    asyncio.run(_ready(f"127.0.0.1:{port}"))
    yield f"127.0.0.1:{port}"
    failing = asyncio.run(without_report(f"127.0.0.1:{port}"))
    server.terminate()
    server.wait(20)
    assert not failing, "\n".join(failing)


@pytest.fixture(scope="session")
def dev_address() -> Iterator[str]:
    """Address of a dev server that lives as long as the session."""
    with dev() as address:
        yield address


@pytest.fixture
def world(tmp_path: Path) -> World:
    """What operations do and say, recorded in a file outside the worker."""
    return World(tmp_path / "world")


@pytest.fixture(params=[1000, 0], ids=["cached", "uncached"])
def cache(request: pytest.FixtureRequest) -> int:
    """Workflow cache size: several failure classes appear only at 0, where every task replays."""
    return int(request.param)


@pytest.fixture
def task_queue() -> str:
    """A task queue of the test's own."""
    return f"q-{uuid.uuid4().hex[:8]}"


Serve = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture
def serve(dev_address: str, world: World, task_queue: str) -> Serve:
    """Serve definitions on the dev server: ``async with serve(op, Flow, cache=0) as client``."""

    @asynccontextmanager
    async def serving(
        *definitions: Any, cache: int = 1000, deps: Any = world, **options: Any
    ) -> AsyncIterator[Client]:
        plugin_options = {
            k: options.pop(k)
            for k in ("heartbeat_timeout", "secrets", "data_converter", "spans")
            if k in options
        }
        plugin = CounterstepPlugin(Registry(*definitions), deps=deps, **plugin_options)
        client = await Client.connect(dev_address, plugins=[plugin])
        options.setdefault("graceful_shutdown_timeout", timedelta(seconds=1))
        async with Worker(client, task_queue=task_queue, max_cached_workflows=cache, **options):
            yield client

    return serving


@pytest.fixture
def skipping(world: World, task_queue: str) -> Serve:
    """Serve definitions on a time-skipping server of its own; await ``handle.result()`` to skip time."""

    @asynccontextmanager
    async def serving(
        *definitions: Any, cache: int = 1000, deps: Any = world, **options: Any
    ) -> AsyncIterator[Client]:
        plugin = CounterstepPlugin(Registry(*definitions), deps=deps)
        async with (
            await WorkflowEnvironment.start_time_skipping(
                test_server_existing_path=binary("temporal-test-server"), plugins=[plugin]
            ) as env,
            Worker(env.client, task_queue=task_queue, max_cached_workflows=cache, **options),
        ):
            yield env.client
        await asyncio.sleep(0.5)  # a process that used a test environment can crash at its exit otherwise

    return serving


@pytest.fixture
def temporal(dev_address: str, task_queue: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the real Temporal CLI against the dev server: ``temporal("workflow", "describe", "-w", id)``."""

    def run(*args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [binary("temporal"), *args, "--address", dev_address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
        assert not check or done.returncode == 0, done.stderr
        return done

    return run
