"""Local steps that were done in a workflow task that Temporal didn't take: an end that comes before they are done again.

The server refuses a task that closes a run while something new has come for it, here the cancel, and forgets what the task
did: the local steps in it took effect, and the history has nothing of them.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle

from activities import Context, EmptyInput, Outcome, operation
from flows import Dag, Sequence, saga, start
from tests.conftest import Serve
from tests.support import World, events_of, failure_of, new_id


async def act(ctx: Context[World], input: EmptyInput) -> None:
    """Record it; a step of this name may wait for a switch."""
    ctx.deps.record(ctx.step)
    if ctx.step.endswith("last"):
        await ctx.deps.wait("go")


async def undo(ctx: Context[World], input: EmptyInput, outcome: Outcome[None]) -> None:
    """Record it."""
    ctx.deps.record("undo", ctx.step, outcome.status.value)


here = operation(id="here", version="1.0.0", placement="local")(act)
here.undo(undo)
there = operation(id="there", version="1.0.0")(act)
there.undo(undo)


class Alone(Sequence[EmptyInput, None], id="alone", version="1.0.0"):
    """Local steps, from the first task on."""

    async def run(self, input: EmptyInput) -> None:
        for name in ("b", "last"):
            await self.execute(here, input, step=name, force=True)


class After(Sequence[EmptyInput, None], id="after", version="1.0.0"):
    """The same after a step elsewhere."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(there, input, step="a")
        await Alone._body(self, input)


class Goes(Sequence[EmptyInput, None], id="goes", version="1.0.0"):
    """Local steps, then one elsewhere if a signal says so."""

    goes_on = False

    @workflow.signal
    def go_on(self) -> None:
        self.goes_on = True

    async def run(self, input: EmptyInput) -> None:
        await Alone._body(self, input)
        if self.goes_on:
            await self.execute(there, input, step="z")


class Around(Sequence[EmptyInput, None], id="around", version="1.0.0"):
    """The same, inline."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(After, input)


@saga(id="planned", version="1.0.0")
def planned(dag: Dag, params: EmptyInput) -> None:
    """The same as a plan."""
    dag.append("a", there, {})
    alone.build(dag, params)


@saga(id="planned-alone", version="1.0.0")
def alone(dag: Dag, params: EmptyInput) -> None:
    """Local steps, from the first task on, in a plan."""
    for name in ("b", "last"):
        dag.append(name, here, {})


class AroundPlanned(Sequence[EmptyInput, None], id="around-planned", version="1.0.0"):
    """The plan, inline."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(planned, input)


FLOWS: dict[Any, tuple[str, list[str]]] = {
    Alone: ("", ["b", "last"]),
    After: ("", ["a", "b", "last"]),
    Around: ("after/", ["a", "b", "last"]),
    planned: ("", ["a", "b", "last"]),
    alone: ("", ["b", "last"]),
    AroundPlanned: ("planned/", ["a", "b", "last"]),
}


def done_twice(flow: Any) -> list[Any]:
    """Give the calls: the local steps are done again, as far as they were, and then all is undone."""
    path, names = FLOWS[flow]
    again = [name for name in names if name != "a"]
    forward = [path + name for name in (*names, *again)]
    return [*forward, *(("undo", path + name, "done") for name in reversed(names))]


async def began(client: Any, world: World, flow: Any, task_queue: str) -> WorkflowHandle[Any, Any]:
    """Start a flow, and wait for its last step."""
    handle: WorkflowHandle[Any, Any] = await start(
        client, flow, EmptyInput(), id=new_id(), task_queue=task_queue
    )
    await world.until(f"{FLOWS.get(flow, ('',))[0]}last")
    return handle


@pytest.mark.parametrize("flow", FLOWS)
async def test_a_cancel(serve: Serve, world: World, task_queue: str, cache: int, flow: Any) -> None:
    """What the lost task did is done again under its keys, and undone: the cancel arrives after the local steps in a row."""
    async with serve(here, there, Alone, After, Around, planned, alone, AroundPlanned, cache=cache) as client:
        handle = await began(client, world, flow, task_queue)
        await handle.cancel()
        world.switch("go")
        await failure_of(handle, 60)
        assert (await handle.describe()).status == WorkflowExecutionStatus.CANCELED
        assert (await events_of(handle)).count("WORKFLOW_TASK_FAILED") == 1
    assert world.calls == done_twice(flow)


async def test_a_step_elsewhere(serve: Serve, world: World, task_queue: str) -> None:
    """After the local steps in a row comes the end that was asked for, before anything else is scheduled."""
    async with serve(here, there, Goes) as client:
        handle = await began(client, world, Goes, task_queue)
        await handle.signal("go_on")
        await handle.cancel()
        world.switch("go")
        await failure_of(handle, 60)
        events = await events_of(handle)
    assert (events.count("WORKFLOW_TASK_FAILED"), "ACTIVITY_TASK_SCHEDULED" in events) == (1, False)
    assert world.calls == done_twice(Alone)


class ByHand(Sequence[EmptyInput, None], id="by-hand", version="1.0.0"):
    """Undoes its step itself."""

    async def run(self, input: EmptyInput) -> None:
        await self.undo(await self.execute(slowly, input))


@operation(id="slowly", version="1.0.0", placement="local")
async def slowly(ctx: Context[World], input: EmptyInput) -> None:
    """Record it."""
    ctx.deps.record(ctx.step)


@slowly.undo
async def undo_slowly(ctx: Context[World], input: EmptyInput, outcome: Outcome[None]) -> None:
    """Record its beginning; then wait for a switch, and record its end."""
    ctx.deps.record("undo", ctx.step)
    await ctx.deps.wait("go")
    ctx.deps.record("undone", ctx.step)


async def test_an_undo_is_not_interrupted(serve: Serve, world: World, task_queue: str) -> None:
    """A cancel that comes while a local undo is at work, in a later task than it began, changes nothing about it."""
    async with serve(slowly, ByHand) as client:
        handle = await start(client, ByHand, EmptyInput(), id=new_id(), task_queue=task_queue)
        await world.until("undo", "slowly")
        await handle.cancel()
        while "WORKFLOW_EXECUTION_CANCEL_REQUESTED" not in await events_of(handle):
            await asyncio.sleep(0.1)  # it is told with the task that follows, most of a task's time later
        await asyncio.sleep(1)
        world.switch("go")
        await failure_of(handle, 60)
    assert world.calls == ["slowly", ("undo", "slowly"), ("undone", "slowly")]
