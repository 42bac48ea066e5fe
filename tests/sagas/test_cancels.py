"""A cancel everywhere: in each step, between them, in each undo; in a line, a diamond, a subsaga, a child flow (point 7)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle

from activities import EmptyInput
from flows import Dag, Step, saga, start
from tests.conftest import Serve
from tests.sagas.operations import Made, patient
from tests.sagas.test_running import forward, undone
from tests.support import World, eventually, failure_of, new_id

LongWaits = list[str]


def _wait(dag: Dag, name: str, long: LongWaits) -> None:
    dag.wait(name, timedelta(hours=1) if name in long else timedelta(milliseconds=10))


@saga(id="walk", version="1.0.0")
def walk(dag: Dag, params: LongWaits) -> None:
    """a, b, c with waits between them."""
    dag.append("a", patient, {})
    _wait(dag, "w1", params)
    dag.append("b", patient, {})
    _wait(dag, "w2", params)
    dag.append("c", patient, {})


@saga(id="walk-in-two", version="1.0.0")
def diamond(dag: Dag, params: LongWaits) -> None:
    """a, b beside c, a wait, d."""
    dag.append("a", patient, {})
    dag.append_parallel(dag.step("b", patient, {}), dag.step("c", patient, {}))
    _wait(dag, "w", params)
    dag.append("d", patient, {})


@saga(id="walk-inside", version="1.0.0")
def inside(dag: Dag, params: EmptyInput) -> Step[Made]:
    """x, then y."""
    dag.append("x", patient, {})
    return dag.append("y", patient, {})


@saga(id="walk-in-a-subsaga", version="1.0.0")
def subsaga(dag: Dag, params: LongWaits) -> None:
    """a, the steps of a subsaga, z."""
    dag.append("a", patient, {})
    dag.subsaga("s", inside, {})
    dag.append("z", patient, {})


@saga(id="walk-in-a-child", version="1.0.0")
def child(dag: Dag, params: LongWaits) -> None:
    """a, the steps of a child flow, z."""
    first = dag.append("a", patient, {})
    dag.flow("s", inside, {}, after=[first])
    dag.append("z", patient, {})


CANCELS = {
    # where it is cancelled: what holds the run there (or has ended by then), the steps called, those undone
    walk: [
        ("", "", ""),
        ("a", "a", "a"),
        ("w1", "a", "a"),
        ("b", "a, b", "b, a"),
        ("w2", "a, b", "b, a"),
        ("c", "a, b, c", "c, b, a"),
        ("c, undo c", "a, b, c", "c, b, a"),
        ("c, undo b", "a, b, c", "c, b, a"),
        ("c, undo a", "a, b, c", "c, b, a"),
    ],
    diamond: [
        ("a", "a", "a"),
        ("b, c", "a, b | c", "b | c, a"),
        ("b, c done", "a, b | c", "b | c, a"),
        ("w", "a, b | c", "b | c, a"),
        ("d", "a, b | c, d", "d, b | c, a"),
        ("d, undo d", "a, b | c, d", "d, b | c, a"),
        ("d, undo b", "a, b | c, d", "d, b | c, a"),
        ("d, undo b, undo c", "a, b | c, d", "d, b | c, a"),
        ("d, undo a", "a, b | c, d", "d, b | c, a"),
    ],
    subsaga: [
        ("s/x", "a, s/x", "s/x, a"),
        ("s/y", "a, s/x, s/y", "s/y, s/x, a"),
        ("s/y, undo s/x", "a, s/x, s/y", "s/y, s/x, a"),
        ("z, undo s/y", "a, s/x, s/y, z", "z, s/y, s/x, a"),
    ],
    child: [  # it undoes its own steps while it is open, its parent does so afterwards
        ("x", "a, x", "x, a"),
        ("y", "a, x, y", "y, x, a"),
        ("y, undo x", "a, x, y", "y, x, a"),
        ("z", "a, x, y, z", "z, s/y, s/x, a"),
        ("z, undo s/y", "a, x, y, z", "z, s/y, s/x, a"),
    ],
}


def _cases(flow: Any, cache: int) -> list[Any]:
    """Give a saga's cases; `make test` takes the line with a cache, and all others without one."""
    kept = "cached" if cache else "uncached"
    marks = [] if (flow is walk) == (cache > 0) else [pytest.mark.nightly]
    return [
        pytest.param(
            cache, flow, *case, id=f"{kept}-{flow.definition.id}: {case[0] or 'at once'}", marks=marks
        )
        for case in CANCELS[flow]
    ]


def _in_order(names: list[str], text: str) -> list[str]:
    """Write names as a text does, in which those beside each other (``|``) have any order."""
    stages = [sorted(stage.strip().split(" | ")) for stage in text.split(",") if stage]
    at = 0
    for stage in stages:
        assert sorted(names[at : at + len(stage)]) == stage, names
        at += len(stage)
    assert at == len(names), names
    return names


async def _reaches(handle: WorkflowHandle[Any, Any], step: str, state: str) -> None:
    while (await handle.query("status"))["steps"].get(step) != state:
        await asyncio.sleep(0.02)


def _undoing(world: World) -> dict[str, str]:
    """Give the outcome of each step whose undo was called."""
    return {
        call[0].removeprefix("undo "): call[1]
        for call in world.calls
        if isinstance(call, tuple) and call[0].startswith("undo ")
    }


async def _cancel(handle: WorkflowHandle[Any, Any], world: World, holds: list[str]) -> None:
    """Cancel it where it is held, in each undo that is, and once more."""
    for name in [hold for hold in holds if not hold.startswith("undo ")]:
        step, _, state = name.partition(" ")
        await (_reaches(handle, step, state or "waiting") if state or step[0] == "w" else world.until(step))
    await handle.cancel()
    for step in [hold.removeprefix("undo ") for hold in holds if hold.startswith("undo ")]:
        await eventually(lambda step=step: step in _undoing(world))
        await handle.cancel()
        world.switch(f"go-undo-{step}")
    await handle.cancel()


@pytest.mark.parametrize(
    ("cache", "flow", "text", "called", "undos"),
    [case for flow in CANCELS for cache in (1000, 0) for case in _cases(flow, cache)],
)
async def test_a_cancel_everywhere(
    serve: Serve,
    world: World,
    task_queue: str,
    dev_address: str,
    cache: int,
    flow: Any,
    text: str,
    called: str,
    undos: str,
) -> None:
    """Cancelled again and again: all that took effect is undone, in its order, once; nothing is called after that."""
    holds = text.split(", ") if text else []
    for hold in holds:
        world.switch(f"hold-{hold.replace('undo ', 'undo-')}", on=" done" not in hold)
    client = await Client.connect(dev_address)
    handle = await start(client, flow, holds, id=new_id(), task_queue=task_queue)
    if not holds:
        await handle.cancel()
        await handle.cancel()
    async with serve(patient, inside, flow, cache=cache) as client:
        handle = client.get_workflow_handle(handle.id)
        if holds:
            await _cancel(handle, world, holds)
        await failure_of(handle)
        assert (await handle.describe()).status == WorkflowExecutionStatus.CANCELED
    steps, undone_steps = _in_order(forward(world), called), _in_order(undone(world), undos)
    assert [call for call in world.calls if isinstance(call, str)] == [
        *steps,
        *(f"undone {step}" for step in undone_steps),
    ]
    assert _undoing(world) == {s: "unknown" if s in holds else "done" for s in undone_steps}
