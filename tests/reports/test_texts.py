"""The texts that the seeds have: saga log, status tree, WorkflowReport; and Mermaid."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from activities import Status
from counterstep.reports import (
    Delay,
    Kind,
    Planned,
    Report,
    RunInfo,
    StepReport,
    WorkflowReport,
    mermaid,
    saga_log,
    shape_of,
    state_of_step,
    status_tree,
    workflow_report,
)
from tests.reports.making import AT, failed, report

AnyReport = Report[Any, Any]


def at(second: int) -> dict[str, Any]:
    """Give the times of a step that takes one second."""
    moment = AT + timedelta(seconds=second)
    end = moment + timedelta(seconds=1)
    return {"scheduled": moment, "started": moment, "finished": end, "timestamp": end}


def ran(name: str, second: int, **values: Any) -> AnyReport:
    return report(name, **{**at(second), **values})


def undone(step: AnyReport, second: int, **values: Any) -> AnyReport:
    """Give a step with its undo."""
    return replace(step, undo=report(step.step, **{**at(second), "result": (), **values}))


def flow(*children: AnyReport, state: str = "completed", plan: Any = (), **values: Any) -> AnyReport:
    info = RunInfo("default", "run-1", "r", "r", "s@1.0.0", "completed", state, 10)
    planned = tuple(Planned(name, "operation", tuple(after)) for name, after in plan)
    return report("s", *children, flow=True, step="", run=info, plan=planned, **values)


DIAMOND = [("a", []), ("b", ["a"]), ("c", ["a"]), ("d", ["b", "c"])]


def test_the_saga_log_forward() -> None:
    """S66, G53: a, b done: head, direction, count, an empty line, four numbered events."""
    assert saga_log(flow(ran("a", 0), ran("b", 1))).split("\n") == [
        "SAGA LOG:",
        "saga id: run-1",
        "direction: forward",
        "events (4 total):",
        "",
        "001 N000 started",
        "002 N000 succeeded",
        "003 N001 started",
        "004 N001 succeeded",
    ]


def test_the_saga_log_unwinding() -> None:
    """S66: nodes keep their plan numbers, whatever order they ran in; undos are named by how they ended."""
    c = replace(failed("c"), **at(1))
    steps = [undone(ran("b", 1), 4, outcome=Status.FAILED), c, undone(ran("a", 0), 5)]
    text = saga_log(flow(*steps, state="stuck", plan=[("a", []), ("b", ["a"]), ("c", ["a"]), ("d", ["c"])]))
    assert text.split("\n")[2:] == [
        "direction: unwinding",
        "events (10 total):",
        "",
        "001 N000 started",
        "002 N000 succeeded",
        "003 N001 started",
        "004 N002 started",
        "005 N001 succeeded",
        "006 N002 failed",
        "007 N001 undo_started",
        "008 N001 undo_failed",
        "009 N000 undo_started",
        "010 N000 undo_finished",
    ]


def test_the_status_tree() -> None:
    """S47: a, (b ‖ c), d: six lines; b and c one level in; what hasn't begun says so."""
    tree = status_tree(flow(ran("a", 0), ran("b", 1), ran("c", 1, outcome=None, finished=None), plan=DIAMOND))
    assert tree.split("\n") == [
        "+ saga execution: run-1",
        "+-- done: a",
        "+-- (parallel actions):",
        "        +-- done: b",
        "        +-- running: c",
        "+-- not started: d",
    ]


def test_states_of_steps() -> None:
    """One word each, the same as in the query status."""
    held = Delay("held", AT, None, timedelta(days=7))
    steps = {
        "done": ran("a", 0),
        "running": ran("a", 0, outcome=None),
        "failed": failed("a"),
        "held": failed("a", delays=(held,)),
        "waiting": ran("a", 0, outcome=None, kind=Kind.WAIT),
        "interrupted": ran("a", 0, outcome=Status.SKIPPED, kind=Kind.WAIT),
        "waiting for approval": ran("a", 0, outcome=None, kind=Kind.APPROVAL),
        "approved": ran("a", 0, kind=Kind.APPROVAL),
        "not approved": failed("a", kind=Kind.APPROVAL),
        "undone": undone(ran("a", 0), 1),
        "undoing": undone(ran("a", 0), 1, outcome=None),
        "not undone": undone(ran("a", 0), 1, outcome=Status.FAILED),
        "parked": undone(ran("a", 0), 1, outcome=Status.FAILED, delays=(replace(held, why="parked"),)),
    }
    assert {state: state_of_step(step) for state, step in steps.items()} == {s: s for s in steps}


