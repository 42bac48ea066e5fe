"""`--processes N`: several worker processes under one parent."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable

import psutil
import pytest
from temporalio.client import Client

from flows import start
from tests.support import World, eventually, new_id
from tests.worker.conftest import Launch
from tests.worker.support import Process, family, get

Ready = Callable[..., tuple[Process, str]]


@pytest.fixture
def ready(served: Launch) -> Ready:
    """Start two processes, and wait until both are ready; also gives the URL of the health checks."""

    def ready(*args: str) -> tuple[Process, str]:
        parent = served("--processes", "2", "--health", "127.0.0.1:0", *args)
        url = re.findall(r"^Health: (.*)$", parent.text, re.MULTILINE)[0]
        deadline = time.monotonic() + 60
        while get(f"{url}/readyz") != (200, "ok"):
            assert time.monotonic() < deadline, (get(f"{url}/readyz"), parent.text)
            time.sleep(0.1)
        return parent, url

    return ready


def children(parent: Process) -> list[int]:
    """Give the worker processes, oldest first; a helper of multiprocessing's own isn't one."""
    started = family(parent.popen.pid)[1:]
    return [each.pid for each in started if "spawn_main" in "".join(each.cmdline())]


def gone(pids: list[int]) -> bool:
    """Whether none of these runs any more."""
    return not any(map(psutil.pid_exists, pids))


@pytest.mark.nightly
async def test_one_that_dies_again_and_again_comes_back_later_each_time(ready: Ready) -> None:
    """Killed three times, process 2 comes back after 0.5, 1 and 2 seconds; the other goes on."""
    parent, url = ready()
    first, second = children(parent)
    for delay in ("0.5", "1", "2"):
        psutil.Process(children(parent)[1]).kill()
        parent.until(f"worker process 2 was killed by SIGKILL; another one starts in {delay} seconds")
        await eventually(lambda: get(f"{url}/readyz") == (200, "ok"), 60)
    assert children(parent)[0] == first
    assert second not in children(parent) and len(children(parent)) == 2


async def test_one_that_dies_is_started_again_and_a_signal_ends_all(
    ready: Ready, dev_address: str, task_queue: str, world: World
) -> None:
    """Killed, one comes back. SIGTERM to the group: not ready any more, an operation finishes, all end, with 0."""
    world.switch("hold")
    parent, url = ready()
    psutil.Process(children(parent)[0]).kill()
    parent.until("worker process 1 was killed by SIGKILL; another one starts in 0.5 seconds")
    await eventually(lambda: get(f"{url}/readyz") == (200, "ok"), 60)
    pids = children(parent)
    client = await Client.connect(dev_address)
    handle = await start(client, "doubled@1.0.0", 3, id=new_id(), task_queue=task_queue)
    await eventually(lambda: world.calls)
    for pid in (*pids, parent.popen.pid):  # as a service manager does
        psutil.Process(pid).send_signal(signal.SIGTERM)
    await eventually(lambda: get(f"{url}/readyz") == (503, "it is stopping"))
    assert get(f"{url}/healthz") == (200, "ok")
    world.switch("go")
    assert parent.ends() == 0
    assert gone(pids)
    description = await handle.describe()
    assert [call[:3] for call in world.calls] == [("slow", 3, 1)]
    assert description.raw_description.pending_activities == []


@pytest.mark.nightly
async def test_a_second_signal_ends_all_at_once(
    ready: Ready, dev_address: str, task_queue: str, world: World
) -> None:
    """Within a long grace time, a second SIGINT ends parent and processes; the parent with 1."""
    world.switch("hold")
    parent, _ = ready("--grace", "60")
    pids = children(parent)
    client = await Client.connect(dev_address)
    await start(client, "doubled@1.0.0", 3, id=new_id(), task_queue=task_queue)
    await eventually(lambda: world.calls)
    parent.signal(signal.SIGINT)
    parent.until("stopping")
    asked = time.monotonic()
    parent.signal(signal.SIGINT)
    assert parent.ends() == 1
    assert time.monotonic() - asked < 5
    await eventually(lambda: gone(pids))


@pytest.mark.nightly
async def test_without_their_parent_processes_end(ready: Ready) -> None:
    """SIGKILL of the parent leaves no process behind."""
    parent, _ = ready()
    pids = children(parent)
    parent.kill()
    await eventually(lambda: gone(pids))


def test_a_namespace_that_is_not_there_ends_all(launch: Launch) -> None:
    """The first process finds out: nothing says that it serves, one line says why, exit code 1."""
    parent = launch("--processes", "2", "--namespace", "nowhere")
    assert parent.ends() == 1
    assert "Serving" not in parent.out.read_text()
    assert parent.err.read_text().count("nowhere") == 1


def test_what_keeps_it_from_serving_is_said_once(launch: Launch) -> None:
    """A module that isn't there: one line, exit code 1, and only one process was started."""
    parent = launch("--processes", "8", modules=("nowhere",))
    assert parent.ends() == 1
    assert parent.err.read_text().splitlines() == [
        "counterstep worker: there is no module 'nowhere'; looked in the current folder too"
    ]
    assert parent.out.read_text() == ""
