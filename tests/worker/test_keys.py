"""An idempotency key belongs to a step of a run, through attempts, replays and resets."""

from __future__ import annotations

from temporalio.client import WorkflowHandle

from flows import start
from tests.conftest import Serve
from tests.support import World, new_id, reset
from tests.worker.crashing import DEFINITIONS, Crash, Keys


def keys(world: World, step: str) -> list[str]:
    """Give the idempotency key of each call of a step."""
    return [key for name, _, key in world.calls if name == step]


async def task_before(handle: WorkflowHandle[object, object], activity: str) -> int:
    """Give the workflow task that scheduled an activity."""
    async for event in handle.fetch_history_events():
        if event.activity_task_scheduled_event_attributes.activity_id == activity:
            return event.activity_task_scheduled_event_attributes.workflow_task_completed_event_id
    raise AssertionError(f"{activity} wasn't scheduled")


async def test_attempts_and_replays_keep_the_key(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """Four attempts of one step have one key, also where every task replays; another step has another."""
    async with serve(*DEFINITIONS, cache=cache) as client:
        handle = await start(client, Keys, 1, id=new_id(), task_queue=task_queue)
        assert await handle.result() == 3
    assert [(name, attempt) for name, attempt, _ in world.calls] == [
        *(("flaky", n) for n in (1, 2, 3, 4)),
        ("one", 1),
    ]
    assert len(set(keys(world, "flaky"))) == 1
    assert set(keys(world, "flaky")) & set(keys(world, "one")) == set()


async def test_a_reset_keeps_the_keys(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """Reset before each effect in turn, each time the newest run: what runs again has its old key."""
    async with serve(*DEFINITIONS, cache=cache) as client:
        handle = await start(client, Crash, 1, id=new_id(), task_queue=task_queue)
        assert await handle.result() == 5
        for step in ("three", "two", "one"):
            handle = await reset(client, handle, await task_before(handle, step))
            assert await handle.result() == 5
    assert [name for name, _, _ in world.calls].count("one") == 2
    assert [name for name, _, _ in world.calls].count("three") == 4
    assert [len(set(keys(world, step))) for step in ("one", "local", "two", "three")] == [1, 1, 1, 1]


async def test_two_runs_of_one_workflow_id_have_different_keys(
    serve: Serve, world: World, task_queue: str
) -> None:
    """The same id, input and step, run twice: two keys."""
    id = new_id()
    async with serve(*DEFINITIONS) as client:
        for _ in range(2):
            assert await (await start(client, Keys, 1, id=id, task_queue=task_queue)).result() == 3
    assert len(set(keys(world, "one"))) == 2
    assert len(set(keys(world, "flaky"))) == 2