def test_the_shape_of_what_happened() -> None:
    """A flow without a plan: a step comes after what had ended when it was asked for, and nothing else had followed."""
    steps = [
        ran("a", 0),
        ran("b", 1),
        ran("c", 1),
        ran("b2", 2, finished=AT + timedelta(seconds=9)),
        ran("d", 9),
    ]
    nodes = shape_of(flow(*steps))
    assert [(node.name, node.after, node.level) for node in nodes] == [
        ("a", (), 0),
        ("b", ("a",), 1),
        ("c", ("a",), 1),
        ("b2", ("b", "c"), 2),
        ("d", ("b2",), 3),
    ]


def test_mermaid() -> None:
    """The plan with its edges, each node with its state and colour; a name can't break out of its label."""
    text = mermaid(flow(replace(ran("a", 0), step='a"]:::x'), plan=[('a"]:::x', []), ("b", ['a"]:::x'])]))
    assert text.split("\n")[:4] == [
        "flowchart TD",
        '  n0["a#quot;]:::x<br/>done"]:::done',
        '  n1["b<br/>not started"]:::idle',
        "  n0 --> n1",
    ]


def rows(made: WorkflowReport) -> list[tuple[str, str, str]]:
    return [(row.step_id, row.action.value, row.status.value) for row in made.step_reports]


def test_workflow_report_of_a_success() -> None:
    """A1: [stop, fetch, notify skips]: three reports, SUCCESS, all of them in the sequence."""
    skipped = ran("notify", 2, outcome=Status.SKIPPED, skipped="nobody")
    made = workflow_report(flow(ran("stop", 0), ran("fetch", 1), skipped))
    assert rows(made) == [
        ("stop", "run", "SUCCESS"),
        ("fetch", "run", "SUCCESS"),
        ("notify", "run", "SKIPPED"),
    ]
    assert (made.status, made.step_sequence) == ("SUCCESS", ("stop", "fetch", "notify"))


def test_workflow_report_of_a_failure() -> None:
    """A4, A5: stop's undo fails, notify skipped: four runs, four rollbacks backwards; steps that never ran are listed."""
    steps = [
        undone(ran("stop", 0), 6, outcome=Status.FAILED),
        undone(ran("fetch", 1), 5),
        ran("notify", 2, outcome=Status.SKIPPED),
        undone(replace(failed("restart"), **at(3)), 4),
    ]
    names = ["stop", "fetch", "notify", "restart", "never"]
    made = workflow_report(
        flow(*steps, outcome=Status.FAILED, state="stuck", plan=[(name, []) for name in names])
    )
    assert rows(made)[4:] == [
        ("restart", "rollback", "SUCCESS"),
        ("notify", "rollback", "SKIPPED"),
        ("fetch", "rollback", "SUCCESS"),
        ("stop", "rollback", "FAILED"),
    ]
    assert (made.status, made.step_sequence, len(made.step_reports)) == ("FAILED", tuple(names), 8)


def test_workflow_report_keys() -> None:
    """A39: the seed's keys, in JSON and in YAML; metadata as base64."""
    made = workflow_report(flow(ran("a", 0, metadata={"note": "aGk="})))
    assert made.step_reports[0].metadata == {"note": b"hi"}
    shown = yaml.safe_load(made.to_yaml())
    assert list(shown) == [
        *("workflow_id", "start_time", "end_time", "status", "step_sequence", "step_reports"),
    ]
    assert list(shown["step_reports"][0]) == [
        *("step_id", "action", "start_time", "end_time", "status", "reason", "metadata"),
    ]
    as_json = made.to_json()
    assert list(as_json) == ["workflowID", "startTime", "endTime", "status", "stepSequence", "stepReports"]
    assert list(as_json["stepReports"][0]) == [
        *("stepID", "action", "startTime", "endTime", "status", "reason", "metadata"),
    ]
    assert WorkflowReport.model_validate(as_json) == made == WorkflowReport.model_validate(shown)


@pytest.mark.parametrize(("field", "value"), [("status", "DONE"), ("action", "undo")])
def test_an_unknown_word_is_refused(field: str, value: str) -> None:
    """A59: a status or action that nobody knows is an error naming the field, never a default."""
    row = {"stepID": "a", "action": "run", "status": "SUCCESS", field: value}
    with pytest.raises(ValidationError) as refused:
        StepReport.model_validate(row)
    assert [error["loc"] for error in refused.value.errors()] == [(field,)]


def test_an_empty_flow_is_undefined() -> None:
    """A15: no steps: no reports, UNDEFINED."""
    made = workflow_report(flow())
    assert (made.status, made.step_sequence, made.step_reports) == ("UNDEFINED", (), ())
