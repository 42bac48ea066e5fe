"""A worker that is killed in a job: the run goes on in that job, from its first hook, with its recorded input."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import Client, WorkflowFailureError

from flows import start
from tests.actions.crashing import RISKY
from tests.spawning import Spawner, alive, kill, spawner
from tests.support import World, new_id


@pytest.fixture(scope="module")
def spawn() -> Iterator[Spawner]:
    """Workers of `tests.actions.crashing`."""
    with spawner("tests.actions.crashing") as spawner_:
        yield spawner_


async def outcome(spawn: Spawner, world: World, address: str, queue: str, input: Any) -> Any:
    """Run with a worker that dies once and is started again; give the result, or the failure."""
    worker = spawn.spawn(address, queue, str(world.folder))
    client = await Client.connect(address)
    options = {"id": new_id(), "task_queue": queue, "task_timeout": timedelta(seconds=1)}
    result = asyncio.ensure_future((await start(client, RISKY.flow, input, **options)).result())
    deaths = 0
    while not result.done():
        await asyncio.wait([result], timeout=0.1)
        if not alive(worker):
            deaths, worker = deaths + 1, spawn.spawn(address, queue, str(world.folder))
    kill(worker)
    assert deaths == 1, "the worker must have died once"
    return result.exception() or result.result()


async def test_a_job_goes_on_with_its_recorded_input(
    spawn: Spawner, world: World, dev_address: str, task_queue: str
) -> None:
    """ACT-39, seed bug: killed in b.post1 → b.pre1 gets 3 again, not the start input; a isn't called; data is kept."""
    world.switch("die-b.post1")
    assert await outcome(spawn, world, dev_address, task_queue, 0) == 6
    b = [("b.pre1", 3), ("b.execute", 4), ("b.post1", 5)]
    assert world.calls == [
        ("a.save", None), ("a.pre1", 0), ("a.execute", 1), ("a.post1", 2),
        ("b.save", None), *b, ("b.save", {"attempt": 1}), *b,
    ]  # fmt: skip


async def test_a_crash_never_starts_a_rollback(
    spawn: Spawner, world: World, dev_address: str, task_queue: str
) -> None:
    """ACT-41, seed bug: b's input is None, the worker is killed in b → b again, the run completes, no handler is called."""
    world.switch("die-b.execute")
    assert await outcome(spawn, world, dev_address, task_queue, None) is None
    names = [call[0] for call in world.calls if call[0].startswith("b.")]
    assert names == ["b.save", "b.pre1", "b.execute", "b.save", "b.pre1", "b.execute", "b.post1"]
    assert not any(call[0].startswith("rollback") for call in world.calls)


@pytest.mark.nightly
async def test_a_crash_before_a_failure(
    spawn: Spawner, world: World, dev_address: str, task_queue: str
) -> None:
    """Killed in a.pre1, then b fails: handlers b, a, each once, with the data that was saved last."""
    world.switch("die-a.pre1")
    world.switch("fail-b.execute")
    assert isinstance(await outcome(spawn, world, dev_address, task_queue, 0), WorkflowFailureError)
    assert world.calls[-2:] == [("rollback b", {"attempt": 1}), ("rollback a", {"attempt": 2})]
