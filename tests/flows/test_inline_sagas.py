"""Sagas inside sequences, inline: a recorded plan under the sequence's path, unwound along its edges, then by the sequence."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import Client, WorkflowHandle

from activities import EmptyInput
from flows import Dag, Policy, Sequence, SequenceFailed, Step, saga, start
from tests.conftest import Serve
from tests.support import World, causes, events_of, failure_of, new_id

with workflow.unsafe.imports_passed_through():
    from counterstep.reports import fetch_report
    from tests.sagas.operations import Given, Made, work


@saga(id="stack", version="1.0.0")
def stack(dag: Dag, params: Given) -> Step[Made]:
    """a, then b beside c, then d with what both made."""
    a = dag.append("a", work, {"number": params.number})
    b, c = dag.append_parallel(
        dag.step("b", work, {"number": a.ref("id")}), dag.step("c", work, {"number": a.ref("id")})
    )
    return dag.append("d", work, {"others": [b.ref("id"), c.ref("id")]})


@saga(id="kept-stack", version="1.0.0", policy=Policy(on_failure="keep"))
def kept_stack(dag: Dag, params: Given) -> Step[Made]:
    """The same; a failure leaves everything in place."""
    made = stack.build(dag, params)
    assert made is not None
    return made


@saga(id="gated", version="1.0.0", policy=Policy(on_failure="hold"))
def gated(dag: Dag, params: EmptyInput) -> None:
    """An approval, then a step that is held when it fails."""
    dag.approval("go")
    dag.append("a", work, {})


@saga(id="broken", version="1.0.0")
def broken(dag: Dag, params: EmptyInput) -> None:
    """Nothing, which no saga may be."""


class Around(Sequence[Given, int], id="around-stack", version="1.0.0"):
    """A step, the saga, a step."""

    async def run(self, input: Given) -> int:
        await self.execute(work, input, step="first")
        made = (await self.execute(stack, input)).output
        return (await self.execute(work, Given(number=made.id), step="last")).output.id


class Keeping(Sequence[Given, int], id="keeping-stack", version="1.0.0", policy=Policy(on_failure="keep")):
    """The same; a failure leaves everything in place."""

    async def run(self, input: Given) -> int:
        await self.execute(work, input, step="first")
        made = (await self.execute(kept_stack, input, step="stack")).output
        return (await self.execute(work, Given(number=made.id), step="last")).output.id


class Catching(Sequence[Given, str], id="catching", version="1.0.0"):
    """Go on after the saga failed."""

    async def run(self, input: Given) -> str:
        try:
            await self.execute(stack, input)
        except SequenceFailed as failed:
            await self.execute(work, input, step="instead")
            return failed.message
        return "went well"


class Twice(Sequence[Given, list[int]], id="twice", version="1.0.0"):
    """Equal calls, and one that is forced."""

    async def run(self, input: Given) -> list[int]:
        first = await self.execute(stack, input)
        same = await self.execute(stack, input)
        again = await self.execute(stack, input, force=True)
        return [report.output.id for report in (first, same, again)]


class Asking(Sequence[EmptyInput, None], id="asking", version="1.0.0"):
    """An operator decides in the saga."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(gated, input, step="part")


