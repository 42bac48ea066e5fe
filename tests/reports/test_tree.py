"""The tree from history: everything that a history says of a flow, in its place."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import Any

from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.converter import DataConverter

from activities import EmptyInput
from counterstep.reports import Report, fetch_family, fetch_report, joined, report_of, tree_json
from flows import start
from tests.conftest import Serve
from tests.flows.running import Scripts, scripts
from tests.flows.script import Inner, do
from tests.longrunning.operations import Journey, Short, a, b, keyed
from tests.longrunning.operations import Parent as LongParent
from tests.reports.flows import DEFINITIONS, Parent, Tries, Waits, careful, gated, plain
from tests.reports.looking import child, row, rows, undos
from tests.support import World, new_id, reset
from tests.undoing import undo
from tests.worker.test_plugin import Mirror

__all__ = ["scripts"]
AnyReport = Report[Any, Any]


async def began(client: Client, queue: str, flow: Any, input: Any = EmptyInput()) -> WorkflowHandle[Any, Any]:
    return await start(client, flow, input, id=new_id(), task_queue=queue)


async def ended(handle: WorkflowHandle[Any, Any]) -> None:
    """Wait for the end of a run, whatever it is."""
    try:
        await asyncio.wait_for(handle.result(), 60)
    except WorkflowFailureError:
        return


async def shows(handle: WorkflowHandle[Any, Any], step: str, state: str) -> None:
    """Wait until a step is in a state."""
    while (await handle.query("status"))["steps"].get(step) != state:
        await asyncio.sleep(0.02)


def dumped(report: AnyReport) -> str:
    return json.dumps(tree_json(report))


async def test_retries_remote_and_local(serve: Serve, world: World, task_queue: str) -> None:
    """Both kinds tell attempts, worker, times and the failure before the last; the local one each execution by itself."""
    async with serve(*DEFINITIONS) as client:
        handle = await began(client, task_queue, Tries, 4)
        await handle.result()
        remote, local = (await fetch_report(client, handle.id)).children
    for step in (remote, local):
        assert (step.input, step.output, step.attempts) == (4, 4, 3)
        assert step.worker is not None and step.worker == remote.worker
        assert step.last_failure is not None and str(step.last_failure) == "RuntimeError: not yet, 2"
        assert step.scheduled and step.started and step.finished
        assert step.scheduled <= step.started <= step.finished
    assert remote.earlier == ()
    assert [(e.attempts, str(e.error)) for e in local.earlier] == [
        (1, "RuntimeError: not yet, 1"),
        (1, "RuntimeError: not yet, 2"),
    ]


async def test_waits_and_approvals_of_a_sequence(serve: Serve, world: World, task_queue: str) -> None:
    """A wait with its seconds; approvals with who and why, in call order; one without a timeout shows once decided."""
    async with serve(*DEFINITIONS) as client:
        handle = await began(client, task_queue, Waits, 1)
        await shows(handle, "go-live", "waiting for approval")
        open_ = await fetch_report(client, handle.id)
        await handle.execute_update("approve", {"name": "go-live", "by": "ann", "reason": "looks good"})
        await shows(handle, "really", "waiting for approval")
        await handle.execute_update("reject", {"name": "really", "by": "bob", "reason": "too late"})
        await ended(handle)
        report = await fetch_report(client, handle.id)
    assert rows(open_) == [
        ("a", "operation", "done"),
        ("soak", "wait", "done"),
        ("go-live", "approval", None),
    ]
    assert rows(report)[1:] == [
        ("soak", "wait", "done"),
        ("go-live", "approval", "done"),
        ("really", "approval", "failed"),
    ]
    soak, live, really = report.children[1:]
    assert (soak.input, live.output) == (
        {"seconds": 0.02},
        {"name": "go-live", "by": "ann", "reason": "looks good"},
    )
    assert [(d.action, d.by, d.reason) for d in live.decisions] == [("approve", "ann", "looks good")]
    assert str(really.error) == "ApprovalRejected: approval 'really' rejected by bob: too late"
    assert report.child_operation_reports == [report.children[0].id]
    assert report.run is not None and (report.run.state, report.run.status) == ("rolled_back", "failed")


async def test_a_saga_with_a_wait_an_approval_and_a_subsaga(
    serve: Serve, world: World, task_queue: str
) -> None:
    """An approval without a timeout is known from the plan; a subsaga has its steps, its version and its result."""
    async with serve(*DEFINITIONS) as client:
        handle = await began(client, task_queue, gated)
        await shows(handle, "go", "waiting for approval")
        await shows(handle, "pause", "done")
        open_ = await fetch_report(client, handle.id)
        await handle.execute_update("approve", {"name": "go", "by": "ann"})
        await handle.result()
        report = await fetch_report(client, handle.id)
    assert child(open_, "go").scheduled == child(open_, "first").finished
    assert row(child(open_, "go")) == ("go", "approval", None)
    assert sorted(rows(report)) == [
        ("first", "operation", "done"),
        ("go", "approval", "done"),
        ("inner", "subsaga", "done"),
        ("inner/x", "operation", "done"),
        ("inner/y", "operation", "done"),
        ("last", "operation", "done"),
        ("pause", "wait", "done"),
    ]
    inner = child(report, "inner")
    assert inner.output == {"id": 1, "name": "inner/y"}
    assert [(step.name, step.kind) for step in report.plan] == [
        ("first", "operation"),
        ("pause", "wait"),
        ("go", "approval"),
        ("inner/x", "operation"),
        ("inner/y", "operation"),
        ("inner", "subsaga"),
        ("last", "operation"),
    ]


async def test_what_an_operator_decided(serve: Serve, world: World, task_queue: str) -> None:
    """Retry, a refused skip, a skip with an output, a parked undo retried and skipped: each stands where it belongs."""
    for switch in ("fail-b", "fail-c", "fail-undo-a"):
        world.switch(switch)
    async with serve(*DEFINITIONS) as client:
        handle = await began(client, task_queue, careful)
        await shows(handle, "b", "held")
        held = await fetch_report(client, handle.id)
        await handle.execute_update("retry", {"step": "b", "by": "ann", "reason": "once more"})
        await shows(handle, "b", "held")
        for output in ({"id": "no"}, {"id": 9, "name": "b"}):
            try:
                await handle.execute_update(
                    "skip", {"step": "b", "by": "bob", "reason": "by hand", "output": output}
                )
            except Exception as error:
                assert output == {"id": "no"}, error
        await shows(handle, "c", "held")
        await handle.execute_update("unwind", {"step": "c", "by": "cy"})
        await shows(handle, "a", "parked")
        await handle.execute_update("skip", {"step": "a", "by": "dee"})
        await ended(handle)
        report = await fetch_report(client, handle.id)
    assert held.run is not None and held.run.state == "held"
    assert [(d.why, d.until) for d in child(held, "b").delays] == [("held", child(held, "b").delays[0].until)]
    a, b, c = report.children
    assert (b.outcome, b.output, b.skipped) == ("skipped", {"id": 9, "name": "b"}, "skipped by bob: by hand")
    assert [(d.action, d.by) for d in b.decisions] == [("retry", "ann"), ("skip", "bob")]
    assert (b.attempts, len(b.earlier), [d.why for d in b.delays]) == (2, 1, ["held", "held"])
    assert [(d.action, d.by) for d in c.decisions] == [("unwind", "cy")]
    assert a.decisions == () and a.undo is not None
    assert [(d.action, d.by) for d in a.undo.decisions] == [("skip", "dee")]
    assert (a.undo.outcome, a.undo.skipped, [d.why for d in a.undo.delays]) == (
        "skipped",
        "skipped by dee",
        ["parked"],
    )


async def test_how_a_run_was_asked_to_end(serve: Serve, world: World, task_queue: str) -> None:
    """Pause, unpause, stop with who and why; a terminate with its reason; a cancel."""
    world.switch("hold-b")
    async with serve(*DEFINITIONS) as client:
        stopped, ended_, cancelled = [await began(client, task_queue, plain) for _ in range(3)]
        for handle in (stopped, ended_, cancelled):
            await shows(handle, "b", "running")
        await stopped.execute_update("pause", {"by": "ann", "reason": "lunch"})
        paused = await fetch_report(client, stopped.id)
        await stopped.execute_update("unpause", {"by": "ann"})
        await stopped.execute_update("stop", {"by": "bob", "reason": "wrong stack"})
        await ended_.terminate(reason="enough")
        await cancelled.cancel()
        await ended(stopped)
        await ended(cancelled)
        world.switch("go-b")
        reports = [await fetch_report(client, handle.id) for handle in (stopped, ended_, cancelled)]
    assert paused.run is not None and paused.run.state == "paused"
    assert [(d.action, d.by, d.reason) for d in reports[0].decisions] == [
        ("pause", "ann", "lunch"),
        ("unpause", "ann", None),
        ("stop", "bob", "wrong stack"),
    ]
    assert [(d.action, d.reason) for d in reports[1].decisions] == [("terminate", "enough")]
    assert [d.action for d in reports[2].decisions] == ["cancel"]
    assert [r.run.state for r in reports if r.run] == ["rolled_back", "terminated", "cancelled"]


def shape(report: AnyReport) -> Any:
    """Give what doesn't depend on when and where it ran."""
    return [
        (r.step, r.input, r.result, r.outcome, r.attempts, r.undo and (r.undo.outcome, r.undo.attempts))
        for r in report.children
    ]


