"""`--dev` brings an embedded Temporal with its UI, and takes it along when it ends."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest
from temporalio.client import Client

from flows import start
from tests.support import World, eventually, new_id
from tests.worker.conftest import Launch
from tests.worker.support import Process, family

DEV = ("--dev", "--dev-port", "0", "--ui-port", "0")


def left(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Give those that still run, after a moment."""
    gone, alive = psutil.wait_procs(processes, timeout=5)
    assert gone or alive
    return [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def lines(process: Process) -> dict[str, str]:
    """Read what it said on its standard output, as `label: value`."""
    pairs = (line.partition(": ") for line in process.out.read_text().splitlines())
    return {label: value for label, _, value in pairs}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_dev_serves_and_leaves_nothing(
    launch: Launch, task_queue: str, world: World, number: int
) -> None:
    """It says where Temporal and the UI are, both answer, a flow runs; after a signal no process is left."""
    process = launch(*DEV, address=None)
    process.until("Serving task queue")
    said = lines(process)
    assert list(said) == ["Temporal", "UI", f"Serving task queue {task_queue}"]
    page = await asyncio.to_thread(lambda: urllib.request.urlopen(said["UI"], timeout=10).status)
    assert page == 200
    client = await Client.connect(said["Temporal"])
    handle = await start(client, "doubled", 3, id=new_id(), task_queue=task_queue)
    assert await asyncio.wait_for(handle.result(), 30) == 6
    processes = family(process.popen.pid)
    assert [each.name() for each in processes][1:] == ["temporal"]
    process.signal(number)
    assert process.ends() == 0
    assert left(processes) == []


async def test_dev_takes_its_server_along_at_once(launch: Launch, task_queue: str, world: World) -> None:
    """A second signal ends the embedded server too."""
    world.switch("hold")
    process = launch(*DEV, address=None)
    process.until("Serving task queue")
    client = await Client.connect(lines(process)["Temporal"])
    await start(client, "doubled@1.0.0", 3, id=new_id(), task_queue=task_queue)
    await eventually(lambda: world.calls)
    processes = family(process.popen.pid)
    process.signal(signal.SIGTERM)
    process.until("stopping")
    process.signal(signal.SIGTERM)
    assert process.ends() == 1
    assert left(processes) == []


def test_dev_leaves_nothing_when_it_is_ended_early(launch: Launch) -> None:
    """SIGTERM while the embedded server comes up: no process is left."""
    process = launch(*DEV, address=None)
    deadline = time.monotonic() + 20
    while len(processes := family(process.popen.pid)) < 2:
        assert time.monotonic() < deadline
    process.signal(signal.SIGTERM)
    assert process.ends() in (0, 1)
    assert left(processes) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent was killed")
def test_dev_is_killed_with_its_server(launch: Launch) -> None:
    """SIGKILL of the worker: the embedded server ends too, so that the next start finds its port free."""
    process = launch(*DEV, address=None)
    process.until("Serving task queue")
    processes = family(process.popen.pid)
    process.signal(signal.SIGKILL)
    assert process.ends() == -signal.SIGKILL
    assert left(processes) == []


@pytest.mark.parametrize("processes", ["1", "2"])
def test_dev_ends_with_its_server(launch: Launch, processes: str) -> None:
    """An embedded server that is killed ends the worker, with one message, the last one, and exit code 1."""
    process = launch(*DEV, "--processes", processes, address=None)
    process.until("Serving task queue")
    [server] = [each for each in family(process.popen.pid) if each.name() == "temporal"]
    server.kill()
    assert process.ends() == 1
    said = process.err.read_text().splitlines()[-1]
    assert (
        said
        == f"counterstep worker: the embedded Temporal ended by itself (exit code -{int(signal.SIGKILL)})"
    )


def test_dev_says_when_its_port_is_taken(launch: Launch, dev_address: str) -> None:
    """Where the port is taken, the message says so, with exit code 1, and no process is left."""
    port = dev_address.rpartition(":")[2]
    process = launch("--dev", "--dev-port", port, "--ui-port", "0", address=None)
    assert process.ends() == 1
    assert process.err.read_text().strip() == (
        f"counterstep worker: port {port} is taken; if a Temporal is there that is to be used, leave --dev out; "
        "else end what listens there, or take another with --dev-port and --ui-port (0: any)"
    )


def test_dev_database_needs_its_folder(launch: Launch) -> None:
    """A database in a folder that isn't there: the message names the folder."""
    process = launch(*DEV, "--dev-database", "/nowhere/dev.db", address=None)
    assert process.ends() == 1
    wanted = "counterstep worker: --dev-database: there is no folder /nowhere"
    assert process.err.read_text().strip() == wanted


async def test_dev_database_keeps_runs(launch: Launch, folder: Path, task_queue: str) -> None:
    """With `--dev-database`, a run is there after a restart."""
    id = new_id()
    for expected in (0, 1):
        process = launch(*DEV, "--dev-database", str(folder / "dev.db"), address=None)
        process.until("Serving task queue")
        client = await Client.connect(lines(process)["Temporal"])
        if not expected:
            await start(client, "doubled@1.0.0", 3, id=id, task_queue=task_queue)
        assert await asyncio.wait_for(client.get_workflow_handle(id).result(), 30) == 6
        process.signal(signal.SIGTERM)
        assert process.ends() == 0