class Planless(Sequence[EmptyInput, None], id="planless", version="1.0.0"):
    """A saga that can't be planned, after a step."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(work, Given(), step="first")
        await self.execute(broken, input)


class Pair(Sequence[Given, int], id="pair-of-stacks", version="1.0.0"):
    """Two of the saga at once, then a step."""

    async def run(self, input: Given) -> int:
        two = Given(number=input.number + 1)
        both = await self.gather(self.execute(stack, input, step="x"), self.execute(stack, two, step="y"))
        made = sum(report.output.id for report in both)
        return (await self.execute(work, Given(number=made), step="last")).output.id


@saga(id="timed", version="1.0.0", policy=Policy(deadline=timedelta(hours=1)))
def timed(dag: Dag, params: EmptyInput) -> None:
    """A step, within an hour."""
    dag.append("a", work, {})


class TimedInner(
    Sequence[EmptyInput, None], id="timed-inner", version="1.0.0", policy=Policy(deadline=timedelta(hours=1))
):
    """Nothing, within an hour."""

    async def run(self, input: EmptyInput) -> None:
        """Do nothing."""


class Timed(Sequence[bool, None], id="timed-around", version="1.0.0"):
    """A step, then a flow with a deadline of its own, inline: the saga, or the sequence."""

    async def run(self, input: bool) -> None:
        await self.execute(work, Given(), step="first")
        await self.execute(timed if input else TimedInner, EmptyInput())


class HeldInner(Sequence[Given, None], id="held-inner", version="1.0.0", policy=Policy(on_failure="hold")):
    """A step that is held when it fails."""

    async def run(self, input: Given) -> None:
        await self.execute(work, input, step="a")


class Unheld(Sequence[Given, None], id="unheld", version="1.0.0"):
    """A sequence that holds, without a hold."""

    async def run(self, input: Given) -> None:
        await self.execute(HeldInner, input, hold=False)


FLOWS = (
    work,
    stack,
    kept_stack,
    gated,
    broken,
    Around,
    Keeping,
    Catching,
    Twice,
    Asking,
    Planless,
    Pair,
    timed,
    TimedInner,
    Timed,
    HeldInner,
    Unheld,
)
FORWARD = ["first", "stack/a", {"stack/b", "stack/c"}, "stack/d", "last"]


async def began(
    client: Client, flow: Any, queue: str, input: Any, **options: Any
) -> WorkflowHandle[Any, Any]:
    return await start(client, flow, input, id=new_id(), task_queue=queue, **options)


def forward(world: World) -> list[Any]:
    """Give the calls of steps, b and c as one set."""
    return _joined([call for call in world.calls if isinstance(call, str) and not call.startswith("undone")])


def undone(world: World) -> list[Any]:
    return [call.removeprefix("undone ") for call in world.calls if str(call).startswith("undone ")]


def _joined(calls: list[Any]) -> list[Any]:
    pair = {"stack/b", "stack/c"}
    at = [index for index, call in enumerate(calls) if call in pair]
    return [*calls[: at[0]], pair, *calls[at[-1] + 1 :]] if len(at) == 2 else calls


async def test_a_saga_runs_in_its_sequence(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """Its steps stand under its path, in the sequence's own history; its result is typed; the report nests."""
    async with serve(*FLOWS, cache=cache) as client:
        handle = await began(client, Around, task_queue, Given(number=1))
        assert await asyncio.wait_for(handle.result(), 60) == 2
        report = await fetch_report(client, handle.id)
        events = await events_of(handle)
    assert forward(world) == FORWARD
    first, inner, last = report.children
    assert [(c.step, c.outcome) for c in report.children] == [
        ("first", "done"),
        ("stack", "done"),
        ("last", "done"),
    ]
    assert (first.is_flow, inner.is_flow, last.is_flow) == (False, True, False)
    assert [c.step for c in inner.children] == ["stack/a", "stack/b", "stack/c", "stack/d"]
    assert (events.count("ACTIVITY_TASK_SCHEDULED"), events.count("MARKER_RECORDED")) == (6, 1)
    assert "START_CHILD_WORKFLOW_EXECUTION_INITIATED" not in events