async def test_runs_continued_as_new_are_one_tree(
    serve: Serve, world: World, task_queue: str, monkeypatch: Any
) -> None:
    """The same tree as in one run, forward and unwound; each run id names it; times of all runs are there."""
    world.switch("fail-d")
    async with serve(*DEFINITIONS) as client:
        whole = await began(client, task_queue, plain)
        await ended(whole)
        monkeypatch.setattr("flows._full.CONTINUE_AT", 16)
        handle = await began(client, task_queue, plain)
        await ended(handle)
        one = await fetch_report(client, whole.id)
        report = await fetch_report(client, handle.id)
        assert report.run is not None and len(report.run.runs) >= 3
        by_each = {dumped(await fetch_report(client, handle.id, run_id)) for run_id in report.run.runs}
        family = await fetch_family(client, handle.id)
    assert by_each == {dumped(report)}
    assert sorted(shape(report)) == sorted(shape(one))
    assert (report.input, report.run.origin, report.run.state) == ({}, report.run.runs[0], "rolled_back")
    assert all(r.scheduled and r.finished for r in report.walk())
    assert undos(report) == {"a": "done", "b": "done", "c": "done"}
    alone = report_of(joined(family.runs[-1:]), client.namespace)
    assert sorted((r.step, r.outcome) for r in alone.children) == sorted(
        (r.step, r.outcome) for r in one.children
    )
    assert {r.id for r in alone.children} <= {r.id for r in report.children}
    assert undos(alone) == undos(report)


