"""Whatever is wrong with a saga's plan ends its run at the first task, without a call."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from activities import EmptyInput, OutcomeUnknown
from flows import Dag, InvalidPlan, Step, saga
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


RELEASED = threading.Event()


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Builders have half a second; their threads end with the test."""
    monkeypatch.setattr("flows._in_time.LIMIT", timedelta(seconds=0.5))
    RELEASED.clear()
    yield
    RELEASED.set()


@saga(id="endless", version="1.0.0")
def endless(dag: Dag, params: EmptyInput) -> None:
    """Never come back."""
    dag.append("a", work, {})
    RELEASED.wait()


async def test_a_builder_that_never_returns(serve: Serve, world: World, task_queue: str, short: None) -> None:
    """Each such run ends, naming saga and limit; more of them than a pool has threads hold up no other saga."""
    async with serve(work, endless, quick) as client:
        stuck = [
            await client.start_workflow("endless", id=new_id(), task_queue=task_queue) for _ in range(40)
        ]
        await (await client.start_workflow("quick", id=new_id(), task_queue=task_queue)).result()
        failures = [causes(await failure_of(handle)) for handle in stuck]
    says = "the builder: isn't back after 0.5 seconds; let it build a plan and wait for nothing"
    assert failures == [[("InvalidPlan", f"endless@1.0.0 can't be run, 1 mistake:\n{says}")]] * 40
    assert world.calls == ["b"]


class Zone(BaseModel):
    """Params whose validator raises what it should not, or never comes back."""

    name: str

    @field_validator("name")
    @classmethod
    def known(cls, name: str) -> str:
        """Do as the name says."""
        if name == "exit":
            raise SystemExit(3)
        if name == "hang":
            RELEASED.wait()
        raise KeyError(name)


@saga(id="zoned", version="1.0.0")
def zoned(dag: Dag, params: Zone) -> None:
    """One step."""
    dag.append("a", work, {})


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("exit", "InvalidPlan", "zoned@1.0.0 can't be run, 1 mistake:\nthe plan: raised SystemExit: 3"),
        ("hang", "InvalidPlan", "zoned@1.0.0 can't be run, 1 mistake:\nthe builder: isn't back after"),
        ("eu", "InvalidInput", "zoned@1.0.0: input doesn't fit Zone: KeyError"),
    ],
    ids=["exits", "hangs", "raises"],
)
async def test_whatever_a_model_of_params_does_ends_the_run(
    serve: Serve, world: World, task_queue: str, short: None, name: str, kind: str, says: str
) -> None:
    """A validator that raises anything, or never comes back, gives a definite end; the worker goes on."""
    async with serve(work, zoned, quick) as client:
        handle = await client.start_workflow("zoned", {"name": name}, id=new_id(), task_queue=task_queue)
        found = causes(await failure_of(handle))
        await (await client.start_workflow("quick", id=new_id(), task_queue=task_queue)).result()
    assert found[0][0] == kind and found[0][1].startswith(says)
    assert world.calls == ["b"]


RETURNED: dict[str, Any] = {"number": 5, "operation": work, "strange": Step("nowhere"), "generator": iter(())}


@saga(id="returns", version="1.0.0")
def returns(dag: Dag, params: str) -> Step[Any]:
    """Return what its type doesn't allow."""
    dag.append("a", work, {})
    return RETURNED[params]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("number", "the builder returned int 5; let it return a step, or nothing"),
        (
            "operation",
            "the builder returned Operation <operation work@1.0.0>; let it return a step, or nothing",
        ),
        ("strange", "nowhere is none of its steps; let the builder return one"),
        ("generator", "the builder returned tuple_iterator <tuple_iterator object"),
    ],
    ids=list(RETURNED),
)
async def test_a_builder_that_returns_something_else(
    serve: Serve, world: World, task_queue: str, what: str, says: str
) -> None:
    """What its type doesn't allow is a mistake of the plan: the run ends at its first task."""
    async with serve(work, returns) as client:
        handle = await client.start_workflow("returns", what, id=new_id(), task_queue=task_queue)
        ((kind, message),) = causes(await failure_of(handle))
    assert kind == "InvalidPlan"
    assert message.startswith(f"returns@1.0.0 can't be run, 1 mistake:\nresult: {says}")
    assert world.calls == []
