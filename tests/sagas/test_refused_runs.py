"""Whatever is wrong with a saga's plan ends its run at the first task, without a call."""

from __future__ import annotations

import asyncio
import time

import pytest

from activities import EmptyInput, OutcomeUnknown
from flows import Dag, InvalidPlan, saga
from tests.conftest import Serve
from tests.sagas.operations import check, work
from tests.sagas.test_plan_checks import TEN, ten
from tests.support import World, causes, events_of, failure_of, new_id


async def test_ten_mistakes_end_a_run_at_its_first_task(serve: Serve, world: World, task_queue: str) -> None:
    """Issue point 12, S17, G25: the run is FAILED after one task, without an activity, with the same ten lines."""
    async with serve(work, check, ten) as client:
        handle = await client.start_workflow("so-many-mistakes", id=new_id(), task_queue=task_queue)
        ((kind, message),) = causes(await failure_of(handle))
        events = await events_of(handle)
    assert kind == "InvalidPlan"
    assert sorted(message.split("\n")[1:]) == sorted(TEN)
    assert events == [
        "WORKFLOW_EXECUTION_STARTED",
        "WORKFLOW_TASK_SCHEDULED",
        "WORKFLOW_TASK_STARTED",
        "WORKFLOW_TASK_COMPLETED",
        "MARKER_RECORDED",
        "WORKFLOW_EXECUTION_FAILED",
    ]
    assert world.calls == []


RAISED: dict[str, BaseException] = {
    "Exception": KeyError("zone"),
    "SystemExit": SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt(),
    "CancelledError": asyncio.CancelledError(),
    "GeneratorExit": GeneratorExit(),
    "StopIteration": StopIteration(),
    "retryable": OutcomeUnknown("who knows"),
    "large": RuntimeError("x" * 3_000_000),
}


@saga(id="raises", version="1.0.0")
def raises(dag: Dag, params: EmptyInput) -> None:
    """Make a mistake, and raise what the test says."""
    dag.append("a b", work, {})
    raise RAISED[WHICH[-1]]


WHICH = ["Exception"]


@pytest.mark.parametrize("which", RAISED)
async def test_whatever_a_builder_raises_ends_the_run(
    serve: Serve, world: World, task_queue: str, which: str
) -> None:
    """Issue point 11, S43: a definite end, that names what was raised, and the mistakes before it."""
    WHICH.append(which)
    async with serve(work, raises) as client:
        handle = await client.start_workflow("raises", id=new_id(), task_queue=task_queue)
        found = causes(await failure_of(handle))
    assert [kind for kind, _ in found] == ["InvalidPlan", type(RAISED[which]).__name__]
    first, second, third = found[0][1].split("\n")
    assert first == "raises@1.0.0 can't be run, 2 mistakes:"
    assert second == "a b: name: must be letters, digits, '-' and '_', at most 100 of them"
    assert third.startswith(f"the builder: raised {type(RAISED[which]).__name__}: ")
    assert len(third) < 700


def test_a_builder_that_raises_keeps_its_cause() -> None:
    """Without Temporal, what was raised is the cause, with its trace."""
    WHICH.append("Exception")
    with pytest.raises(InvalidPlan) as refused:
        raises.plan(EmptyInput())
    assert refused.value.__cause__ is RAISED["Exception"]


@saga(id="slow", version="1.0.0")
def slow(dag: Dag, params: EmptyInput) -> None:
    """Take two seconds to be built."""
    time.sleep(2)
    dag.append("a", work, {})


@saga(id="quick", version="1.0.0")
def quick(dag: Dag, params: EmptyInput) -> None:
    """One step."""
    dag.append("b", work, {})


async def test_a_slow_builder_holds_up_nobody(serve: Serve, world: World, task_queue: str) -> None:
    """While one saga is being built, another one begins and ends on the same worker."""
    async with serve(work, slow, quick) as client:
        first = await client.start_workflow("slow", id=new_id(), task_queue=task_queue)
        second = await client.start_workflow("quick", id=new_id(), task_queue=task_queue)
        await second.result()
        assert world.calls == ["b"]
        await first.result()
    assert world.calls == ["b", "a"]