async def test_undo_runs_are_joined(serve: Serve, world: World, task_queue: str) -> None:
    """A run that was undone later: its steps have the undos, each saying which run did it; a second try counts on."""
    async with serve(*DEFINITIONS) as client:
        handle = await began(client, task_queue, plain)
        await handle.result()
        before = await fetch_report(client, handle.id)
        world.switch("fail-undo-b")
        try:
            await undo(client, task_queue, handle)
        except WorkflowFailureError:
            world.switch("fail-undo-b", on=False)
        await undo(client, task_queue, handle)
        report = await fetch_report(client, handle.id)
    assert before.run is not None and before.run.undone_by is None and undos(before) == {}
    assert report.run is not None and report.run.undone_by == f"undo:{handle.id}:{report.run.origin}"
    assert undos(report) == dict.fromkeys("abcd", "done")
    assert [r.undo.attempts for r in report.children if r.undo] == [1, 4, 1, 1]
    assert {r.undo.in_run[0] for r in report.children if r.undo and r.undo.in_run} == {report.run.undone_by}
    assert [r.id for r in report.walk()] == [r.id for r in before.walk()]


async def test_a_child_is_a_child(serve: Serve, world: World, task_queue: str) -> None:
    """A child workflow's own tree stands under its parent, with input, output and steps."""
    async with serve(*DEFINITIONS) as client:
        handle = await began(client, task_queue, Parent, 3)
        assert await handle.result() == 6
        report = await fetch_report(client, handle.id)
        own = await fetch_report(client, f"{handle.id}-child")
    assert rows(report) == [
        ("a", "operation", "done"),
        (f"{handle.id}-child", "child", "done"),
        ("local-a", "operation", "done"),
    ]
    found = report.children[1]
    assert (found.id, found.input, found.output, str(found.definition)) == (own.id, 3, 6, "child@1.0.0")
    assert found.run is not None and found.run.workflow_id == f"{handle.id}-child"


