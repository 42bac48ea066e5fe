"""`kill -9` of the worker: the run goes on, and each keyed effect is there once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHandle

from flows import start
from tests.spawning import Spawner, kill, spawner
from tests.support import World, causes, events_of, eventually, failure_of, new_id
from tests.worker.crashing import Crash, CrashUnwinding

Crashing = Callable[[], int]
SECOND = timedelta(seconds=1)


@pytest.fixture(scope="module")
def workers() -> Iterator[Spawner]:
    """Start workers that tests kill."""
    with spawner("tests.worker.crashing") as made:
        yield made


@pytest.fixture
def crashing(workers: Spawner, world: World, task_queue: str, dev_address: str) -> Iterator[Crashing]:
    """Start a worker that the test will kill; give its process id."""
    started: list[int] = []

    def crashing() -> int:
        started.append(workers.spawn(dev_address, task_queue, str(world.folder)))
        return started[-1]

    yield crashing
    for left in started:
        kill(left)


@pytest.fixture
async def client(dev_address: str) -> Client:
    """A client without a worker."""
    return await Client.connect(dev_address)


def effects(world: World) -> list[str]:
    """Give the steps whose effect is there, once for each key."""
    return sorted(path.name.split("-")[1] for path in world.folder.glob("effect-*"))


def keys(world: World, step: str) -> list[str]:
    """Give the idempotency key of each call of a step."""
    return [key for name, _, key in world.calls if name == step]


async def begin(client: Client, queue: str, flow: Any, id: str | None = None) -> WorkflowHandle[Any, Any]:
    """Start a flow whose tasks time out soon."""
    return await start(client, flow, 1, id=id or new_id(), task_queue=queue, task_timeout=SECOND)


@pytest.mark.parametrize("step", ["one", "local", "three"])
async def test_killed_during_an_operation(
    client: Client, crashing: Crashing, world: World, task_queue: str, step: str
) -> None:
    """The operation is dispatched again with the same key, and only it; each effect is there once."""
    world.switch(f"hold-{step}")
    worker = crashing()
    handle = await begin(client, task_queue, Crash)
    await eventually(lambda: keys(world, step))
    kill(worker)
    world.switch(f"go-{step}")
    crashing()
    assert await asyncio.wait_for(handle.result(), 30) == 5
    calls = [name for name, _, _ in world.calls]
    assert {name: calls.count(name) for name in calls} == {"one": 1, "local": 1, "two": 1, "three": 1} | {
        step: 2
    }
    assert len(set(keys(world, step))) == 1
    assert effects(world) == ["local", "one", "three", "two"]


async def test_killed_between_operations(
    client: Client, crashing: Crashing, world: World, task_queue: str
) -> None:
    """Killed while the run waits, nothing runs twice."""
    worker = crashing()
    handle = await begin(client, task_queue, Crash)
    await eventually(lambda: keys(world, "local"))
    while "TIMER_STARTED" not in await events_of(handle):
        await asyncio.sleep(0.02)
    kill(worker)
    crashing()
    assert await asyncio.wait_for(handle.result(), 30) == 5
    assert [(name, attempt) for name, attempt, _ in world.calls] == [
        ("one", 1),
        ("local", 1),
        ("two", 1),
        ("three", 1),
    ]
    assert effects(world) == ["local", "one", "three", "two"]


async def test_killed_while_unwinding(
    client: Client, crashing: Crashing, world: World, task_queue: str
) -> None:
    """Killed in an undo, it is dispatched again with the step's key, then the rest: nothing is left."""
    world.switch("hold-two.undo")
    worker = crashing()
    handle = await begin(client, task_queue, CrashUnwinding)
    await eventually(lambda: keys(world, "two.undo"))
    kill(worker)
    world.switch("go-two.undo")
    crashing()
    assert [kind for kind, _ in causes(await failure_of(handle))] == [
        "RolledBack",
        "OperationFailed",
        "RuntimeError",
    ]
    assert [name for name, _, _ in world.calls] == ["one", "two", "two.undo", "two.undo", "one.undo"]
    assert keys(world, "two") * 2 == keys(world, "two.undo")
    assert keys(world, "one") == keys(world, "one.undo")
    assert effects(world) == []


async def test_killed_again_and_again(
    client: Client, crashing: Crashing, world: World, task_queue: str
) -> None:
    """Killed in two operations, twice in the second, the run goes on; each effect is there once."""
    for step in ("one", "two"):
        world.switch(f"hold-{step}")
    handle = await begin(client, task_queue, Crash)
    for step, times in (("one", 1), ("two", 1), ("two", 2)):
        worker = crashing()
        await eventually(lambda s=step, t=times: len(keys(world, s)) == t)
        kill(worker)
        if (step, times) != ("two", 1):
            world.switch(f"go-{step}")
    crashing()
    assert await asyncio.wait_for(handle.result(), 30) == 5
    assert [attempt for name, attempt, _ in world.calls if name == "two"] == [1, 2, 3]
    assert effects(world) == ["local", "one", "three", "two"]
