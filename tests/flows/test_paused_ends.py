"""What a pause held back never begins where the run ends: a local step either, of which no lost task can have done anything."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowHandle

from activities import Context, EmptyInput, Outcome, operation
from flows import Dag, Policy, Sequence, saga, start
from tests.conftest import Serve
from tests.support import World, events_of, failure_of, new_id


async def act(ctx: Context[World], input: EmptyInput) -> None:
    """Record it; the first step waits for a switch."""
    ctx.deps.record(ctx.step)
    if ctx.step.endswith("first"):
        await ctx.deps.wait("go")


async def undo(ctx: Context[World], input: EmptyInput, outcome: Outcome[None]) -> None:
    """Record it."""
    ctx.deps.record(f"undo {ctx.step}")


here = operation(id="here", version="1.0.0", placement="local")(act)
here.undo(undo)
there = operation(id="there", version="1.0.0")(act)
there.undo(undo)


class Line(Sequence[EmptyInput, None], id="line", version="1.0.0"):
    """Local steps after one elsewhere."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(there, input, step="first")
        for name in ("x1", "x2"):
            await self.execute(here, input, step=name, force=True)


class Beside(Sequence[EmptyInput, None], id="beside", version="1.0.0"):
    """Steps beside each other, after one elsewhere, inline."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(there, input, step="first")
        steps = (("x1", here), ("x2", there), ("x3", here))
        await self.gather(*(self.execute(op, input, step=name, force=True) for name, op in steps))


@saga(id="planned", version="1.0.0")
def planned(dag: Dag, params: EmptyInput) -> None:
    """The same as a plan."""
    first = dag.append("first", there, {})
    dag.append("x1", here, {})
    dag.append("x2", here, {})
    dag.step("y", there, {}, after=[first])


@saga(id="late", version="1.0.0", policy=Policy(deadline=timedelta(seconds=3)))
def late(dag: Dag, params: EmptyInput) -> None:
    """The same with a deadline."""
    planned.build(dag, params)


class Around(Sequence[EmptyInput, None], id="around", version="1.0.0"):
    """The plan, inline."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(planned, input)


FLOWS: tuple[Any, ...] = (Line, Beside, planned, Around)


async def held_back(handle: WorkflowHandle[Any, Any], world: World, first: str = "first") -> None:
    """Pause it in its first step, let that end, and wait until Temporal has told the flow so."""
    await world.until(first)
    await handle.execute_update("pause")
    world.switch("go")
    told = [
        "ACTIVITY_TASK_COMPLETED",
        "WORKFLOW_TASK_SCHEDULED",
        "WORKFLOW_TASK_STARTED",
        "WORKFLOW_TASK_COMPLETED",
    ]
    while (await events_of(handle))[-4:] != told:
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("end", ["cancel", "stop"])
@pytest.mark.parametrize("flow", FLOWS)
async def test_what_a_pause_held_back_never_begins(
    serve: Serve, world: World, task_queue: str, cache: int, flow: Any, end: str
) -> None:
    """Paused, then cancelled or stopped: only what had begun is undone."""
    first = "planned/first" if flow is Around else "first"
    async with serve(here, there, *FLOWS, cache=cache) as client:
        handle = await start(client, flow, EmptyInput(), id=new_id(), task_queue=task_queue)
        await held_back(handle, world, first)
        await (handle.cancel() if end == "cancel" else handle.execute_update("stop"))
        await failure_of(handle, 60)
    assert world.calls == [first, f"undo {first}"]


async def test_what_a_pause_held_back_when_the_deadline_passes(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """The deadline passes while the run is paused: only what had begun is undone."""
    async with serve(here, there, late, cache=cache) as client:
        handle = await start(client, late, EmptyInput(), id=new_id(), task_queue=task_queue)
        await world.until("first")
        await handle.execute_update("pause")
        world.switch("go")
        await failure_of(handle, 60)
    assert world.calls == ["first", "undo first"]


async def test_what_a_pause_held_back_goes_on(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """After unpause it begins, in its order."""
    async with serve(here, there, Line, cache=cache) as client:
        handle = await start(client, Line, EmptyInput(), id=new_id(), task_queue=task_queue)
        await held_back(handle, world)
        await handle.execute_update("unpause")
        await handle.result()
    assert world.calls == ["first", "x1", "x2"]
