"""A step that was `unknown` and edited: undone, run again, and in place; its undo is that of the execution before."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle

from activities import Status
from activities._settled import Settled
from activities._wire import StepHeader
from counterstep._findings import _in_place
from counterstep.reports import (
    Report,
    fetch_report,
    mermaid,
    spans_of,
    status_tree,
    tree_json,
    workflow_report,
)
from counterstep.reports._joined import joined
from counterstep.reports._run_history import RunHistory, StepHistory
from tests.conftest import Serve
from tests.reports.looking import child
from tests.reports.test_views import shown
from tests.sagas.operations import work
from tests.sagas.test_holding import begin, holding, shows
from tests.support import World
from tests.undoing import undo

EARLIER = "undo before it ran again"


async def _edited(client: Client, world: World, queue: str) -> WorkflowHandle[Any, Any]:
    """b is `unknown` and held; edited, it is undone and done anew; c fails and is held."""
    world.switch("hang-b")
    world.switch("fail-c")
    handle = await begin(client, holding, queue)
    await shows(handle, "b", "held")
    world.switch("hang-b", on=False)
    await handle.execute_update("edit", {"step": "b", "input": {"number": 9}, "by": "ann"})
    await shows(handle, "c", "held")
    return handle


def _undos(report: Report[Any, Any]) -> list[tuple[str, str | None]]:
    spans = [span for span in spans_of(report) if span.name.startswith("undo ")]
    assert len({span.context.span_id for span in spans}) == len(spans)
    return [(span.name, f"{span.context.span_id:x}") for span in spans]


async def test_an_edited_step_is_not_undone(serve: Serve, world: World, task_queue: str) -> None:
    """Once b ran again it is done and in place, in every view and for doctor; the undo before that stands by itself."""
    async with serve(work, holding) as client:
        handle = await _edited(client, world, task_queue)
        world.switch("fail-c", on=False)
        await handle.execute_update("retry", {"step": "c"})
        await handle.result()
        report = await fetch_report(client, handle.id)
    b = child(report, "b")
    assert (b.outcome, b.undo, [one.outcome for one in b.earlier_undos]) == ("done", None, ["done"])
    assert [(one.action, one.by) for one in b.decisions] == [("edit", "ann")]
    assert '["b<br/>done"]' in mermaid(report)
    assert "+-- done: b" in status_tree(report)
    assert _in_place(b)
    told = tree_json(b)
    assert (told["undo"], [one["input"]["number"] for one in told["earlierUndos"]]) == (None, [1])
    assert [line.strip("│├└─ ") for line in shown(report) if EARLIER in line] == [f"{EARLIER}  undone"]
    assert [row.step_id for row in workflow_report(report).step_reports] == ["a", "b", "c"]
    assert [name for name, _ in _undos(report)] == ["undo b"]


async def test_a_later_undo_is_told_by_itself(serve: Serve, world: World, task_queue: str) -> None:
    """What `undo` undoes afterwards is one undo, of one attempt; the span of the undo before the edit stays as it was."""
    async with serve(work, holding) as client:
        handle = await _edited(client, world, task_queue)
        await handle.terminate()
        before = await fetch_report(client, handle.id)
        await undo(client, task_queue, handle.id)
        after = await fetch_report(client, handle.id)
    assert (child(before, "b").undo, [name for name, _ in _undos(before)]) == (None, ["undo b"])
    b = child(after, "b")
    assert b.undo is not None and b.undo.in_run is not None
    assert (b.undo.outcome, b.undo.attempts, b.undo.earlier, b.undo.input) == (
        "done",
        1,
        (),
        {"number": 9},
    )
    assert [(one.attempts, one.in_run) for one in b.earlier_undos] == [(1, None)]
    assert '["b<br/>undone"]' in mermaid(after)
    undos = _undos(after)
    assert sorted(name for name, _ in undos) == ["undo a", "undo b", "undo b"]
    assert _undos(before)[0] in undos


async def test_unwound_after_an_edit(serve: Serve, world: World, task_queue: str) -> None:
    """Unwinding in the same run is told by itself too, and not held for what came before the edit."""
    async with serve(work, holding) as client:
        handle = await _edited(client, world, task_queue)
        held = await fetch_report(client, handle.id)
        await handle.execute_update("unwind", {"step": "c", "by": "bob"})
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        report = await fetch_report(client, handle.id)
    assert (child(held, "b").outcome, child(held, "b").undo) == ("done", None)
    b = child(report, "b")
    assert b.undo is not None and (b.undo.outcome, b.undo.attempts, b.undo.decisions) == ("done", 1, ())
    assert [(one.action, one.by) for one in b.decisions] == [("edit", "ann")]
    assert [row.step_id for row in workflow_report(report).step_reports] == ["a", "b", "c", "c", "b", "a"]


def test_an_undo_is_over_in_whichever_run_its_step_ran_again() -> None:
    """Undone in one run, done anew and undone in the next, of a flow that went on as new: two undos, each by itself."""
    at = datetime(2026, 1, 2, tzinfo=UTC)
    made = RunHistory("f@1.0.0", "w", "r1", "r1", "r1", {}, at, status="continued_as_new", events=10)
    header = StepHeader(run="r1")
    step = StepHistory("b", "work@1.0.0", header, ({},), at, 5, open=False, last=5, attempts=1)
    undone = replace(step, type="work@1.0.0/undo", order=7, last=7, ended=Settled(Status.DONE))
    again = replace(undone, order=6, last=6)
    first = replace(made, steps=(step, undone))
    second = replace(made, run_id="r2", status="failed", steps=(replace(step, order=3, last=3), again))
    for runs, undos in (
        ((first, replace(second, steps=second.steps[:1])), [(7, 13)]),
        ((first, second), [(7, 13), (16, None)]),
    ):
        whole = joined(runs)
        assert [(undo.order, undo.until) for undo in whole.undos_of("b")] == undos
        assert [undo.attempts for undo in whole.undos_of("b")] == [1] * len(undos)
