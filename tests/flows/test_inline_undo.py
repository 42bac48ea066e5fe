"""Sagas inline in sequences, read from history: reports, ``undo``, ``resume_from`` and reset know their plans."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import Client, WorkflowHandle

from activities import EmptyInput
from flows import Dag, Policy, Sequence, Step, no_undo, saga, start
from tests.conftest import Serve
from tests.flows.test_reset import task_ends
from tests.support import World, causes, failure_of, new_id, reset

with workflow.unsafe.imports_passed_through():
    from counterstep.reports import Kind, fetch_report
    from tests.sagas.operations import Given, Made, make, work
    from tests.undoing import undo

    local = make("local", placement="local")


@saga(id="inner", version="2.1.0")
def inner(dag: Dag, params: Given) -> Step[Made]:
    """One step."""
    return dag.append("one", work, {"number": params.number})


@saga(id="rich", version="2.0.0")
def rich(dag: Dag, params: Given) -> Step[Made]:
    """Of everything one."""
    dag.constant("two", 2)
    a = dag.append("a", work, {"number": params.number})
    dag.append("looked", work, {}, undo=no_undo)
    dag.wait("soak", timedelta(milliseconds=20))
    dag.approval("go")
    below = dag.subsaga("below", inner, {"number": a.ref("id")})
    dag.append("near", local, {"number": below.ref("id")})
    return below


class Rich(Sequence[Given, int], id="rich-sequence", version="1.0.0", policy=Policy(on_failure="keep")):
    """A step, the saga, a step; a failure keeps everything."""

    async def run(self, input: Given) -> int:
        await self.execute(work, input, step="first")
        made = (await self.execute(rich, input)).output
        return (await self.execute(work, Given(number=made.id + 100), step="last")).output.id


class Late(Sequence[Given, int], id="late", version="1.0.0", policy=Policy(on_failure="keep")):
    """The saga, once somebody says so, then a step."""

    async def run(self, input: Given) -> int:
        await self.approval("begin")
        made = (await self.execute(rich, input)).output
        return (await self.execute(work, Given(number=made.id + 100), step="last")).output.id


class Outer(Sequence[Given, int], id="outer", version="1.0.0"):
    """A sequence around the saga, inline in this one."""

    async def run(self, input: Given) -> int:
        return (await self.execute(Rich, input, step="in")).output


@saga(id="near-by", version="1.0.0")
def near_by(dag: Dag, params: EmptyInput) -> None:
    """A remote step, then two local ones beside each other."""
    dag.append("far", work, {})
    dag.append_parallel(dag.step("x", local, {}), dag.step("y", local, {}, undo=no_undo))


class NearBy(Sequence[EmptyInput, None], id="near-by-sequence", version="1.0.0"):
    """The local steps."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(near_by, input)


FLOWS = (work, local, inner, rich, near_by, Rich, Late, Outer, NearBy)
FORWARD = ["first", "rich/a", "rich/looked", "rich/below/one", "rich/near", "last"]
UNDONE = ["last", "rich/near", "rich/below/one", "rich/a", "first"]


async def began(
    client: Client, flow: Any, queue: str, input: Any = None, **options: Any
) -> WorkflowHandle[Any, Any]:
    return await start(client, flow, input or Given(number=1), id=new_id(), task_queue=queue, **options)


async def stands(handle: WorkflowHandle[Any, Any], name: str) -> None:
    """Wait until an approval waits."""
    while (await handle.query("status"))["steps"].get(name) != "waiting for approval":
        await asyncio.sleep(0.05)


async def approved(handle: WorkflowHandle[Any, Any], name: str = "rich/go") -> None:
    """Approve what waits there."""
    await stands(handle, name)
    await handle.execute_update("approve", {"name": name, "by": "ann"})


def undone(world: World) -> list[str]:
    return [call.removeprefix("undone ") for call in world.calls if str(call).startswith("undone ")]


def forward(world: World) -> list[str]:
    return [call for call in world.calls if isinstance(call, str) and not call.startswith("undone ")]


def named(report: Any) -> list[Any]:
    """Give a report's steps, those of inner flows in lists, after the flow."""
    rows: list[Any] = []
    for child in report.children:
        rows += [[f"{child.kind} {child.definition} {child.outcome}", *named(child)]] if child.is_flow else []
        rows += [] if child.is_flow else [child.step]
    return rows


