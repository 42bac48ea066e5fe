"""Local steps of which Temporal alone tells how they ended: they can be undone all the same, also from the history."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel
from temporalio.client import WorkflowExecutionStatus

from activities import Context, Outcome, Retry, operation
from counterstep.reports import fetch_report
from flows import Dag, Policy, Sequence, saga, start, undo
from tests.conftest import Serve
from tests.support import World, events_of, eventually, failure_of, new_id

KEEP = Policy(on_failure="keep")


class In(BaseModel):
    n: int


@operation(id="slow", version="1.0.0", placement="local", timeout=timedelta(seconds=1))
async def slow(ctx: Context[World], input: In) -> None:
    """Record it, and take longer than its timeout."""
    ctx.deps.record(ctx.step, input.n, ctx.idempotency_key)
    await asyncio.sleep(3)


@operation(id="waits", version="1.0.0", placement="local", timeout=timedelta(minutes=5))
async def waits(ctx: Context[World], input: In) -> None:
    """Record it, and wait until it is cancelled."""
    ctx.deps.record(ctx.step, input.n, ctx.idempotency_key)
    await ctx.deps.wait("never", 300)


@slow.undo(retry=Retry(max_attempts=1))
@waits.undo(retry=Retry(max_attempts=1))
async def undo_it(ctx: Context[World], input: In, outcome: Outcome[None]) -> None:
    """Record it; it may fail."""
    if ctx.deps.is_on("broken"):
        raise RuntimeError("down")
    ctx.deps.record("undo", ctx.step, input.n, ctx.idempotency_key, outcome.status.value)


@saga(id="plan", version="1.0.0", policy=KEEP)
def plan(dag: Dag, params: In) -> None:
    """The step in a plan."""
    dag.append("x", slow, {"n": 7})


class Line(Sequence[In, None], id="line", version="1.0.0", policy=KEEP):
    """The step in a sequence."""

    async def run(self, input: In) -> None:
        await self.execute(slow, In(n=7), step="x")


class Above(Sequence[In, None], id="above", version="1.0.0", policy=KEEP):
    """The step in a child."""

    async def run(self, input: In) -> None:
        await self.execute(Line, input, child=True)


class Waits(Sequence[In, None], id="waiting", version="1.0.0"):
    """A step that ends when it is cancelled."""

    async def run(self, input: In) -> None:
        await self.execute(waits, In(n=7), step="x")


def keys(world: World) -> set[str]:
    """Give the idempotency keys of all calls."""
    return {call[3] if call[0] == "undo" else call[2] for call in world.calls}


@pytest.mark.parametrize("flow", [plan, Line, Above])
async def test_a_timeout(serve: Serve, world: World, task_queue: str, cache: int, flow: Any) -> None:
    """`undo` of a run that kept the step knows its input and its key; the report shows them."""
    async with serve(slow, plan, Line, Above, cache=cache) as client:
        handle = await start(client, flow, In(n=1), id=new_id(), task_queue=task_queue)
        await failure_of(handle, 60)
        result = await undo(client, handle.id, task_queue=task_queue)
        step = (await fetch_report(client, handle.id)).children[0]
    name = "line/x" if flow is Above else "x"
    assert (result.undone, result.not_undone) == ((name,), ())
    *called, undone = world.calls
    assert {(step, n) for step, n, _ in called} == {("x", 7)}  # once, or again in a task that was lost
    assert (*undone[:3], undone[4]) == ("undo", name, 7, "unknown")
    assert len(keys(world)) == 1
    assert (step.children[0] if flow is Above else step).input == {"n": 7}


async def test_a_cancel_that_the_worker_heard(serve: Serve, world: World, task_queue: str) -> None:
    """Its undo fails in the run; `undo` calls it with the step's input and key."""
    world.switch("broken")
    async with serve(waits, Waits) as client:
        handle = await start(client, Waits, In(n=1), id=new_id(), task_queue=task_queue)
        await eventually(lambda: world.calls, 60)
        await heartbeat(handle)
        await handle.cancel()
        assert "not undone: x" in str(await failure_of(handle, 60))
        world.switch("broken", on=False)
        result = await undo(client, handle.id, task_queue=task_queue)
    assert result.undone == ("x",)
    assert [call[:3] for call in world.calls] == [("x", 7, world.calls[0][2]), ("undo", "x", 7)]
    assert len(keys(world)) == 1


async def test_a_cancel_of_what_another_worker_did(serve: Serve, world: World, task_queue: str) -> None:
    """A worker that has forgotten the run hears of the step and of the cancel at once: it may be done, so it is undone."""
    async with serve(waits, Waits, cache=0) as client:
        handle = await start(client, Waits, In(n=1), id=new_id(), task_queue=task_queue)
        await eventually(lambda: world.calls, 60)
        await heartbeat(handle)
        await handle.cancel()
        await failure_of(handle, 60)
        assert (await handle.describe()).status == WorkflowExecutionStatus.CANCELED
    assert world.calls[-1][:3] == ("undo", "x", 7)
    assert len(keys(world)) == 1


async def heartbeat(handle: Any) -> None:
    """Wait until a workflow task has ended while the local step is at work."""
    count = (await events_of(handle)).count("WORKFLOW_TASK_COMPLETED")
    while (await events_of(handle)).count("WORKFLOW_TASK_COMPLETED") == count:
        await asyncio.sleep(0.2)