async def test_it_unwinds_along_its_edges_before_its_failure_arrives(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """d fails: b and c are undone beside each other, then a, then the sequence's own step."""
    world.switch("fail-stack/d")
    async with serve(*FLOWS, cache=cache) as client:
        handle = await began(client, Around, task_queue, Given(number=1))
        found = causes(await failure_of(handle))
    assert [kind for kind, _ in found] == ["RolledBack", "SequenceFailed", "OperationFailed", "RuntimeError"]
    assert found[1][1].startswith("stack (stack@1.0.0) failed: step stack/d (work@1.0.0) failed")
    assert (set(undone(world)[:2]), undone(world)[2:]) == ({"stack/b", "stack/c"}, ["stack/a", "first"])


async def test_its_sequence_undoes_it_in_its_place(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """A step after it fails: everything is undone, newest first."""
    world.switch("fail-last")
    async with serve(*FLOWS, cache=cache) as client:
        handle = await began(client, Around, task_queue, Given(number=1))
        assert causes(await failure_of(handle))[0][0] == "RolledBack"
    assert undone(world) == ["stack/d", "stack/c", "stack/b", "stack/a", "first"]


async def test_a_body_goes_on_after_it_failed(serve: Serve, world: World, task_queue: str) -> None:
    """Caught: the saga is undone, what the body does instead stays."""
    world.switch("fail-stack/b")
    async with serve(*FLOWS) as client:
        handle = await began(client, Catching, task_queue, Given(number=1))
        message = await asyncio.wait_for(handle.result(), 60)
    step = "step stack/b (work@1.0.0) failed after 1 attempt: RuntimeError: stack/b down"
    assert message == f"stack (stack@1.0.0) failed: {step}"
    assert undone(world) == ["stack/c", "stack/a"] and world.calls[-1] == "instead"


async def test_an_equal_call_is_answered(serve: Serve, world: World, task_queue: str) -> None:
    """The same saga with an equal input runs once; forced, it runs again under another name."""
    async with serve(*FLOWS) as client:
        handle = await began(client, Twice, task_queue, Given(number=1))
        assert await asyncio.wait_for(handle.result(), 60) == [2, 2, 2]
    names = [call.split("/")[0] for call in world.calls]
    assert names == ["stack"] * 4 + ["stack.2"] * 4


async def test_an_operator_decides_in_it(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """Its approval and its held step are known under its path."""
    world.switch("fail-part/a")
    async with serve(*FLOWS, cache=cache) as client:
        handle = await began(client, Asking, task_queue, EmptyInput())
        await _until(handle, "part/go", "waiting for approval")
        await handle.execute_update("approve", {"name": "part/go"})
        await _until(handle, "part/a", "held")
        world.switch("fail-part/a", on=False)
        await handle.execute_update("retry", {"step": "part/a"})
        await asyncio.wait_for(handle.result(), 60)
    assert world.calls == ["part/a", "part/a"]


async def _until(handle: WorkflowHandle[Any, Any], step: str, state: str) -> None:
    for _ in range(600):
        if (await handle.query("status"))["steps"].get(step) == state:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(await handle.query("status"))


async def test_a_cancel_unwinds_it(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """Cancelled while b and c run: both settle, and everything is undone."""
    for step in ("stack/b", "stack/c"):
        world.switch(f"hold-{step}")
    async with serve(*FLOWS, cache=cache) as client:
        handle = await began(client, Around, task_queue, Given(number=1))
        await world.until("stack/b")
        await world.until("stack/c")
        await handle.cancel()
        await failure_of(handle)
    assert undone(world)[2:] == ["stack/a", "first"]
    assert set(undone(world)[:2]) == {"stack/b", "stack/c"}


@pytest.mark.parametrize(("failing", "again"), [("stack/d", ["stack/d", "last"]), ("last", ["last"])])
async def test_an_earlier_run_answers_its_steps(
    serve: Serve, world: World, task_queue: str, cache: int, failing: str, again: list[str]
) -> None:
    """resume_from: what succeeded in the saga isn't called again, what failed is; all of it is the new run's to undo."""
    world.switch(f"fail-{failing}")
    async with serve(*FLOWS, cache=cache) as client:
        earlier = await began(client, Keeping, task_queue, Given(number=1))
        assert causes(await failure_of(earlier))[0][0] == "Kept"
        world.switch(f"fail-{failing}", on=False)
        before = len(world.calls)
        handle = await began(client, Keeping, task_queue, Given(number=1), memo={"resume_from": earlier.id})
        assert await asyncio.wait_for(handle.result(), 60) == 2
        assert world.calls[before:] == again
        undo = await client.start_workflow(
            "undo", {"workflow_id": handle.id}, id=new_id("undo"), task_queue=task_queue
        )
        await asyncio.wait_for(undo.result(), 60)
    assert undone(world)[:2] == ["last", "stack/d"] and undone(world)[4:] == ["stack/a", "first"]


async def test_a_saga_that_cannot_be_planned_fails(serve: Serve, world: World, task_queue: str) -> None:
    """Its plan is refused in the sequence: the step before it is undone."""
    async with serve(*FLOWS) as client:
        handle = await began(client, Planless, task_queue, EmptyInput())
        found = causes(await failure_of(handle))
    assert [kind for kind, _ in found] == ["RolledBack", "SequenceFailed", "InvalidPlan"]
    assert "broken@1.0.0 can't be run, 1 mistake" in found[2][1]
    assert undone(world) == ["first"]


@pytest.mark.parametrize("step", ["first", "stack/a", "stack/d", "last"])
async def test_a_failure_anywhere_leaves_nothing(
    serve: Serve, world: World, task_queue: str, step: str
) -> None:
    """Whatever fails: what was done is undone, once."""
    world.switch(f"fail-{step}")
    async with serve(*FLOWS) as client:
        handle = await began(client, Around, task_queue, Given(number=1))
        assert causes(await failure_of(handle))[0][0] == "RolledBack"
    done = [call for call in world.calls if isinstance(call, str) and not call.startswith("undone")]
    assert sorted(undone(world)) == sorted(set(done) - {step})


def _of(name: str, calls: list[Any]) -> list[Any]:
    """Give the undone steps of one of the two, b and c as one set."""
    own = [call.removeprefix(f"{name}/") for call in calls if call.startswith(f"{name}/")]
    return [*own[:-3], set(own[-3:-1]), own[-1]]


async def test_two_at_once_are_undone_along_the_edges_of_each(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """A step after both fails: each is undone from its end to its beginning, once."""
    world.switch("fail-last")
    async with serve(*FLOWS, cache=cache) as client:
        handle = await began(client, Pair, task_queue, Given(number=1))
        assert causes(await failure_of(handle))[0][0] == "RolledBack"
    assert len(undone(world)) == 8
    for name in ("x", "y"):
        assert _of(name, undone(world)) == ["d", {"b", "c"}, "a"]


async def test_one_of_two_fails_and_the_other_is_undone_after_it(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """x fails at its end and unwinds itself, whatever y does meanwhile; y ends, and the sequence undoes it."""
    world.switch("fail-x/d")
    async with serve(*FLOWS, cache=cache) as client:
        handle = await began(client, Pair, task_queue, Given(number=1))
        assert causes(await failure_of(handle))[0][0] == "RolledBack"
    assert _of("x", undone(world)) == [{"b", "c"}, "a"] and undone(world)[2] == "x/a"
    assert undone(world)[3:] == ["y/d", "y/c", "y/b", "y/a"]


@pytest.mark.parametrize("of_saga", [True, False])
async def test_a_deadline_of_its_own_is_refused(
    serve: Serve, world: World, task_queue: str, of_saga: bool
) -> None:
    """Only a run of its own can keep it: said at the call, before anything of it begins."""
    async with serve(*FLOWS) as client:
        handle = await began(client, Timed, task_queue, of_saga)
        found = causes(await failure_of(handle))
    assert [kind for kind, _ in found] == ["RolledBack", "DefinitionError"]
    who = "timed" if of_saga else "timed-inner"
    assert found[1][1].startswith(
        f"{who}@1.0.0 has a deadline, which only a run of its own can keep; say child="
    )
    assert world.calls == ["first", ("undo first", "done"), "undone first"]


async def test_without_a_hold_no_step_in_a_flow_is_held(serve: Serve, world: World, task_queue: str) -> None:
    """hold=False on an inline sequence: its own policy holds, and isn't asked."""
    world.switch("fail-held-inner/a")
    async with serve(*FLOWS) as client:
        handle = await began(client, Unheld, task_queue, Given())
        found = causes(await failure_of(handle))
        events = await events_of(handle)
    assert [kind for kind, _ in found][:2] == ["RolledBack", "SequenceFailed"]
    assert "TIMER_STARTED" not in events
