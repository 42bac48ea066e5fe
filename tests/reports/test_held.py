"""What waits for an operator, and what became of it: child flows, approvals and deadlines, in reports and in doctor."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import Client, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.service import RPCError

from activities import Context, EmptyInput, Outcome, Retry, operation
from counterstep._findings import Bounds, Finding, _Looking
from counterstep.reports import (
    Waiting,
    fetch_report,
    mermaid,
    spans_of,
    status_tree,
    tree_json,
    workflow_report,
)
from flows import Dag, Policy, Sequence, Step, saga, start
from tests.conftest import Serve
from tests.longrunning.operations import Held as HeldLegs
from tests.longrunning.operations import a, b
from tests.reports.looking import child
from tests.reports.making import tree
from tests.support import World, eventually, failure_of, new_id
from tests.undoing import undo

with workflow.unsafe.imports_passed_through():
    from tests.reports.flows import work
    from tests.sagas.operations import Given, Made


class Kid(Sequence[EmptyInput, Made], id="kid", version="1.0.0"):
    """Two steps; the second may fail."""

    async def run(self, input: EmptyInput) -> Made:
        await self.execute(work, Given(number=1), step="one")
        return (await self.execute(work, Given(number=2), step="two")).output


class Around(Sequence[EmptyInput, int], id="around-kid", version="1.0.0"):
    """It as a child, which is held when it fails; then a step."""

    policy = Policy(on_failure="hold", on_undo_failure="park")

    async def run(self, input: EmptyInput) -> int:
        made = (await self.execute(Kid, input, step="kid", child=True)).output
        return (await self.execute(work, Given(number=made.id), step="last")).output.id


@saga(id="planned-kid", version="1.0.0", policy=Policy(on_failure="hold", on_undo_failure="park"))
def planned_kid(dag: Dag, params: EmptyInput) -> Step[Made]:
    """The same."""
    kid = dag.flow("kid", Kid, {})
    return dag.append("last", work, {"number": kid.ref("id")})


@saga(id="after-the-pivot", version="1.0.0")
def after_the_pivot(dag: Dag, params: EmptyInput) -> None:
    """A pivot, then an approval."""
    dag.append("p", work, {}, pivot=True)
    dag.approval("go")


@saga(id="late", version="1.0.0", policy=Policy(deadline=timedelta(seconds=1)))
def late(dag: Dag, params: EmptyInput) -> None:
    """A pivot that takes its time."""
    dag.append("p", work, {}, pivot=True)
    dag.append("q", work, {}, retry=Retry())


@saga(id="piv", version="1.0.0", policy=Policy(hold_timeout=timedelta(milliseconds=10)))
def piv(dag: Dag, params: EmptyInput) -> None:
    """A pivot, then a step."""
    dag.append("p", work, {}, pivot=True)
    dag.append("q", work, {}, retry=Retry(max_attempts=2))


@saga(id="around-piv", version="1.0.0")
def around_piv(dag: Dag, params: EmptyInput) -> None:
    """It as a child."""
    dag.flow("kid", piv, {})


@operation(id="stubborn", version="1.0.0")
async def stubborn(ctx: Context[World], input: Given) -> None:
    """Fail if a switch says so; so does its undo, which is tried for ever."""
    if ctx.deps.is_on(f"fail-{ctx.step}"):
        raise RuntimeError(f"{ctx.step} down")


@stubborn.undo(retry=Retry(max_attempts=0, initial=timedelta(milliseconds=10), factor=1))
async def undo_stubborn(ctx: Context[World], input: Given, outcome: Outcome[None]) -> None:
    ctx.deps.record(f"undo {ctx.step}", str(outcome.status))
    if ctx.deps.is_on(f"fail-undo-{ctx.step}"):
        raise RuntimeError(f"undo of {ctx.step} down")


@saga(id="undoing-for-long", version="1.0.0")
def undoing_for_long(dag: Dag, params: EmptyInput) -> None:
    """Two steps."""
    dag.append("a", stubborn, {})
    dag.append("c", stubborn, {})


FLOWS = (work, Kid, Around, planned_kid, after_the_pivot, late)


async def began(client: Client, queue: str, flow: Any, input: Any = EmptyInput()) -> WorkflowHandle[Any, Any]:
    return await start(client, flow, input, id=new_id(), task_queue=queue)


async def waits(handle: WorkflowHandle[Any, Any], state: str) -> None:
    """Wait until a run is held, or parked."""
    deadline = asyncio.get_running_loop().time() + 60
    while state not in (status := await handle.query("status"))["state"].split(", "):
        assert asyncio.get_running_loop().time() < deadline, status
        await asyncio.sleep(0.05)


async def failed(client: Client, id: str) -> None:
    """Wait for the failure of a run that begins soon."""
    deadline = asyncio.get_running_loop().time() + 60
    while True:
        try:
            await failure_of(client.get_workflow_handle(id))
            return
        except RPCError:
            assert asyncio.get_running_loop().time() < deadline, f"{id} never began"
            await asyncio.sleep(0.05)


async def found(client: Client, handle: WorkflowHandle[Any, Any], attempts: int = 5) -> list[Finding]:
    """Give what doctor says of an open run, once the server lists it with its memo."""
    deadline = asyncio.get_running_loop().time() + 60
    while True:
        looking = _Looking(client, Bounds(timedelta(days=1), attempts), print)
        of_it = [one async for one in looking.open() if one.workflow_id == handle.id]
        if of_it:
            return of_it
        assert asyncio.get_running_loop().time() < deadline, "doctor doesn't find it"
        await asyncio.sleep(0.1)


def commands(handle: WorkflowHandle[Any, Any], step: str, *names: str) -> tuple[str, ...]:
    inputs = {name: '"input": "…", ' if name == "edit" else "" for name in names}
    update = f"temporal workflow update execute --workflow-id {handle.id}"
    return tuple(
        f"""{update} --input '{{"step": "{step}", {inputs[name]}"by": "…"}}' --name {name}"""
        for name in names
    )


def decided(report: Any) -> list[tuple[str, str | None]]:
    return [(one.action, one.by) for one in report.decisions]


def stood(report: Any) -> list[tuple[str, bool]]:
    """Give why it stood still, and whether it does no more."""
    return [(one.why, one.until is not None) for one in report.delays]


@pytest.mark.parametrize("flow", [Around, planned_kid])
async def test_a_held_child(serve: Serve, world: World, task_queue: str, flow: Any) -> None:
    """It is held in every view and in doctor; each of its runs has the decision that followed it; skipped, it is no failure."""
    world.switch("fail-two")
    async with serve(*FLOWS) as client:
        handle = await began(client, task_queue, flow)
        await waits(handle, "held")
        held = await fetch_report(client, handle.id)
        findings = await found(client, handle)
        await handle.execute_update("retry", {"step": "kid", "by": "ann"})
        await failed(client, f"{handle.id}/kid~2")
        await waits(handle, "held")
        again = await fetch_report(client, handle.id)
        output = {"id": 7, "name": "by hand"}
        await handle.execute_update("skip", {"step": "kid", "by": "bob", "output": output})
        await asyncio.wait_for(handle.result(), 60)
        report = await fetch_report(client, handle.id)
        own = await fetch_report(client, f"{handle.id}/kid~2")
    why = "RuntimeError: two down"
    updates = ("retry", "skip", "edit", "unwind")
    assert held.run is not None and held.run.waiting == (Waiting("kid", "held", "kid@1.0.0", why, updates),)
    assert [(one.kind, one.step, one.what, one.commands) for one in findings] == [
        ("held", "kid", f"kid (kid@1.0.0) is held: {why}", commands(handle, "kid", *updates))
    ]
    assert stood(child(held, "kid")) == [("held", False)]
    assert '["kid<br/>held"]' in mermaid(held).replace("[[", "[").replace("]]", "]")
    assert status_tree(held).splitlines()[1] == "+-- held: kid"
    first, second = child(again, "kid~1"), child(again, "kid")
    assert (decided(first), stood(first)) == ([("retry", "ann")], [("held", True)])
    assert (decided(second), stood(second)) == ([], [("held", False)])
    first, second = child(report, "kid~1"), child(report, "kid")
    assert (first.outcome, first.skipped, decided(first)) == ("failed", None, [("retry", "ann")])
    assert (second.outcome, second.skipped, second.output) == ("skipped", "skipped by bob", output)
    assert (decided(second), stood(second)) == ([("skip", "bob")], [("held", True)])
    assert report.run is not None and (report.run.state, report.run.waiting) == ("completed", ())
    assert "waiting" not in tree_json(report)["run"] and tree_json(held)["run"]["waiting"]
    assert [line for line in status_tree(report).splitlines() if line.endswith(" kid")] == [
        "+-- skipped: kid"
    ]
    rows = workflow_report(report)
    assert (rows.status, [(row.step_id, row.status) for row in rows.step_reports]) == (
        "SUCCESS",
        [("kid", "SKIPPED"), ("last", "SUCCESS")],
    )
    spans = {span.context.span_id: span.to_json() for span in spans_of(report)}
    assert {span.context.span_id: span.to_json() for span in spans_of(own)}.items() <= spans.items()


@pytest.mark.parametrize("flow", [after_the_pivot, around_piv])
async def test_no_way_back_is_offered_after_a_pivot(
    serve: Serve, world: World, task_queue: str, flow: Any
) -> None:
    """Where the pivot itself failed, or was passed by a child that failed since: what doctor offers, the run takes."""
    world.switch("fail-p" if flow is after_the_pivot else "fail-q")
    step = "p" if flow is after_the_pivot else "kid"
    async with serve(*FLOWS, piv, around_piv) as client:
        handle = await began(client, task_queue, flow)
        await waits(handle, "held")
        findings = await found(client, handle)
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await handle.execute_update("unwind", {"step": step})
    assert [one.commands for one in findings] == [commands(handle, step, "retry", "skip", "edit")]
    assert str(refused.value.cause).startswith(f"InvalidInput: {step} comes after the pivot")


async def test_a_parked_undo_of_a_childs_step(serve: Serve, world: World, task_queue: str) -> None:
    """Doctor gives it the name that the parent's updates take; the report has it at the child's step."""
    world.switch("fail-last")
    world.switch("fail-undo-kid/one")
    async with serve(*FLOWS) as client:
        handle = await began(client, task_queue, Around)
        await waits(handle, "held")
        await handle.execute_update("unwind", {"step": "last"})
        await waits(handle, "parked")
        parked = await fetch_report(client, handle.id)
        findings = await found(client, handle)
        await handle.execute_update("skip", {"step": "kid/one", "by": "ann"})
        await failure_of(handle)
        report = await fetch_report(client, handle.id)
    assert [(one.kind, one.step, one.what, one.commands) for one in findings] == [
        (
            "parked",
            "kid/one",
            "undo of kid/one (work@1.0.0) is parked: RuntimeError: undo of kid/one down",
            commands(handle, "kid/one", "retry", "skip", "unwind"),
        )
    ]
    for seen, over in ((parked, False), (report, True)):
        undone = child(seen, "one").undo
        assert undone is not None and stood(undone) == [("parked", over)]
    assert report.run is not None and (report.run.state, report.run.waiting) == ("rolled_back", ())


async def test_undone_by_another_run(serve: Serve, world: World, task_queue: str) -> None:
    """The undos of a child's steps say which `undo` did them, not that the run itself did."""
    async with serve(*FLOWS) as client:
        handle = await began(client, task_queue, Around)
        await asyncio.wait_for(handle.result(), 60)
        await undo(client, task_queue, handle)
        report = await fetch_report(client, handle.id)
    assert report.run is not None and report.run.undone_by is not None
    undos = {one.step: one.undo.in_run for one in report.walk() if one.undo}
    by = undos["last"]
    assert by is not None and by[0] == report.run.undone_by
    assert undos == dict.fromkeys(("one", "two", "last"), by)