async def test_the_tree_is_what_was_called(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """A report from history: the saga's steps, waits and subsagas under its name, with its own definition and result."""
    async with serve(*FLOWS, cache=cache) as client:
        handle = await began(client, Rich, task_queue)
        await approved(handle)
        assert await asyncio.wait_for(handle.result(), 60) == 101
        report = await fetch_report(client, handle.id)
    below = ["subsaga below@2.0.0 done", "rich/below/one"]
    steps = ["rich/a", "rich/looked", "rich/soak", "rich/go", below, "rich/near"]
    assert named(report) == ["first", ["flow rich@2.0.0 done", *steps], "last"]
    saga_ = report.children[1]
    assert (saga_.step, saga_.kind, saga_.output) == ("rich", Kind.FLOW, {"id": 1, "name": "rich/below/one"})
    assert (report.definition.id, report.plan, len(saga_.plan)) == ("rich-sequence", (), 8)
    called = [r.step for r in report.walk() if not r.is_flow and r.attempts]
    assert sorted(called) == sorted(forward(world)) == sorted(FORWARD)


async def test_a_closed_run_is_undone_by_its_plan(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """`undo` of a completed run: newest first, but for the step whose plan says no_undo; and never again."""
    async with serve(*FLOWS, cache=cache) as client:
        handle = await began(client, Rich, task_queue)
        await approved(handle)
        await asyncio.wait_for(handle.result(), 60)
        first = await undo(client, task_queue, handle)
        again = await undo(client, task_queue, handle)
        report = await fetch_report(client, handle.id)
    assert undone(world) == first["undone"] == UNDONE
    assert (again["undone"], again["not_undone"]) == ([], [])
    told = {r.step: r.undo.outcome for r in report.walk() if r.undo}
    assert told == dict.fromkeys(UNDONE, "done")


async def test_nothing_that_was_undone_counts_after_a_reset(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """Reset after `undo`: the run ends before anything is called."""
    async with serve(*FLOWS, cache=cache) as client:
        handle = await began(client, Rich, task_queue)
        await approved(handle)
        await asyncio.wait_for(handle.result(), 60)
        ends = await task_ends(handle)
        await undo(client, task_queue, handle)
        before = len(world.calls)
        again = await reset(client, handle, ends[-2])
        kind, message = causes(await failure_of(again))[0]
    assert (kind, len(world.calls)) == ("ResetAfterUndo", before)
    assert "rich/below/one" in message


@pytest.mark.parametrize("reached", [True, False])
async def test_a_resumed_run_remembers_what_is_never_undone(
    serve: Serve, world: World, task_queue: str, cache: int, reached: bool
) -> None:
    """no_undo is in the history: a run that goes on, and ends before or after the saga, leaves that step, and `undo` too."""
    world.switch("fail-last")
    async with serve(*FLOWS, cache=cache) as client:
        earlier = await began(client, Late, task_queue)
        for name in ("begin", "rich/go"):
            await approved(earlier, name)
        assert causes(await failure_of(earlier))[0][0] == "Kept"
        handle = await began(client, Late, task_queue, memo={"resume_from": earlier.id})
        await stands(handle, "begin")
        if reached:
            for name in ("begin", "rich/go"):
                await approved(handle, name)
            assert causes(await failure_of(handle))[0][0] == "Kept"
        else:
            await handle.terminate()
        await undo(client, task_queue, handle)
    assert undone(world) == UNDONE[1:-1]
    assert [call for call in forward(world) if call != "last"] == FORWARD[1:-1]


async def test_another_input_runs_beside_what_was_left(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """A resumed run gives the saga another input: its steps get names of their own, and a cancel undoes both."""
    world.switch("fail-last")
    async with serve(*FLOWS, cache=cache) as client:
        earlier = await began(client, Rich, task_queue)
        await approved(earlier)
        assert causes(await failure_of(earlier))[0][0] == "Kept"
        handle = await began(client, Rich, task_queue, Given(number=2), memo={"resume_from": earlier.id})
        await approved(handle)
        world.switch("hold-last")
        world.switch("fail-rich/near.2")
        assert causes(await failure_of(handle))[0][0] == "Kept"
        report = await fetch_report(client, handle.id)
        await undo(client, task_queue, handle)
    new = ["rich/below/one.2", "rich/a.2", "first.2"]
    assert undone(world) == [*new, *UNDONE[1:]]
    assert forward(world)[6:] == ["first.2", "rich/a.2", "rich/below/one.2", "rich/near.2"]
    assert sorted(r.step for r in report.walk() if r.attempts) == sorted([*new, "rich/near.2"])


async def test_it_stands_in_an_inline_sequence(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """A saga in a sequence in a sequence: named by its path; kept by the inner policy, undone by the outermost."""
    world.switch("fail-in/last")
    async with serve(*FLOWS, cache=cache) as client:
        handle = await began(client, Outer, task_queue)
        await approved(handle, "in/rich/go")
        found = causes(await failure_of(handle))
        report = await fetch_report(client, handle.id)
    assert [kind for kind, _ in found][:2] == ["RolledBack", "SequenceFailed"]
    assert undone(world) == [f"in/{step}" for step in UNDONE[1:]]
    assert named(report)[0][0] == "flow rich-sequence@1.0.0 failed"
    assert named(report)[0][2][:2] == ["flow rich@2.0.0 done", "in/rich/a"]


async def test_local_steps_without_a_trace_may_have_run(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """Terminated while local steps of the saga run: `undo` tells them `unknown`, but for those with no_undo."""
    world.switch("hold-near-by/x")
    async with serve(*FLOWS, cache=cache) as client:
        handle = await began(client, NearBy, task_queue, EmptyInput())
        await world.until("near-by/x")
        await handle.terminate()
        world.switch("go-near-by/x")
        result = await undo(client, task_queue, handle)
    assert result["undone"] == undone(world) == ["near-by/x", "near-by/far"]
    assert ("undo near-by/x", "unknown") in world.calls
