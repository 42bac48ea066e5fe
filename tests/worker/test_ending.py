"""A worker that is asked to end lets running operations finish for a while, and then hands them over."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest
from temporalio.client import Client

from flows import start
from tests.support import World, events_of, new_id
from tests.worker.conftest import Launch


async def begin(address: str, queue: str, flow: str, input: int) -> object:
    """Start a flow, without a worker of one's own."""
    client = await Client.connect(address)
    return await start(client, flow, input, id=new_id(), task_queue=queue)


async def test_a_running_operation_finishes(served: Launch, world: World, dev_address: str, task_queue: str) -> None:
    """SIGTERM: nothing new is taken up, the operation's result counts, the process ends with 0."""
    client = await Client.connect(dev_address)
    world.switch("hold")
    worker = served("--grace", "30")
    first = await start(client, "doubled@1.0.0", 3, id=new_id(), task_queue=task_queue)
    await world.until("slow")
    worker.signal(signal.SIGTERM)
    worker.until("stopping")
    second = await start(client, "doubled@1.0.0", 4, id=new_id(), task_queue=task_queue)
    await asyncio.sleep(0.5)
    assert (await events_of(second))[-1] == "WORKFLOW_TASK_SCHEDULED"
    world.switch("go")
    assert worker.ends() == 0
    assert "ACTIVITY_TASK_COMPLETED" in await events_of(first)
    served()
    assert (await first.result(), await second.result()) == (6, 8)
    assert [call[:3] for call in world.calls] == [("slow", 3, 1), ("slow", 4, 1)]
