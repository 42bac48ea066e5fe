"""Ten thousand steps, undo included, at a cost that grows linearly (issue 3, Size). Takes minutes."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import psutil
import pytest
from pydantic import BaseModel
from temporalio.client import Client, WorkflowFailureError

from activities import Context, Outcome, operation
from flows import Dag, Policy, saga, start
from tests.conftest import Serve
from tests.sample import FAST
from tests.support import World, causes, new_id

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(3000)]


class Size(BaseModel):
    """How many steps, and whether the last one fails."""

    steps: int
    fails: bool = False


@operation(id="tick", version="1.0.0")
async def tick(ctx: Context[World], input: int) -> int:
    """Count; a negative input fails."""
    ctx.deps.append("ticks", str(abs(input)))
    if input < 0:
        raise RuntimeError("the last one")
    return input


@tick.undo(retry=FAST)
async def untick(ctx: Context[World], input: int, outcome: Outcome[int]) -> None:
    ctx.deps.append("unticks", str(input))


@saga(id="line-of", version="1.0.0")
def line_of(dag: Dag, params: Size) -> None:
    """So many steps in a line."""
    for number in range(1, params.steps + 1):
        dag.append(f"n{number}", tick, -number if params.fails and number == params.steps else number)


@saga(id="row-of", version="1.0.0", policy=Policy(max_parallel=64))
def row_of(dag: Dag, params: Size) -> None:
    """So many steps beside each other, then one that may fail."""
    dag.append_parallel(*(dag.step(f"n{number}", tick, number) for number in range(1, params.steps)))
    dag.append("last", tick, -params.steps if params.fails else params.steps)


async def run(client: Client, flow: Any, size: Size, task_queue: str) -> list[int]:
    """Run to the end, and give the events of each run of the chain."""
    handle = await start(client, flow, size, id=new_id(), task_queue=task_queue)
    try:
        await handle.result()
        assert not size.fails
    except WorkflowFailureError as error:
        assert error.cause is not None
        assert causes(error.cause)[-1] == ("RuntimeError", "the last one")
    await asyncio.sleep(1)
    runs = [r async for r in client.list_workflows(f"WorkflowId = '{handle.id}'")]
    return [r.history_length for r in runs]


def memory() -> float:
    """Give this process's resident megabytes."""
    return float(psutil.Process().memory_info().rss) / 1e6


@pytest.mark.parametrize(("flow", "steps"), [(row_of, 1000), (line_of, 10_000)])
async def test_steps_and_undos_of_large_sagas(
    serve: Serve, world: World, task_queue: str, flow: Any, steps: int
) -> None:
    """Every step once; with a failure in the last one every undo once, newest first in a line; no run over 10,000 events."""
    async with serve(tick, line_of, row_of) as client:
        lengths = await run(client, flow, Size(steps=steps), task_queue)
        assert sorted(world.lines("ticks")) == sorted(str(n) for n in range(1, steps + 1))
        assert max(lengths) <= 10_000
        lengths = await run(client, flow, Size(steps=steps, fails=True), task_queue)
        assert max(lengths) <= 10_000
    undone = world.lines("unticks")
    expected = [str(n) for n in range(steps - 1, 0, -1)]
    assert (undone if flow is line_of else sorted(undone)) == (
        expected if flow is line_of else sorted(expected)
    )


async def test_memory_grows_little(serve: Serve, world: World, task_queue: str) -> None:
    """The worker's memory after 10,000 steps is at most 100 MB above that after 1,000."""
    async with serve(tick, line_of, row_of) as client:
        await run(client, line_of, Size(steps=1000), task_queue)
        before = memory()
        await run(client, line_of, Size(steps=10_000), task_queue)
        after = memory()
    print(f"memory: {before:.0f} MB after 1,000 steps, {after:.0f} MB after 10,000", file=sys.stderr)
    assert after <= before + 100
