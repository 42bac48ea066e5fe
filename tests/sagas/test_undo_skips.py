"""`undo` of runs in which an operator skipped: a parked undo counts as done, a held step is what it was."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHandle

from activities import EmptyInput
from flows import Dag, Policy, Sequence, saga, start
from tests.conftest import Serve
from tests.support import World, eventually, failure_of, new_id
from tests.undoing import done, undo

with workflow.unsafe.imports_passed_through():
    from tests.sagas.operations import Given, work
    from tests.sagas.test_holding import shows

PARK, HOLD = Policy(on_undo_failure="park"), Policy(on_failure="hold")


@saga(id="parks", version="1.0.0", policy=PARK)
def parks(dag: Dag, params: EmptyInput) -> None:
    """a, b, z; a failed undo waits."""
    for name in "abz":
        dag.append(name, work, {})


class Parks(Sequence[EmptyInput, None], id="parks-in-a-row", version="1.0.0", policy=PARK):
    """The same as a sequence."""

    async def run(self, input: EmptyInput) -> None:
        for name in "abz":
            await self.execute(work, Given(), step=name, force=True)


@saga(id="holds", version="1.0.0", policy=HOLD)
def holds(dag: Dag, params: EmptyInput) -> None:
    """a, b, z; a failed step waits."""
    parks.build(dag, params)


async def _ended(handle: WorkflowHandle[Any, Any], how: str) -> None:
    """End a run from outside, or wait until its time is over."""
    if how == "terminated":
        await handle.terminate("test")
    await failure_of(handle, 60)


@pytest.mark.parametrize("how", ["terminated", "timed out"])
@pytest.mark.parametrize("flow", [parks, Parks], ids=["saga", "sequence"])
async def test_a_skipped_undo_is_not_called_however_the_run_ended(
    serve: Serve, world: World, task_queue: str, flow: Any, how: str
) -> None:
    """docs/undo.md: b's parked undo was skipped, then the run was ended while a's was parked: only a is undone."""
    for switch in ("fail-z", "fail-undo-b", "fail-undo-a"):
        world.switch(switch)
    limit = timedelta(seconds=20) if how == "timed out" else None
    async with serve(work, flow) as client:
        handle = await start(
            client, flow, EmptyInput(), id=new_id(), task_queue=task_queue, run_timeout=limit
        )
        await shows(handle, "b", "parked")
        await handle.execute_update("skip", {"step": "b", "by": "ann"})
        await shows(handle, "a", "parked")
        await _ended(handle, how)
        for switch in ("fail-undo-b", "fail-undo-a"):
            world.switch(switch, on=False)
        before = len(world.calls)
        assert await undo(client, task_queue, handle) == done("a", already=("b",))
    assert world.calls[before:] == [("undo a", "done"), "undone a"]


async def test_a_held_step_that_was_skipped_after_its_undo_failed_is_undone(
    serve: Serve, world: World, task_queue: str
) -> None:
    """Section 5: `edit` of an unknown step undid it in vain, and it was held again: skipped then, it is still unknown."""
    for switch in ("hang-b", "fail-undo-b", "hold-z"):
        world.switch(switch)
    async with serve(work, holds) as client:
        handle = await start(client, holds, EmptyInput(), id=new_id(), task_queue=task_queue)
        await shows(handle, "b", "held")
        await handle.execute_update("edit", {"step": "b", "input": {"number": 9}})
        await eventually(lambda: ("undo b", "unknown") in world.calls)
        await shows(handle, "b", "held")
        await handle.execute_update("skip", {"step": "b"})
        await eventually(lambda: "z" in world.calls)
        await handle.terminate("test")
        for switch in ("fail-undo-b", "hold-z"):
            world.switch(switch, on=False)
        before = len(world.calls)
        assert await undo(client, task_queue, handle) == done("z", "b", "a")
    assert [call for call in world.calls[before:] if isinstance(call, tuple)] == [
        ("undo z", "unknown"),
        ("undo b", "unknown"),
        ("undo a", "done"),
    ]
