"""`max_parallel` caps steps and undos, and what is ready starts in plan order: seen in the history."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.client import Client, WorkflowHandle

from activities import Context, EmptyInput, Outcome, operation
from flows import Dag, Policy, saga, start
from tests.conftest import Serve
from tests.sagas.operations import Given, Made
from tests.sample import FAST
from tests.support import World, causes, failure_of, new_id
from tests.undoing import claim_of, start_undo

COUNT, CAP = 12, 3
MANY = 70
NAMES = [f"n{n}" for n in range(COUNT)]
SHUFFLED = [f"s{n * 37 % MANY}" for n in range(MANY)]
"""Names whose order is neither that of letters nor that of numbers."""


@operation(id="gated", version="1.0.0")
async def gated(ctx: Context[World], input: Given) -> Made:
    """Wait until the test lets it go on, if it is to; only the test ends it, however slow a machine is."""
    ctx.deps.record(ctx.step)
    if ctx.deps.is_on("gates"):
        await ctx.deps.wait(f"go-{ctx.step}", 60)
    if ctx.deps.is_on(f"fail-{ctx.step}"):
        raise RuntimeError(f"{ctx.step} down")
    return Made(id=1, name=ctx.step)


@gated.undo(retry=FAST)
async def undo_gated(ctx: Context[World], input: Given, outcome: Outcome[Made]) -> None:
    ctx.deps.record(f"undo {ctx.step}")
    if ctx.deps.is_on("undo-gates"):
        await ctx.deps.wait(f"go-undo-{ctx.step}", 60)


@saga(id="capped", version="1.0.0", policy=Policy(max_parallel=CAP))
def capped(dag: Dag, params: EmptyInput) -> None:
    """Twelve steps beside each other, three at once, then one more."""
    dag.append_parallel(*(dag.step(name, gated, {}) for name in NAMES))
    dag.append("last", gated, {})


@saga(id="many", version="1.0.0")
def many(dag: Dag, params: EmptyInput) -> None:
    """A step, seventy beside each other, as many at once as the default says, then one more."""
    dag.append("first", gated, {})
    dag.append_parallel(*(dag.step(name, gated, {}) for name in SHUFFLED))
    dag.append("last", gated, {})


async def scheduled(handle: WorkflowHandle[Any, Any]) -> list[str]:
    """Give the ids of the activities that a run scheduled, in the order of its history."""
    return [
        event.activity_task_scheduled_event_attributes.activity_id
        async for event in handle.fetch_history_events()
        if event.HasField("activity_task_scheduled_event_attributes")
    ]


async def most_at_once(handle: WorkflowHandle[Any, Any]) -> int:
    """Give how many activities were open at once, at most."""
    open_, most = 0, 0
    async for event in handle.fetch_history_events():
        open_ += event.HasField("activity_task_scheduled_event_attributes")
        most = max(most, open_)
        open_ -= event.HasField("activity_task_completed_event_attributes")
        open_ -= event.HasField("activity_task_failed_event_attributes")
    return most


async def _one_by_one(
    handle: WorkflowHandle[Any, Any], world: World, ids: list[str], prefix: str, gate: str
) -> None:
    """Open the gates, always of the newest that runs: each lets exactly one more start, the next in order."""
    names = [id.removesuffix(".undo") for id in ids]
    running = names[:CAP]
    for name in running:
        await world.until(f"{prefix}{name}")
    assert (await scheduled(handle))[-CAP:] == ids[:CAP]
    for count, name in enumerate(names[CAP:], CAP):
        world.switch(f"{gate}{running.pop()}")
        await world.until(f"{prefix}{name}")
        assert [id for id in await scheduled(handle) if id in ids] == ids[: count + 1]
        running.append(name)
    for name in running:
        world.switch(f"{gate}{name}")


async def _begin(client: Client, task_queue: str, flow: Any = capped) -> WorkflowHandle[Any, Any]:
    return await start(client, flow, EmptyInput(), id=new_id(), task_queue=task_queue)


async def test_three_steps_at_once(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """Twelve are ready, and the first three run; whichever ends, the next in the plan starts, and no other."""
    world.switch("gates")
    world.switch("go-last")
    async with serve(gated, capped, cache=cache) as client:
        handle = await _begin(client, task_queue)
        await _one_by_one(handle, world, NAMES, "", "go-")
        await handle.result()
        assert await scheduled(handle) == [*NAMES, "last"]
        assert await most_at_once(handle) == CAP
    assert world.calls == [*NAMES, "last"]


@pytest.mark.parametrize("how", ["unwinding", "undo"])
async def test_three_undos_at_once(serve: Serve, world: World, task_queue: str, cache: int, how: str) -> None:
    """The newest three are undone at once; whichever undo ends, the next newest starts: in the run, and by `undo` later."""
    world.switch("undo-gates")
    world.switch("go-undo-last")
    if how == "unwinding":
        world.switch("fail-last")
    undos = [f"{name}.undo" for name in reversed(NAMES)]
    async with serve(gated, capped, cache=cache) as client:
        handle = worker = await _begin(client, task_queue)
        if how == "undo":
            await handle.result()
            handle = await start_undo(client, task_queue, worker)
            await world.until("undo last")
            worker = client.get_workflow_handle(await claim_of(worker))
        await _one_by_one(worker, world, undos, "undo ", "go-undo-")
        if how == "unwinding":
            assert causes(await failure_of(handle))[0][0] == "RolledBack"
        else:
            assert (await handle.result())["undone"] == ["last", *reversed(NAMES)]
        assert [id for id in await scheduled(worker) if id in undos] == undos
        assert await most_at_once(worker) == CAP


async def test_plan_order_under_the_default_cap(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """Seventy steps are ready at once: they are scheduled in plan order, 64 at once, and undone in the reverse of it."""
    world.switch("fail-last")
    async with serve(gated, many, cache=cache) as client:
        handle = await _begin(client, task_queue, many)
        assert causes(await failure_of(handle, 60))[-1] == ("RuntimeError", "last down")
        undos = [f"{name}.undo" for name in (*reversed(SHUFFLED), "first")]
        assert await scheduled(handle) == ["first", *SHUFFLED, "last", *undos]
        assert await most_at_once(handle) == 64
