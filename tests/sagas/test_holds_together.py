"""Several holds at once, what an operator's unwind reaches, holds after the pivot, and what is asked before a flow begins."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowUpdateFailedError

from activities import EmptyInput
from counterstep.reports import fetch_report
from flows import Dag, Policy, Sequence, Step, saga, start
from tests.conftest import Serve
from tests.sagas.operations import Given, Made, work
from tests.sagas.test_continuing import keyed, keyed_line
from tests.sagas.test_holding import begin, memo, shows
from tests.sagas.test_pivot import RETRIED
from tests.sagas.test_running import undone
from tests.support import World, causes, failure_of, new_id

SHORT = timedelta(hours=1)


@saga(id="two-held", version="1.0.0", policy=Policy(on_failure="hold", then="keep"))
def two_held(dag: Dag, params: EmptyInput) -> None:
    """first, then a beside b."""
    dag.append("first", work, {})
    dag.append_parallel(dag.step("a", work, {}), dag.step("b", work, {}))


@saga(id="held-line", version="1.0.0", policy=Policy(on_failure="hold", then="keep"))
def held_line(dag: Dag, params: EmptyInput) -> None:
    """Twelve steps in a line, the last one fails; kept, where nobody decides."""
    keyed_line.build(dag, params)


@saga(id="asking-late", version="1.0.0", policy=Policy(hold_timeout=SHORT))
def asking_late(dag: Dag, params: EmptyInput) -> Step[Made]:
    """The pivot, an approval, then c."""
    dag.append("b", work, {}, pivot=True)
    dag.approval("go", timeout=timedelta(days=1))
    return dag.append("c", work, {}, retry=RETRIED)


@saga(id="asking-long", version="1.0.0")
def asking_long(dag: Dag, params: EmptyInput) -> None:
    """The pivot, then an approval beside a line of steps."""
    last = first = dag.append("b", work, {}, pivot=True)
    dag.approval("go", timeout=timedelta(days=1))
    for number in range(6):
        last = dag.step(f"n{number}", work, {}, after=[last if number else first], retry=RETRIED)


class Hurried(
    Sequence[int, str], id="hurried-parent", version="1.0.0", policy=Policy(deadline=timedelta(seconds=5))
):
    """A child with a pivot, a wait, then a step."""

    async def run(self, input: int) -> str:
        await self.execute(pivoting_child, EmptyInput(), child=True)
        await self.wait(timedelta(seconds=6))
        return (await self.execute(work, Given(), step="last")).output.name


@saga(id="pivoting-child", version="1.0.0")
def pivoting_child(dag: Dag, params: EmptyInput) -> None:
    """The pivot, alone."""
    dag.append("b", work, {}, pivot=True)


class Idle(Sequence[int, None], id="idle", version="1.0.0"):
    """Wait for nothing that we know of."""

    async def run(self, input: int) -> None:
        await workflow.wait_condition(lambda: False)


FLOWS = (two_held, asking_late, asking_long, pivoting_child, Hurried, Idle)


async def test_one_decision_leaves_the_other_hold_in_the_memo(
    serve: Serve, world: World, task_queue: str
) -> None:
    """Section 7: `describe` shows that something is held, as long as something is."""
    world.switch("fail-a")
    world.switch("fail-b")
    async with serve(work, *FLOWS) as client:
        handle = await begin(client, two_held, task_queue)
        await shows(handle, "a", "held")
        await shows(handle, "b", "held")
        await handle.execute_update("skip", {"step": "a", "output": {"id": 1, "name": "a"}})
        assert await memo(handle) == {"state": "held", "reason": "b waits; a: skip"}
        await handle.execute_update("skip", {"step": "b", "output": {"id": 1, "name": "b"}})
        await handle.result()
        assert await memo(handle) is None


async def test_unwind_is_of_the_run(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """Section 7: it ends every hold and unwinds, also where a hold that nobody decides would keep."""
    world.switch("fail-a")
    world.switch("fail-b")
    async with serve(work, *FLOWS, cache=cache) as client:
        handle = await begin(client, two_held, task_queue)
        await shows(handle, "a", "held")
        await shows(handle, "b", "held")
        await handle.execute_update("unwind", {"step": "a", "by": "ann"})
        assert causes(await failure_of(handle))[0][0] == "RolledBack"
    assert undone(world) == ["first"]


@pytest.mark.parametrize(
    ("action", "end"), [("skip", None), ("retry", None), (None, "Kept")]
)  # fmt: skip
async def test_a_rejection_after_the_pivot_is_held(
    serve: Serve, skipping: Serve, world: World, task_queue: str, action: str | None, end: str | None
) -> None:
    """Section 5: after the pivot every failure holds: asked again, gone on without it, or kept when nobody comes."""
    async with (skipping if action is None else serve)(work, *FLOWS) as client:
        handle = await begin(client, asking_late, task_queue)
        await shows(handle, "go", "waiting for approval")
        await handle.execute_update("reject", {"name": "go", "reason": "not today"})
        await shows(handle, "go", "held")
        with pytest.raises(WorkflowUpdateFailedError, match="Workflow update failed"):
            await handle.execute_update("edit", {"step": "go", "input": {}})
        if action is None:
            assert causes(await failure_of(handle, 60))[0][0] == end
            return
        await handle.execute_update(action, {"step": "go"})
        if action == "retry":
            await shows(handle, "go", "waiting for approval")
            await handle.execute_update("approve", {"name": "go"})
        assert (await handle.result()).name == "c"
    assert undone(world) == []


async def test_asked_again_an_approval_has_its_whole_time(
    serve: Serve, task_queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Section 7: also where it was begun by an earlier run, of whose time this one had what was left."""
    monkeypatch.setattr("flows._full.CONTINUE_AT", 30)
    async with serve(work, *FLOWS) as client:
        newest = client.get_workflow_handle((await begin(client, asking_long, task_queue)).id)
        await shows(newest, "n5", "done")
        await shows(newest, "go", "waiting for approval")
        await newest.execute_update("reject", {"name": "go", "reason": "not today"})
        await shows(newest, "go", "held")
        await newest.execute_update("retry", {"step": "go"})
        await shows(newest, "go", "waiting for approval")
        await newest.execute_update("approve", {"name": "go"})
        await newest.result()
        timers = [
            e.timer_started_event_attributes.start_to_fire_timeout.ToTimedelta()
            async for e in newest.fetch_history_events()
            if e.HasField("timer_started_event_attributes")
        ]
    left, held, whole = timers
    assert left < timedelta(days=1) == whole
    assert held == timedelta(days=7)