@pytest.mark.parametrize("skipped", [False, True])
async def test_an_approval_held_after_the_pivot(
    serve: Serve, world: World, task_queue: str, skipped: bool
) -> None:
    """Rejected, held, retried and approved, or skipped: all of it is told; doctor finds it, and offers no way back."""
    async with serve(*FLOWS) as client:
        handle = await began(client, task_queue, after_the_pivot)
        while (await handle.query("status"))["steps"].get("go") != "waiting for approval":
            await asyncio.sleep(0.05)
        await handle.execute_update("reject", {"name": "go", "by": "zoe", "reason": "no"})
        await waits(handle, "held")
        held = await fetch_report(client, handle.id)
        findings = await found(client, handle)
        if skipped:
            await handle.execute_update("skip", {"step": "go", "by": "yan"})
        else:
            await handle.execute_update("retry", {"step": "go", "by": "yan"})
            again = child(await fetch_report(client, handle.id), "go")
            await handle.execute_update("approve", {"name": "go", "by": "xia"})
        await asyncio.wait_for(handle.result(), 60)
        report = await fetch_report(client, handle.id)
    why = "ApprovalRejected: approval 'go' rejected by zoe: no"
    assert [(one.kind, one.what, one.commands) for one in findings] == [
        ("held", f"go (approval) is held: {why}", commands(handle, "go", "retry", "skip"))
    ]
    assert stood(child(held, "go")) == [("held", False)]
    assert [line for line in status_tree(held).splitlines() if line.endswith(" go")] == ["+-- held: go"]
    go = child(report, "go")
    assert stood(go) == [("held", True)]
    if skipped:
        assert (go.outcome, go.skipped) == ("skipped", "skipped by yan")
        assert decided(go) == [("reject", "zoe"), ("skip", "yan")]
        assert status_tree(report).splitlines()[-1] == "+-- skipped: go"
    else:
        assert (again.outcome, again.error) == (None, None)
        assert (go.outcome, go.error, go.output) == ("done", None, {"name": "go", "by": "xia"})
        assert decided(go) == [("reject", "zoe"), ("retry", "yan"), ("approve", "xia")]


