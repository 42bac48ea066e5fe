"""Children that went on as new: their parents see, reach and undo all of them, not the first or the last run alone."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle

from activities import EmptyInput, Retry
from flows import Dag, Policy, Sequence, Step, saga, start
from tests.conftest import Serve
from tests.sagas.operations import Given, Made, work
from tests.sagas.test_child_flows import eventually_held
from tests.sagas.test_running import forward, undone
from tests.support import World, causes, events_of, failure_of, new_id
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


@saga(id="beside", version="1.0.0", policy=Policy(settle="cancel"))
def beside(dag: Dag, params: EmptyInput) -> None:
    """The line as a child beside a step that waits for an operator, and whose failure cancels the line."""
    dag.flow("line", line, {}, after=[])
    dag.step("z", work, {}, after=[dag.approval("go", after=[])])


async def cancel_arrives(client: Client, child: str) -> None:
    """Wait until a cancel has arrived in the newest run of a child."""
    while "WORKFLOW_EXECUTION_CANCEL_REQUESTED" not in await events_of(client.get_workflow_handle(child)):
        await asyncio.sleep(0.05)


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


@pytest.mark.parametrize("how", ["cancel", "stop"])
async def test_an_end_reaches_the_newest_run_of_a_child(
    serve: Serve, world: World, task_queue: str, how: str, cache: int
) -> None:
    """The parent is cancelled or stopped while its child is in its third run: no step begins there any more."""
    world.switch("hold-n9")
    async with serve(work, line, Around, cache=cache) as client:
        handle = await start(client, Around, EmptyInput(), id=new_id(), task_queue=task_queue)
        await world.until("n9")
        for _ in range(2):
            await (handle.cancel() if how == "cancel" else handle.execute_update("stop", {"by": "ann"}))
        await asyncio.wait_for(cancel_arrives(client, f"{handle.id}/line"), 30)
        world.switch("go-n9")
        await failure_of(handle, 60)
        ended = [await status_of(client, handle.id), await status_of(client, f"{handle.id}/line")]
    cancelled, failed = WorkflowExecutionStatus.CANCELED, WorkflowExecutionStatus.FAILED
    assert ended == [cancelled if how == "cancel" else failed, cancelled]
    assert (forward(world), undone(world)) == (STEPS[:10], STEPS[9::-1])


async def test_a_failure_beside_it_cancels_the_newest_run_of_a_child(
    serve: Serve, world: World, task_queue: str
) -> None:
    """`settle="cancel"`: a step fails beside a child in its third run, which unwinds before the parent ends."""
    for switch in ("hold-n9", "fail-z"):
        world.switch(switch)
    async with serve(work, line, beside) as client:
        handle = await start(client, beside, EmptyInput(), id=new_id(), task_queue=task_queue)
        await world.until("n9")
        await handle.execute_update("approve", {"name": "go"})
        await asyncio.wait_for(cancel_arrives(client, f"{handle.id}/line"), 30)
        world.switch("go-n9")
        assert causes(await failure_of(handle, 60))[0][0] == "RolledBack"
    assert [step for step in forward(world) if step != "z"] == STEPS[:10]
    assert undone(world) == STEPS[9::-1]


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


async def status_of(client: Client, id: str) -> WorkflowExecutionStatus | None:
    """Give the status of the newest run."""
    return (await client.get_workflow_handle(id).describe()).status
