"""`kill -9` of a server with a file database: runs go on when it is back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.worker import Worker

from activities import Registry
from flows import CounterstepPlugin, start
from tests.serving import Server
from tests.support import World, eventually, new_id
from tests.worker.crashing import DEFINITIONS, Crash


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """A server of the test's own."""
    made = Server(tmp_path / "temporal.db")
    await made.up()
    yield made
    made.kill()


@pytest.mark.parametrize("step", ["one", "local", "two"])
async def test_the_server_is_killed_during_an_operation(
    server: Server, world: World, task_queue: str, step: str
) -> None:
    """The worker reconnects by itself, the run completes, and each effect is there once."""
    world.switch(f"hold-{step}")
    plugin = CounterstepPlugin(Registry(*DEFINITIONS), deps=world, heartbeat_timeout=timedelta(seconds=2))
    client = await Client.connect(server.address, plugins=[plugin])
    soon = timedelta(milliseconds=200)
    async with Worker(client, task_queue=task_queue, sticky_queue_schedule_to_start_timeout=soon):
        second = timedelta(seconds=1)
        handle = await start(client, Crash, 1, id=new_id(), task_queue=task_queue, task_timeout=second)
        await eventually(lambda: [call for call in world.calls if call[0] == step])
        server.kill()
        await asyncio.sleep(0.2)
        await server.up()
        world.switch(f"go-{step}")
        assert await asyncio.wait_for(client.get_workflow_handle(handle.id).result(), 60) == 5
    assert sorted(path.name.split("-")[1] for path in world.folder.glob("effect-*")) == [
        "local",
        "one",
        "three",
        "two",
    ]
    assert len({tuple(call) for call in world.calls if call[0] != step}) == 3
    assert len({key for name, _, key in world.calls if name == step}) == 1
