"""The pivot and the deadline decide whether a run unwinds, or is held (point 14)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from temporalio.client import WorkflowUpdateFailedError

from activities import EmptyInput, Retry
from flows import Dag, InvalidPlan, Policy, Step, saga
from tests.conftest import Serve
from tests.flows.operating import refused
from tests.sagas.operations import Made, patient, work
from tests.sagas.test_holding import begin, chain, memo, shows
from tests.sagas.test_running import undone
from tests.support import World, causes, failure_of

SOON = timedelta(seconds=6)  # on a busy machine, too, a few steps run before it passes
RETRIED = Retry(max_attempts=2, initial=timedelta(milliseconds=10))


@saga(id="pivoting", version="1.0.0")
def pivoting(dag: Dag, params: EmptyInput) -> Step[Made]:
    """a, the pivot b, then c."""
    dag.append("a", work, {})
    dag.append("b", work, {}, pivot=True)
    return dag.append("c", work, {}, retry=RETRIED)


@saga(id="prepared", version="1.0.0")
def prepared(dag: Dag, params: EmptyInput) -> Step[Made]:
    """a, then b beside c, the pivot d, then e."""
    dag.append("a", work, {})
    dag.append_parallel(dag.step("b", work, {}), dag.step("c", work, {}))
    dag.append("d", work, {}, pivot=True)
    return dag.append("e", work, {}, retry=RETRIED)


@saga(id="hurried", version="1.0.0", policy=Policy(deadline=SOON))
def hurried(dag: Dag, params: EmptyInput) -> Step[Made]:
    """A line with a deadline."""
    return chain(dag, patient)


@saga(id="hurried-holding", version="1.0.0", policy=Policy(deadline=SOON, on_failure="hold"))
def hurried_holding(dag: Dag, params: EmptyInput) -> Step[Made]:
    """A line with a deadline that is held when a step fails."""
    return chain(dag, patient)


@saga(id="hurried-pivoting", version="1.0.0", policy=Policy(deadline=SOON))
def hurried_pivoting(dag: Dag, params: EmptyInput) -> Step[Made]:
    """A pivot at once, then c, with a deadline."""
    dag.append("b", patient, {}, pivot=True)
    dag.append("c", patient, {}, retry=RETRIED)
    return dag.append("d", patient, {}, retry=RETRIED)


FLOWS = (pivoting, hurried, hurried_holding, hurried_pivoting)


async def test_a_failure_before_the_pivot_unwinds(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """Issue point 14: c fails before the pivot: a and b are undone, neither the pivot nor what follows it was called."""
    world.switch("fail-c")
    async with serve(work, prepared, cache=cache) as client:
        handle = await begin(client, prepared, task_queue)
        assert causes(await failure_of(handle))[0] == (
            "RolledBack",
            "prepared@1.0.0 rolled back: step c (work@1.0.0) failed after 1 attempt: RuntimeError: c down",
        )
    assert undone(world) == ["b", "a"]
    assert sorted(map(str, world.calls[:3])) == ["a", "b", "c"]
    assert world.calls[3:] == [("undo b", "done"), "undone b", ("undo a", "done"), "undone a"]


async def test_a_failure_after_the_pivot_holds(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """Issue point 14: c fails after the pivot: held, unwind is refused, retry completes."""
    world.switch("fail-c")
    async with serve(work, patient, *FLOWS, cache=cache) as client:
        handle = await begin(client, pivoting, task_queue)
        await shows(handle, "c", "held")
        with pytest.raises(WorkflowUpdateFailedError) as raised:
            await handle.execute_update("unwind", {"step": "c"})
        assert "comes after the pivot, from which there is no way back" in str(raised.value.cause)
        world.switch("fail-c", on=False)
        await handle.execute_update("retry", {"step": "c"})
        assert (await handle.result()).name == "c"
    assert undone(world) == []


@pytest.mark.parametrize("how", ["cancel", "stop"])
async def test_ending_a_run_after_the_pivot_keeps_everything(
    serve: Serve, world: World, task_queue: str, cache: int, how: str
) -> None:
    """Issue point 14: cancel and stop after the pivot: nothing is undone, the open steps are named."""
    world.switch("hold-c")
    async with serve(work, patient, *FLOWS, cache=cache) as client:
        handle = await begin(client, pivoting, task_queue)
        await world.until("c")
        await (handle.cancel() if how == "cancel" else handle.execute_update("stop", {"by": "ann"}))
        found = causes(await failure_of(handle))
        told = await memo(handle)
    assert undone(world) == []
    if how == "cancel":
        assert told == {"state": "cancelled", "reason": "kept, since the pivot was passed; open: c"}
    else:
        assert found == [
            (
                "Kept",
                "pivoting@1.0.0 failed, and what it did is kept: pivoting@1.0.0 was stopped by ann; open steps: c",
            ),
            ("ExecutionStopped", "pivoting@1.0.0 was stopped by ann"),
        ]


async def test_the_deadline_unwinds(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """Issue point 14: b runs longer than the deadline: it is cancelled, unknown, undone; also while paused."""
    world.switch("hold-b")
    async with serve(work, patient, *FLOWS, cache=cache) as client:
        handle = await begin(client, hurried, task_queue)
        await world.until("b")
        await handle.execute_update("pause")
        found = causes(await failure_of(handle))
    assert found == [
        (
            "RolledBack",
            "hurried@1.0.0 rolled back: DeadlineExceeded: hurried@1.0.0 didn't end within 0:00:06",
        ),
        ("DeadlineExceeded", "hurried@1.0.0 didn't end within 0:00:06"),
    ]
    assert undone(world) == ["b", "a"]


async def test_the_deadline_ends_a_hold(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """Issue point 14: held before the pivot when the deadline passes: it unwinds."""
    world.switch("fail-b")
    async with serve(work, patient, *FLOWS, cache=cache) as client:
        handle = await begin(client, hurried_holding, task_queue)
        assert causes(await failure_of(handle))[1][0] == "DeadlineExceeded"
    assert undone(world) == ["a"]


async def test_the_deadline_after_the_pivot_holds(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """Issue point 14: after the pivot the deadline holds the run: c ends, d waits until an operator lets it go on."""
    world.switch("hold-c")
    async with serve(work, patient, *FLOWS, cache=cache) as client:
        handle = await begin(client, hurried_pivoting, task_queue)
        await shows(handle, "deadline", "held")
        world.switch("go-c")
        await shows(handle, "c", "done")
        assert "d" not in world.calls
        await handle.execute_update("retry", {"step": "deadline"})
        assert (await handle.result()).name == "d"


async def test_the_deadline_after_the_pivot_while_paused(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """It holds the paused run; what its retry lets go on waits for the end of the pause."""
    world.switch("hold-c")
    async with serve(work, patient, *FLOWS, cache=cache) as client:
        handle = await begin(client, hurried_pivoting, task_queue)
        await world.until("c")
        await handle.execute_update("pause")
        await shows(handle, "deadline", "held")
        assert (await handle.query("status"))["state"] == "running, held, paused"
        world.switch("go-c")
        await shows(handle, "c", "done")
        await handle.execute_update("retry", {"step": "deadline"})
        assert (await handle.query("status"))["state"] == "running, paused"
        assert world.calls == ["b", "c"]
        await handle.execute_update("unpause")
        assert (await handle.result()).name == "d"
    assert world.calls == ["b", "c", "d"]


def test_the_pivot_is_checked() -> None:
    """A second pivot, and steps after a pivot without retry, are mistakes of the plan."""

    @saga(id="two-pivots", version="1.0.0")
    def two_pivots(dag: Dag, params: EmptyInput) -> None:
        dag.append("a", work, {}, pivot=True)
        dag.append("b", work, {}, pivot=True, retry=RETRIED)
        dag.append("c", work, {})

    with pytest.raises(InvalidPlan) as raised:
        two_pivots.plan(EmptyInput())
    assert raised.value.message.split("\n")[1:] == [
        "b: pivot: a is one already; a plan has one at most",
        "c: retry: it comes after the pivot a, so it needs retry= with more than one attempt",
    ]


@pytest.mark.parametrize("fault", ["fail-d", "hang-d"], ids=["failed", "unknown"])
async def test_a_pivot_that_fails_holds(
    serve: Serve, world: World, task_queue: str, cache: int, fault: str
) -> None:
    """Issue point 14: from the moment the pivot is scheduled there is no way back: also its own failure is held.

    Unwind is refused, nothing is undone; retried, it completes.
    """
    world.switch(fault)
    async with serve(work, prepared, cache=cache) as client:
        handle = await begin(client, prepared, task_queue)
        await shows(handle, "d", "held")
        assert await refused(handle, "unwind", {"step": "d"}) == (
            "InvalidInput: d comes after the pivot, from which there is no way back; retry, edit or skip it"
        )
        world.switch(fault, on=False)
        await handle.execute_update("retry", {"step": "d"})
        assert (await handle.result()).name == "e"
    assert sorted(world.calls[1:3]) == ["b", "c"]
    assert [world.calls[0], *world.calls[3:]] == ["a", "d", "d", "e"]


@pytest.mark.parametrize("how", ["cancel", "stop"])
async def test_ending_a_run_whose_pivot_failed_keeps_everything(
    serve: Serve, world: World, task_queue: str, cache: int, how: str
) -> None:
    """Issue point 14: the pivot failed and is held: cancel and stop undo nothing, and name what is open."""
    world.switch("fail-d")
    async with serve(work, prepared, cache=cache) as client:
        handle = await begin(client, prepared, task_queue)
        await shows(handle, "d", "held")
        await (handle.cancel() if how == "cancel" else handle.execute_update("stop", {"by": "ann"}))
        kind, message = causes(await failure_of(handle))[0]
        told = await memo(handle)
    if how == "cancel":
        assert told == {"state": "cancelled", "reason": "kept, since the pivot was passed; open: d, e"}
    else:
        assert (kind, message) == (
            "Kept",
            "prepared@1.0.0 failed, and what it did is kept: prepared@1.0.0 was stopped by ann; open steps: d, e",
        )
    assert undone(world) == [] and world.calls[-1] == "d"
