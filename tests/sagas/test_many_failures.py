"""Steps that fail at once: one clean end, named after the first of them in history (issue point 10, S28)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from activities import Context, EmptyInput, Outcome, Registry, operation
from flows import CounterstepPlugin, start
from tests.sample import FAST
from tests.support import World, causes, failure_of, new_id

STEPS = [f"n{number}" for number in range(8)]
FAILED, SCHEDULED = EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED, EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
TASK = EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED


@operation(id="doomed", version="1.0.0")
async def doomed(ctx: Context[World], input: EmptyInput) -> None:
    """Fail when the barrier opens; ``a`` doesn't."""
    if ctx.step != "a":
        ctx.deps.append(f"reached-{ctx.workflow_id}", ctx.step)
        await ctx.deps.wait(f"open-{ctx.workflow_id}", 120)
        raise RuntimeError(f"{ctx.step} down")


@doomed.undo(retry=FAST)
async def undo_doomed(ctx: Context[World], input: EmptyInput, outcome: Outcome[None]) -> None:
    ctx.deps.append(f"undone-{ctx.workflow_id}", ctx.step)


def plan(queue: str) -> dict[str, Any]:
    """Give a plan: a, then eight steps beside each other, all on a queue that isn't the flow's."""
    step = {"operation": "doomed", "task_queue": queue}
    return {
        "id": "eight",
        "version": "1.0.0",
        "steps": [{"name": "a", **step}, *({"name": name, "after": ["a"], **step} for name in STEPS)],
    }


async def failed_steps(handle: WorkflowHandle[Any, Any]) -> list[str]:
    """Give the steps that failed, in the order in which history tells of them; all before the next task began."""
    names: dict[int, str] = {}
    failed: list[str] = []
    async for event in handle.fetch_history_events():
        if event.event_type == SCHEDULED:
            names[event.event_id] = event.activity_task_scheduled_event_attributes.activity_id
        elif event.event_type == FAILED:
            failed.append(names[event.activity_task_failed_event_attributes.scheduled_event_id])
        elif event.event_type == TASK and failed:
            break
    return failed


async def round_of(client: Client, world: World, queue: str, count: int) -> None:
    """Run sagas whose failures are reported while nobody works on workflow tasks; check how each one ends."""
    soon = timedelta(milliseconds=200)
    async with Worker(client, task_queue=f"{queue}-steps", max_concurrent_activities=8 * count):
        async with Worker(client, task_queue=queue, sticky_queue_schedule_to_start_timeout=soon):
            handles = [
                await start(client, "saga", plan(f"{queue}-steps"), id=new_id("eight"), task_queue=queue)
                for _ in range(count)
            ]
            for handle in handles:
                while sorted(world.lines(f"reached-{handle.id}")) != STEPS:
                    await asyncio.sleep(0.02)
        for handle in handles:
            world.switch(f"open-{handle.id}")
        for handle in handles:
            while sorted(await failed_steps(handle)) != STEPS:
                await asyncio.sleep(0.02)
        async with Worker(client, task_queue=queue):
            for handle in handles:
                await check(handle, world)


async def check(handle: WorkflowHandle[Any, Any], world: World) -> None:
    """See that a run ended cleanly, its error being the first failure in history."""
    found = causes(await failure_of(handle, 60))
    failed = await failed_steps(handle)
    assert sorted(failed) == STEPS, "all were reported before one workflow task"
    says = f"step {failed[0]} (doomed@1.0.0) failed after 1 attempt: RuntimeError: {failed[0]} down"
    assert found == [
        ("RolledBack", f"eight@1.0.0 rolled back: {says}"),
        ("OperationFailed", says),
        ("RuntimeError", f"{failed[0]} down"),
    ]
    assert sorted(world.lines(f"reached-{handle.id}")) == STEPS
    assert world.lines(f"undone-{handle.id}") == ["a"]


@pytest.mark.parametrize(
    "rounds", [1, pytest.param(20, marks=[pytest.mark.nightly, pytest.mark.timeout(1800)])]
)
async def test_eight_failures_reported_in_one_task(
    dev_address: str, world: World, task_queue: str, rounds: int
) -> None:
    """Eight parallel steps released by one barrier all fail; ten times, nightly 200 times: as many clean ends."""
    client = await Client.connect(dev_address, plugins=[CounterstepPlugin(Registry(doomed), deps=world)])
    for number in range(rounds):
        await round_of(client, world, f"{task_queue}-{number}", 10)