async def test_the_deadline_holds_a_sequence_after_a_pivot(
    serve: Serve, world: World, task_queue: str
) -> None:
    """Section 5: no new step passes that hold, and a run that completes isn't shown as held."""
    async with serve(work, *FLOWS) as client:
        handle = await start(client, Hurried, 1, id=new_id(), task_queue=task_queue)
        await shows(handle, "deadline", "held")
        await asyncio.sleep(2)  # the wait is over by then
        assert "last" not in world.calls
        await handle.execute_update("retry", {"step": "deadline"})
        assert await handle.result() == "last"
        assert "held" not in (await handle.query("status"))["steps"].values()


async def asked_first(client: Client, flow: str, input: Any, queue: str, update: str, argument: Any) -> Any:
    """Start a flow that no worker serves yet, and ask something of it."""
    handle = await client.start_workflow(flow, input, id=new_id(), task_queue=queue)
    asking = asyncio.create_task(handle.execute_update(update, argument))
    await asyncio.sleep(0.5)  # it waits at the server for the first task
    return handle, asking


async def test_stop_before_the_flow_begins(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """Section 7: it acts at once, also in a body that waits for something else."""
    async with serve(work, Idle) as client:
        pass
    handle, asking = await asked_first(client, "idle@1.0.0", 1, task_queue, "stop", {"by": "ann"})
    async with serve(work, *FLOWS, cache=cache):
        await asking
        found = causes(await failure_of(handle))
    assert [kind for kind, _ in found] == ["RolledBack", "ExecutionStopped"]


async def test_a_decision_before_the_flow_is_known_is_refused(
    serve: Serve, world: World, task_queue: str
) -> None:
    """Section 7: an approval of a flow started by range isn't taken and lost; asked again, it counts."""
    async with serve(work, *FLOWS) as client:
        pass
    handle, asking = await asked_first(client, "asking-late@^1", {}, task_queue, "approve", {"name": "go"})
    async with serve(work, *FLOWS):
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await asking
        assert "ask again in a moment" in str(refused.value.cause)
        await shows(handle, "go", "waiting for approval")
        await handle.execute_update("approve", {"name": "go"})
        assert (await handle.result())["name"] == "c"


@pytest.mark.parametrize("ask", ["stop", "cancel"])
async def test_what_is_asked_between_two_runs_counts_at_once(
    serve: Serve, world: World, task_queue: str, ask: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Section 7: a saga that is still reading its plan runs no step after it was stopped or cancelled."""
    monkeypatch.setattr("flows._breath.MANY", 2)
    async with serve(keyed, keyed_line) as client:
        pass
    handle = await client.start_workflow("keyed-line@1.0.0", {}, id=new_id(), task_queue=task_queue)
    if ask == "cancel":
        await handle.cancel()
    async with serve(keyed, keyed_line):
        while ask == "stop":
            try:
                await handle.execute_update("stop", {})
                break
            except WorkflowUpdateFailedError:  # it isn't resolved yet
                continue
        await failure_of(handle)
    status = (await handle.describe()).status
    assert status == (WorkflowExecutionStatus.FAILED if ask == "stop" else WorkflowExecutionStatus.CANCELED)
    names = [call[0] for call in world.calls]
    assert "n5" not in names and len(names) == 2 * len(set(names)), names


async def test_stop_while_unwinding_changes_nothing(
    serve: Serve, world: World, task_queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Section 5: also where unwinding goes on as new afterwards, the failure stays the cause."""
    monkeypatch.setattr("flows._full.CONTINUE_AT", 30)
    world.switch("hold-undo-n9")
    async with serve(keyed, keyed_line) as client:
        handle = await start(client, keyed_line, EmptyInput(), id=new_id(), task_queue=task_queue)
        await shows(client.get_workflow_handle(handle.id), "n9", "undoing")
        await client.get_workflow_handle(handle.id).execute_update("stop", {"by": "ann"})
        world.switch("go-undo")
        found = causes(await failure_of(handle))
        runs = (await fetch_report(client, handle.id)).run
    assert [kind for kind, _ in found[:2]] == ["RolledBack", "OperationFailed"]
    assert runs is not None and len(runs.runs) > 3


async def test_an_unwinding_that_was_asked_for_goes_on_as_new(
    serve: Serve, world: World, task_queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Section 7: `unwind` counts in the next runs too, where a hold that nobody decides would keep."""
    monkeypatch.setattr("flows._full.CONTINUE_AT", 30)
    async with serve(keyed, held_line) as client:
        handle = await start(client, held_line, EmptyInput(), id=new_id(), task_queue=task_queue)
        newest = client.get_workflow_handle(handle.id)
        await shows(newest, "n11", "held")
        await newest.execute_update("unwind", {"step": "n11"})
        assert causes(await failure_of(handle))[0][0] == "RolledBack"
    names = [call[0] for call in world.calls]
    assert names[12:] == [f"n{number}" for number in reversed(range(11))]
