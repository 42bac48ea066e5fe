"""A worker that is asked to end lets running operations finish for a while, and then hands them over."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHandle

from flows import start
from tests.support import World, events_of, eventually, new_id
from tests.worker.conftest import Launch


@pytest.fixture
async def client(dev_address: str) -> Client:
    """A client without a worker."""
    return await Client.connect(dev_address)


async def begin(
    client: Client, queue: str, world: World, flow: str = "doubled@1.0.0"
) -> WorkflowHandle[Any, Any]:
    """Start a flow whose operation holds, and wait until that runs."""
    world.switch("hold")
    handle = await start(client, flow, 3, id=new_id(), task_queue=queue)
    await eventually(lambda: world.calls)
    return handle


async def test_a_running_operation_finishes(
    client: Client, served: Launch, world: World, task_queue: str
) -> None:
    """SIGTERM: no other operation begins, the operation's result counts, the process ends with 0."""
    worker = served("--grace", "30")
    first = await begin(client, task_queue, world)
    worker.signal(signal.SIGTERM)
    worker.until("stopping")
    second = await start(client, "doubled@1.0.0", 4, id=new_id(), task_queue=task_queue)
    await asyncio.sleep(0.5)
    assert [call[:3] for call in world.calls] == [("slow", 3, 1)]
    world.switch("go")
    assert worker.ends() == 0
    assert "ACTIVITY_TASK_COMPLETED" in await events_of(first)
    served()
    assert (await first.result(), await second.result()) == (6, 8)
    assert [call[:3] for call in world.calls] == [("slow", 3, 1), ("slow", 4, 1)]


@pytest.mark.parametrize("flow", ["doubled", "blocked"])
async def test_after_the_grace_time_it_is_handed_over(
    client: Client, served: Launch, world: World, task_queue: str, flow: str
) -> None:
    """An operation that outlives the grace time is dispatched again with its key; nothing fails."""
    worker = served("--grace", "0.5")
    handle = await begin(client, task_queue, world, f"{flow}@1.0.0")
    asked = time.monotonic()
    worker.signal(signal.SIGTERM)
    assert worker.ends() == 0
    assert time.monotonic() - asked < 5
    world.switch("hold", on=False)
    served()
    assert await asyncio.wait_for(handle.result(), 30) == 6
    (name, *first), (again, *second) = world.calls
    assert (name, first[:2], second[:2]) == (again, [3, 1], [3, 2])
    assert first[2] == second[2]


async def test_a_second_signal_ends_at_once(
    client: Client, served: Launch, world: World, task_queue: str
) -> None:
    """Within a long grace time, a second signal ends the process with 1 within two seconds."""
    worker = served("--grace", "60")
    await begin(client, task_queue, world)
    worker.signal(signal.SIGINT)
    worker.until("stopping")
    asked = time.monotonic()
    worker.signal(signal.SIGTERM)
    assert worker.ends() == 1
    assert time.monotonic() - asked < 2


async def test_an_idle_worker_ends_quietly(client: Client, served: Launch, task_queue: str) -> None:
    """With a run open that waits, SIGTERM ends the worker with 0 in two seconds, without a traceback."""
    worker = served()
    handle = await start(client, "waiting@1.0.0", 3, id=new_id(), task_queue=task_queue)
    await eventually_waits(handle)
    asked = time.monotonic()
    worker.signal(signal.SIGTERM)
    assert worker.ends() == 0
    assert time.monotonic() - asked < 2
    assert "Traceback" not in worker.text


async def eventually_waits(handle: WorkflowHandle[Any, Any]) -> None:
    """Wait until a run waits for its approval."""
    while (await handle.query("status"))["steps"].get("go") != "waiting for approval":
        await asyncio.sleep(0.05)
