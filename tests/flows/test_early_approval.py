"""An approval that a run begins with: a worker that doesn't remember the run replays its beginning and the decision at once."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError

from activities import EmptyInput
from flows import Sequence, start
from tests.conftest import Serve
from tests.support import World, eventually, new_id, reset

with workflow.unsafe.imports_passed_through():
    from tests.flows.test_reset import task_ends
    from tests.sagas.operations import Given, work


class Asks(Sequence[EmptyInput, str | None], id="asks", version="1.0.0"):
    """An approval, then a step."""

    async def run(self, input: EmptyInput) -> str | None:
        decision = await self.approval("go")
        await self.execute(work, Given())
        return decision.by


async def waits(handle: WorkflowHandle[Any, Any]) -> None:
    """Wait until a run waits for its approval."""
    for _ in range(600):
        if "waiting for approval" in (await handle.query("status"))["steps"].values():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it never waited")


async def test_it_is_approved_whatever_the_worker_remembers(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """Section 7: approve is taken, also where the run's first task is replayed for it."""
    async with serve(work, Asks, cache=cache) as client:
        handle = await start(client, Asks, EmptyInput(), id=new_id(), task_queue=task_queue)
        await waits(handle)
        await handle.execute_update("approve", {"name": "go", "by": "ann"})
        assert await asyncio.wait_for(handle.result(), 60) == "ann"
    assert world.calls == ["work"]


async def test_a_decision_is_replayed(serve: Serve, world: World, task_queue: str) -> None:
    """A worker that starts after the decision replays both in one activation."""
    world.switch("hold-work")
    async with serve(work, Asks) as client:
        handle = await start(client, Asks, EmptyInput(), id=new_id(), task_queue=task_queue)
        await waits(handle)
        await handle.execute_update("approve", {"name": "go", "by": "ann"})
        await world.until("work")
    world.switch("go-work")
    async with serve(work, Asks) as client:
        assert await asyncio.wait_for(client.get_workflow_handle(handle.id).result(), 60) == "ann"


class AsksTwice(Sequence[EmptyInput, list[str | None]], id="asks-twice", version="1.0.0"):
    """A step, then an approval, twice."""

    async def run(self, input: EmptyInput) -> list[str | None]:
        found = []
        for number in (1, 2):
            await self.execute(work, Given(number=number))
            found.append((await self.approval("go")).by)
        return found


@pytest.mark.parametrize("task", [0, 1])
async def test_a_reset_run_hears_decisions_again(
    serve: Serve, world: World, task_queue: str, task: int, cache: int
) -> None:
    """Temporal applies again what came after the reset point: in their order they are kept until they are waited for."""
    async with serve(work, AsksTwice, cache=cache) as client:
        handle = await start(client, AsksTwice, EmptyInput(), id=new_id(), task_queue=task_queue)
        for step, by in (("go", "ann"), ("go.2", "bob")):
            await approved(handle, step, by)
        assert await asyncio.wait_for(handle.result(), 60) == ["ann", "bob"]
        for _ in range(2):  # also the reset run, reset once more
            handle = await reset(client, handle, (await task_ends(handle))[task])
            assert await asyncio.wait_for(handle.result(), 60) == ["ann", "bob"]


async def test_a_reset_run_refuses_what_comes_later(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """Once it goes on, a decision that nothing waits for is refused as ever."""
    world.switch("hold-work.2")
    async with serve(work, AsksTwice, cache=cache) as client:
        handle = await start(client, AsksTwice, EmptyInput(), id=new_id(), task_queue=task_queue)
        await approved(handle, "go", "ann")
        await world.until("work.2")
        again = await reset(client, handle, (await task_ends(handle))[0])
        await eventually(lambda: world.calls.count("work.2") == 2)
        with pytest.raises(WorkflowUpdateFailedError):
            await again.execute_update("approve", {"name": "go"})
        world.switch("go-work.2")
        await approved(again, "go.2", "bob")
        assert await asyncio.wait_for(again.result(), 60) == ["ann", "bob"]


async def approved(handle: WorkflowHandle[Any, Any], step: str, by: str) -> None:
    """Approve once a step waits; a worker that doesn't remember the run may hear of it before it waits again."""
    for _ in range(600):
        if (await handle.query("status"))["steps"].get(step) == "waiting for approval":
            with contextlib.suppress(WorkflowUpdateFailedError):
                await handle.execute_update("approve", {"name": "go", "by": by})
                return
        await asyncio.sleep(0.05)
    raise AssertionError("it never waited")


class AsksFirst(Sequence[EmptyInput, str | None], id="asks-first", version="1.0.0"):
    """An approval, before anything is asked of Temporal, then a step."""

    async def run(self, input: EmptyInput) -> str | None:
        by = (await self.approval("go")).by
        await self.execute(work, Given())
        return by


@pytest.mark.parametrize("task", [0, 1, 2])
async def test_a_reset_before_anything_was_asked(
    serve: Serve, world: World, task_queue: str, task: int, cache: int
) -> None:
    """Replay may run the tasks that asked for nothing as one: the reset is noticed where something is, in each of them."""
    async with serve(work, AsksFirst, cache=cache) as client:
        handle = await start(client, AsksFirst, EmptyInput(), id=new_id(), task_queue=task_queue)
        await approved(handle, "go", "ann")
        assert await asyncio.wait_for(handle.result(), 60) == "ann"
        again = await reset(client, handle, (await task_ends(handle))[task])
        assert await asyncio.wait_for(again.result(), 60) == "ann"
