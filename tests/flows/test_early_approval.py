"""An approval that a run begins with: a worker that doesn't remember the run replays its beginning and the decision at once."""

from __future__ import annotations

import asyncio
from typing import Any

from temporalio import workflow
from temporalio.client import WorkflowHandle

from activities import EmptyInput
from flows import Sequence, start
from tests.conftest import Serve
from tests.support import World, new_id

with workflow.unsafe.imports_passed_through():
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