async def test_what_a_parent_undid_of_its_children(scripts: Scripts, world: World) -> None:
    """Steps of a child, and of its child, have the undos that the parent did; ids are those of the live reports."""
    world.switch("fail-c")
    deep = do("inner", calls=[do("a", 5), do("inner", calls=[do("b", 2)], child=True)], child=True)
    async with scripts(Inner) as run:
        await run.fails(do("a", 1), deep, do("c", 3))
        report = await fetch_report(run.client, run.last.id)
        live = await run.last.query("report")
        child_live = await run.client.get_workflow_handle(f"{run.last.id}/inner").query("report")
    inner = report.children[1]
    assert rows(report) == [
        ("a", "operation", "done"),
        ("inner", "child", "done"),
        ("a", "operation", "done"),
        ("inner", "child", "done"),
        ("b", "operation", "done"),
        ("c", "operation", "failed"),
    ]
    done = [(r.step, r.undo.outcome, r.undo.in_run and r.undo.in_run[0]) for r in report.walk() if r.undo]
    assert done == [("a", "done", None), ("a", "done", run.last.id), ("b", "done", run.last.id)]
    assert [r.id for r in report.children] == [row["id"] for row in live["children"]]
    assert [r.id for r in (*inner.children, inner)] == [
        row["id"] for row in (*child_live["children"], child_live)
    ]


async def test_the_legs_of_a_long_running_operation(skipping: Serve, world: World, task_queue: str) -> None:
    """One tree with a child for each leg; steps of one name in each; the newest run alone knows the same steps."""
    world.switch("fail-b")
    async with skipping(a, b, Journey) as client:
        handle = await began(client, task_queue, Journey, 7)
        await ended(handle)
        report = await fetch_report(client, handle.id)
        family = await fetch_family(client, handle.id)
    assert rows(report) == [
        ("leg:0", "leg", "done"),
        ("leg:0/a", "operation", "done"),
        ("leg:1", "leg", "done"),
        ("leg:1/a", "operation", "done"),
        ("leg:1/wait", "wait", "done"),
        ("leg:2", "leg", "done"),
        ("leg:2/a", "operation", "done"),
        ("leg:3", "leg", "failed"),
        ("leg:3/b", "operation", "failed"),
    ]
    assert undos(report) == {"leg:0/a": "done", "leg:1/a": "done", "leg:2/a": "done"}
    alone = report_of(joined(family.runs[-1:]), client.namespace)
    steps = [r for r in report.walk() if r.kind == "operation"]
    assert [(r.step, r.id) for r in alone.walk() if r.kind == "operation"] == [(r.step, r.id) for r in steps]
    assert undos(alone) == undos(report)


async def test_a_run_that_was_reset(serve: Serve, world: World, task_queue: str) -> None:
    """Its tree is that of its own history, and says which run it was reset from."""
    async with serve(*DEFINITIONS) as client:
        handle = await began(client, task_queue, plain)
        await handle.result()
        first = await fetch_report(client, handle.id)
        after = await reset(client, handle, 11)
        await ended(after)
        report = await fetch_report(client, handle.id)
    assert first.run is not None and report.run is not None
    assert report.run.reset_from == first.run.run_id != report.run.run_id
    assert (report.run.origin, rows(report)) == (first.run.origin, rows(first))
    assert [r.id for r in report.walk()] == [r.id for r in first.walk()]


async def test_values_that_are_encoded_stay_so(serve: Serve, world: World, task_queue: str) -> None:
    """Without the module's codec: steps, times and outcomes, and no value; with it: everything."""
    mirrored = dataclasses.replace(DataConverter.default, payload_codec=Mirror())
    world.switch("fail-d")
    async with serve(*DEFINITIONS, data_converter=mirrored) as client:
        handle = await began(client, task_queue, plain)
        await ended(handle)
        local = await began(client, task_queue, Parent, 3)
        await local.result()
        with_codec = await fetch_report(client, handle.id)
        plain_client = await Client.connect(client.service_client.config.target_host)
        without = await fetch_report(plain_client, handle.id)
        with_local = await fetch_report(plain_client, local.id)
    assert rows(without) == rows(with_codec)
    assert undos(without) == undos(with_codec) == {"a": "done", "b": "done", "c": "done"}
    assert with_codec.children[0].input == {"number": 1}
    hidden = {"unreadable": "mirror"}
    assert (without.children[0].input, without.children[0].output) == (hidden, hidden)
    assert child(with_local, "local-a").output == hidden


async def test_undos_of_a_long_running_childs_steps(serve: Serve, world: World, task_queue: str) -> None:
    """What a parent undid of its long-running child stands at the steps of each leg, the last among them."""
    world.switch("fail-after")
    async with serve(keyed, Short, LongParent) as client:
        handle = await began(client, task_queue, LongParent, 2)
        await ended(handle)
        report = await fetch_report(client, handle.id)
    assert [(one.step, one.kind) for one in report.children] == [("short", "child"), ("after", "operation")]
    legs = child(report, "short").children
    assert [undos(leg) for leg in legs] == [{"leg:0/same": "done"}, {"leg:1/same": "done"}]