async def test_a_deadline_held_after_the_pivot(serve: Serve, world: World, task_queue: str) -> None:
    """Doctor finds it, with what the memo says; the flow's own report tells how long it was held, and who decided."""
    world.switch("hold-p")
    async with serve(*FLOWS) as client:
        handle = await began(client, task_queue, late)
        await waits(handle, "held")
        held = await fetch_report(client, handle.id)
        findings = await found(client, handle)
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await handle.execute_update("unwind", {"step": "deadline"})
        world.switch("go-p")
        await handle.execute_update("retry", {"step": "deadline", "by": "ann"})
        await asyncio.wait_for(handle.result(), 60)
        report = await fetch_report(client, handle.id)
    assert [(one.kind, one.step, one.what, one.commands) for one in findings] == [
        (
            "held",
            "deadline",
            "deadline (late@1.0.0) is held: the deadline of 0:00:01 has passed",
            commands(handle, "deadline", "retry", "skip"),
        )
    ]
    said = "InvalidInput: deadline comes after the pivot, from which there is no way back; retry or skip it"
    assert str(refused.value.cause) == said
    assert (stood(held), stood(report)) == ([("held", False)], [("held", True)])
    assert decided(report) == [("retry", "ann")]
    assert tree(report) == [
        ("", "flow", "done"),
        ("p", "operation", "done"),
        ("q", "operation", "done"),
    ]


