"""The pivot and the deadline decide whether a run unwinds, or is held (point 14)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from temporalio.client import WorkflowUpdateFailedError

from activities import EmptyInput, Retry
from flows import Dag, InvalidPlan, Policy, Step, saga
from tests.conftest import Serve
from tests.sagas.operations import Made, work
from tests.sagas.test_holding import begin, chain, memo, shows
from tests.sagas.test_running import undone
from tests.support import World, causes, failure_of

SOON = timedelta(seconds=4)  # on a busy machine, too, a few steps run before it passes
RETRIED = Retry(max_attempts=2, initial=timedelta(milliseconds=10))


@saga(id="pivoting", version="1.0.0")
def pivoting(dag: Dag, params: EmptyInput) -> Step[Made]:
    """a, the pivot b, then c."""
    dag.append("a", work, {})
    dag.append("b", work, {}, pivot=True)
    return dag.append("c", work, {}, retry=RETRIED)


@saga(id="hurried", version="1.0.0", policy=Policy(deadline=SOON))
def hurried(dag: Dag, params: EmptyInput) -> Step[Made]:
    """A line with a deadline."""
    return chain(dag)


@saga(id="hurried-holding", version="1.0.0", policy=Policy(deadline=SOON, on_failure="hold"))
def hurried_holding(dag: Dag, params: EmptyInput) -> Step[Made]:
    """A line with a deadline that is held when a step fails."""
    return chain(dag)


@saga(id="hurried-pivoting", version="1.0.0", policy=Policy(deadline=SOON))
def hurried_pivoting(dag: Dag, params: EmptyInput) -> Step[Made]:
    """A pivot at once, then c, with a deadline."""
    dag.append("b", work, {}, pivot=True)
    dag.append("c", work, {}, retry=RETRIED)
    return dag.append("d", work, {}, retry=RETRIED)


FLOWS = (pivoting, hurried, hurried_holding, hurried_pivoting)


async def test_a_failure_before_the_pivot_unwinds(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """Issue point 14: a fails before the pivot: rolled back."""
    world.switch("fail-a")
    async with serve(work, *FLOWS, cache=cache) as client:
        assert causes(await failure_of(await begin(client, pivoting, task_queue)))[0][0] == "RolledBack"


async def test_a_failure_after_the_pivot_holds(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """Issue point 14: c fails after the pivot: held, unwind is refused, retry completes."""
    world.switch("fail-c")
    async with serve(work, *FLOWS, cache=cache) as client:
        handle = await begin(client, pivoting, task_queue)
        await shows(handle, "c", "held")
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await handle.execute_update("unwind", {"step": "c"})
        assert "comes after the pivot, from which there is no way back" in str(refused.value.cause)
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
    async with serve(work, *FLOWS, cache=cache) as client:
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
    async with serve(work, *FLOWS, cache=cache) as client:
        handle = await begin(client, hurried, task_queue)
        await world.until("b")
        await handle.execute_update("pause")
        found = causes(await failure_of(handle))
    assert found == [
        (
            "RolledBack",
            "hurried@1.0.0 rolled back: DeadlineExceeded: hurried@1.0.0 didn't end within 0:00:04",
        ),
        ("DeadlineExceeded", "hurried@1.0.0 didn't end within 0:00:04"),
    ]
    assert undone(world) == ["b", "a"]


async def test_the_deadline_ends_a_hold(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """Issue point 14: held before the pivot when the deadline passes: it unwinds."""
    world.switch("fail-b")
    async with serve(work, *FLOWS, cache=cache) as client:
        handle = await begin(client, hurried_holding, task_queue)
        assert causes(await failure_of(handle))[1][0] == "DeadlineExceeded"
    assert undone(world) == ["a"]


async def test_the_deadline_after_the_pivot_holds(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """Issue point 14: after the pivot the deadline holds the run: c ends, d waits until an operator lets it go on."""
    world.switch("hold-c")
    async with serve(work, *FLOWS, cache=cache) as client:
        handle = await begin(client, hurried_pivoting, task_queue)
        await shows(handle, "deadline", "held")
        world.switch("go-c")
        await shows(handle, "c", "done")
        assert "d" not in world.calls
        await handle.execute_update("retry", {"step": "deadline"})
        assert (await handle.result()).name == "d"


def test_the_pivot_is_checked() -> None:
    """A second pivot, and steps after a pivot without retry, are mistakes of the plan."""

    @saga(id="two-pivots", version="1.0.0")
    def two_pivots(dag: Dag, params: EmptyInput) -> None:
        dag.append("a", work, {}, pivot=True)
        dag.append("b", work, {}, pivot=True, retry=RETRIED)
        dag.append("c", work, {})

    with pytest.raises(InvalidPlan) as refused:
        two_pivots.plan(EmptyInput())
    assert refused.value.message.split("\n")[1:] == [
        "b: pivot: a is one already; a plan has one at most",
        "c: retry: it comes after the pivot a, so it needs retry=",
    ]
