"""Children that went on as new: their parents undo what all their runs did, and know of their pivots."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowHandle

from activities import EmptyInput, Retry
from flows import Dag, Sequence, Step, saga, start
from tests.conftest import Serve
from tests.sagas.operations import Given, Made, work
from tests.sagas.test_child_flows import eventually_held
from tests.sagas.test_running import forward, undone
from tests.support import World, causes, failure_of, new_id
from tests.undoing import undo

COUNT, LONG = 12, timedelta(seconds=60)
STEPS = [f"n{number}" for number in range(COUNT)]
LINE = [f"line/{step}" for step in reversed(STEPS)]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Go on as new after 30 events, which is about four steps."""
    monkeypatch.setattr("flows._full.CONTINUE_AT", 30)


@saga(id="line", version="1.0.0")
def line(dag: Dag, params: EmptyInput) -> Step[Made]:
    """Twelve steps in a line."""
    return [dag.append(name, work, {}, timeout=LONG) for name in STEPS][-1]


class Around(Sequence[EmptyInput, Made], id="around", version="1.0.0"):
    """The line as a child, then a step."""

    async def run(self, input: EmptyInput) -> Made:
        """Run both."""
        await self.execute(line, input, child=True)
        return (await self.execute(work, Given(), step="after")).output


@saga(id="around-too", version="1.0.0")
def around_too(dag: Dag, params: EmptyInput) -> None:
    """The same as a saga."""
    dag.flow("line", line, {})
    dag.append("after", work, {})


@saga(id="no-way-back", version="1.0.0")
def no_way_back(dag: Dag, params: EmptyInput) -> None:
    """A pivot, then eleven steps in a line."""
    dag.append("n0", work, {}, pivot=True)
    for name in STEPS[1:]:
        dag.append(name, work, {}, timeout=LONG, retry=Retry(max_attempts=2))


class AroundPivot(Sequence[EmptyInput, None], id="around-pivot", version="1.0.0"):
    """A step, then the saga with a pivot as a child."""

    async def run(self, input: EmptyInput) -> None:
        """Run both."""
        await self.execute(work, Given(), step="before")
        await self.execute(no_way_back, input, child=True)


@pytest.mark.parametrize("parent", [Around, around_too])
async def test_the_parent_undoes_the_steps_of_all_runs(
    serve: Serve, world: World, task_queue: str, parent: Any, cache: int
) -> None:
    """A child saga completed in its third run, then a step fails: all its steps are undone, newest first."""
    world.switch("fail-after")
    async with serve(work, line, parent, cache=cache) as client:
        handle = await start(client, parent, EmptyInput(), id=new_id(), task_queue=task_queue)
        assert causes(await failure_of(handle, 60))[0][0] == "RolledBack"
    assert forward(world) == [*STEPS, "after"]
    assert undone(world) == LINE


async def test_a_child_of_several_runs_hands_over_what_it_reads_in_several_tasks(
    serve: Serve, world: World, task_queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child that has more steps to hand over than one task may read lets tasks end between."""
    for name in ("_breath.MANY", "_carry.MANY"):
        monkeypatch.setattr(f"flows.{name}", 2)
    monkeypatch.setattr("flows._full.CONTINUE_AT", 60)
    world.switch("fail-after")
    async with serve(work, line, Around) as client:
        handle = await start(client, Around, EmptyInput(), id=new_id(), task_queue=task_queue)
        assert causes(await failure_of(handle, 60))[0][0] == "RolledBack"
    assert undone(world) == LINE


async def test_undo_of_the_parent_undoes_the_steps_of_all_runs(
    serve: Serve, world: World, task_queue: str
) -> None:
    """The parent completed: `undo` undoes what its child did in any of its runs."""
    async with serve(work, line, Around) as client:
        handle = await start(client, Around, EmptyInput(), id=new_id(), task_queue=task_queue)
        await asyncio.wait_for(handle.result(), 60)
        assert (await undo(client, task_queue, handle))["undone"] == ["after", *LINE]
    assert undone(world) == ["after", *LINE]


async def test_a_pivot_of_an_earlier_run_counts(serve: Serve, world: World, task_queue: str) -> None:
    """Section 5: a child is stopped in its third run, its pivot was in the first: the parent holds, and undoes nothing."""
    world.switch("hold-n9")
    async with serve(work, no_way_back, AroundPivot) as client:
        handle = await start(client, AroundPivot, EmptyInput(), id=new_id(), task_queue=task_queue)
        await world.until("n9")
        child: WorkflowHandle[Any, Any] = client.get_workflow_handle(f"{handle.id}/no-way-back")
        await child.execute_update("stop", {"by": "ann"})
        world.switch("go-n9")
        await eventually_held(handle, "no-way-back")
        await handle.execute_update("stop", {"by": "ann"})
        assert [kind for kind, _ in causes(await failure_of(handle, 60))[:2]] == ["Kept", "ExecutionStopped"]
    assert world.calls == ["before", *STEPS[:10]]