async def test_held_in_a_leg(serve: Serve, world: World, task_queue: str) -> None:
    """What is held in a leg is named as updates name it, without the leg."""
    world.switch("fail-b")
    async with serve(a, b, HeldLegs) as client:
        handle = await began(client, task_queue, HeldLegs, 5)
        newest = client.get_workflow_handle(handle.id)
        await world.until("b", 10)
        await waits(newest, "held")
        report = await fetch_report(client, handle.id)
        await newest.execute_update("stop", {})
        await failure_of(handle)
    assert report.run is not None
    assert [(one.step, one.state) for one in report.run.waiting] == [("b", "held")]
    assert stood(child(report, "leg:1/b")) == [("held", False)]


async def test_a_cancelled_child(serve: Serve, world: World, task_queue: str) -> None:
    """It says that its parent cancelled it, in a whole sentence."""
    world.switch("hold-one")
    async with serve(*FLOWS) as client:
        handle = await began(client, task_queue, Around)
        await world.until("one")
        await handle.cancel()
        await failure_of(handle)
        report = await fetch_report(client, handle.id)
    (cancel,) = child(report, "kid").decisions
    assert report.run is not None
    assert (cancel.action, cancel.reason) == (
        "cancel",
        f"Cancel requested by workflow with run id {report.run.run_id}",
    )


async def test_what_only_the_memo_tells(dev_address: str) -> None:
    """A run that says it is held, and whose history doesn't say what is, is listed with the memo's reason."""
    client = await Client.connect(dev_address)
    memo = {"counterstep": {"state": "held", "reason": "step: down"}}
    handle = await client.start_workflow("flow@1.0.0", id=new_id(), task_queue="nobody", memo=memo)
    findings = await found(client, handle)
    await handle.terminate()
    assert [(one.kind, one.step, one.what, one.commands) for one in findings] == [
        (
            "held",
            None,
            "flow@1.0.0 is held: step: down",
            (
                f"temporal workflow query --workflow-id {handle.id} --type status",
                f"counterstep report {handle.id}",
            ),
        )
    ]


async def test_no_stop_is_offered_for_an_undo(serve: Serve, world: World, task_queue: str) -> None:
    """An undo that is tried again while the run unwinds: a stop would change nothing, so doctor doesn't offer it."""
    world.switch("fail-c")
    world.switch("fail-undo-a")
    async with serve(stubborn, undoing_for_long) as client:
        handle = await began(client, task_queue, undoing_for_long)
        await eventually(lambda: world.calls.count(("undo a", "done")) > 2)
        findings = await found(client, handle, attempts=2)
        await handle.terminate()
    assert [(one.kind, one.step, one.commands) for one in findings] == [
        (
            "retrying",
            "a.undo",
            (f"temporal activity pause --activity-id a.undo --workflow-id {handle.id}",),
        )
    ]
