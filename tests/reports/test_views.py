"""Views of a report: the seed's JSON, the whole tree, a tree for the terminal."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel, Field
from rich.console import Console

from activities import Definition, Failure, Status
from counterstep.reports import (
    Delay,
    ExecutionSeries,
    Report,
    execution_reports,
    page,
    render_tree,
    report_json,
    sequence_report_json,
    tree_json,
)
from counterstep.reports._page_data import page_data
from tests.reports.making import AT, failed, names, nested, report


class Network(BaseModel):
    cidr_block: str = Field(serialization_alias="cidrBlock")


def shown(made: Report[Any, Any]) -> list[str]:
    """Give the lines that a terminal shows."""
    console = Console(width=100, force_terminal=False)
    with console.capture() as capture:
        console.print(render_tree(made))
    return [line.rstrip() for line in capture.get().splitlines()]


def test_the_seeds_json_of_an_operation() -> None:
    """Exactly the seed's names, in its order; nothing for what isn't there but ``null``."""
    assert json.dumps(report_json(report("plus1"))) == (
        '{"id": "id-plus1", "definition": {"id": "plus1", "version": "1.0.0", "description": "Do plus1."}, '
        '"output": 2, "input": 1, "timestamp": "2026-01-02T03:04:05+00:00", "error": null, '
        '"childOperationReports": null}'
    )


def test_the_seeds_json_of_a_failure() -> None:
    """The error is an object with its message; the output is ``null``."""
    view = report_json(failed("a"))
    assert (view["error"], view["output"]) == ({"message": "a down"}, None)


def test_the_seeds_json_of_a_series_member() -> None:
    """``executionSeries`` is there for members only."""
    view = report_json(report("a", execution_series=ExecutionSeries("vms", 2)))
    assert view["executionSeries"] == {"id": "vms", "order": 2}
    assert "executionSeries" not in report_json(report("a"))


def test_the_seeds_json_of_flows() -> None:
    """A sequence without steps has an empty list, another the ids of its direct children."""
    empty = report("s", flow=True)
    assert report_json(empty)["childOperationReports"] == []
    assert report_json(nested())["childOperationReports"] == ["id-op1", "id-inner", "id-op3"]
    assert sequence_report_json(empty)["executionReports"] == [report_json(empty)]


def test_models_are_written_as_recorded() -> None:
    """By alias, as the operation sent them; big integers with all digits."""
    view = report_json(report("a", input=Network(cidr_block="10.0.0.0/8"), result=(16015286601757825753,)))
    assert view["input"] == {"cidrBlock": "10.0.0.0/8"}
    assert json.loads(json.dumps(view))["output"] == 16015286601757825753


def test_execution_reports_once_each() -> None:
    """Post-order: a sequence of one operation is [op, S]; nested flows come once."""
    assert names(execution_reports(report("S", report("op")))) == ["op", "S"]
    assert names(execution_reports(nested())) == ["op1", "op2", "inner", "op3", "outer"]


def test_execution_reports_with_the_seeds_duplicates() -> None:
    """Reports of a nested flow come once more for each flow around it."""
    assert names(execution_reports(nested(), duplicates=True)) == [
        "op1",
        "op2",
        "op2",
        "inner",
        "op3",
        "outer",
    ]
    deep = report("outer", report("mid", report("inner", report("op"))))
    assert names(execution_reports(deep, duplicates=True)) == [
        "op", "op", "inner", "op", "op", "inner", "mid", "outer",
    ]  # fmt: skip
    flat = report("S", report("a"), report("b"))
    assert names(execution_reports(flat, duplicates=True)) == ["a", "b", "S"]


def test_the_sequence_report() -> None:
    """The flow's own fields, and all execution reports beside them."""
    view = sequence_report_json(nested())
    assert {key: view[key] for key in report_json(nested())} == report_json(nested())
    assert [one["id"] for one in view["executionReports"]] == [
        "id-op1",
        "id-op2",
        "id-inner",
        "id-op3",
        "id-outer",
    ]
    twice = sequence_report_json(nested(), duplicates=True)["executionReports"]
    assert [one["id"] for one in twice] == ["id-op1", "id-op2", "id-op2", "id-inner", "id-op3", "id-outer"]


def test_a_failed_sequence_has_its_reports() -> None:
    """A, B!, S! with S's error and children."""
    flow = failed("S", report("A"), failed("B"))
    view = sequence_report_json(flow)
    assert names(execution_reports(flow)) == ["A", "B", "S"]
    assert [one["error"] for one in view["executionReports"]] == [
        None,
        {"message": "B down"},
        {"message": "S down"},
    ]
    assert view["childOperationReports"] == ["id-A", "id-B"]


def test_answered_calls_stay_out_of_the_seeds_view() -> None:
    """Resumed after B failed: the seed sees B, C, S; the tree shows A too, with the run it comes from."""
    flow = report("S", report("A", answered_from=("first", "run-1")), report("B"), report("C"))
    for duplicates in (False, True):
        assert names(execution_reports(flow, duplicates)) == ["B", "C", "S"]
    assert report_json(flow)["childOperationReports"] == ["id-B", "id-C"]
    answered = [(child["step"], child["answeredFrom"]) for child in tree_json(flow)["children"]]
    assert answered == [("A", ["first", "run-1"]), ("B", None), ("C", None)]
    assert shown(flow)[1] == "├── A  done  A@1.0.0  answered by run run-1 of first"


def test_the_whole_tree_as_json() -> None:
    """Everything a report holds, nested, with undo and causes."""
    error = Failure(type="RuntimeError", message="down", cause=Failure(type="KeyError", message="'x'"))
    undo = report("a", step="a", result=(), timestamp=AT)
    made = report(
        "S", report("a", undo=undo, attempts=3, worker="w", key="k", started=AT), failed("b", error=error)
    )
    view = tree_json(made)
    first, second = view["children"]
    assert (first["attempts"], first["worker"], first["key"], first["outcome"], first["started"]) == (
        3, "w", "k", "done", "2026-01-02T03:04:05+00:00",
    )  # fmt: skip
    assert (first["undo"]["outcome"], first["undo"]["undo"]) == ("done", None)
    assert second["error"] == {
        "type": "RuntimeError",
        "message": "down",
        "cause": {"type": "KeyError", "message": "'x'"},
    }
    assert json.loads(json.dumps(view)) == view


def test_the_tree_for_the_terminal() -> None:
    """One line a step: name, outcome, definition, attempts, first line of the root error; undos below."""
    error = Failure(
        type="Outer", message="o", cause=Failure(type="RuntimeError", message="c [red]down\nmore")
    )
    made = failed(
        "S",
        report("a", undo=report("a")),
        report("b", undo=failed("b")),
        report("in", report("x", undo=report("x", outcome=None), step="in/x")),
        report("n", outcome=Status.SKIPPED, undo=report("n", outcome=Status.SKIPPED)),
        report("q", outcome=Status.UNKNOWN, attempts=3),
        failed("c", error=error, attempts=1),
        report("r", outcome=None),
        step="",
    )  # fmt: skip
    assert shown(made) == [
        "S@1.0.0  failed  RuntimeError: S down",
        "├── a  done  a@1.0.0",
        "│   └── undo  undone",
        "├── b  done  b@1.0.0",
        "│   └── undo  not undone  RuntimeError: b down",
        "├── in  done  in@1.0.0",
        "│   └── in/x  done  x@1.0.0",
        "│       └── undo  undoing",
        "├── n  skipped  n@1.0.0",
        "│   └── undo  undone, nothing to do",
        "├── q  unknown  q@1.0.0  3 attempts",
        "├── c  failed  c@1.0.0  RuntimeError: c [red]down",
        "└── r  running  r@1.0.0",
    ]


@pytest.mark.parametrize("message", ["", "\n", "[/red]"])
def test_any_error_message_can_be_shown(message: str) -> None:
    """Empty, blank and markup-like messages don't break the tree."""
    made = failed("S", error=Failure(type="E", message=message), step="")
    assert shown(made)[0].startswith("S@1.0.0  failed  E: ".rstrip())


def test_the_tree_of_what_was_taken_over() -> None:
    """What answered says so; what failed in the earlier run answers nothing, and was taken over all the same."""
    before = ("run-1", "origin-1")
    made = report("S", report("a", answered_from=before), failed("b", answered_from=before), step="")
    assert shown(made) == [
        "S@1.0.0  done",
        "├── a  done  a@1.0.0  answered by run origin-1 of run-1",
        "└── b  failed  b@1.0.0  taken over from run origin-1 of run-1  RuntimeError: b down",
    ]
    rows = {row["full"]: row for row in page_data(made)["rows"]}
    assert (rows["a"]["answered"], "taken" in rows["a"]) == ("run-1", False)
    assert (rows["b"]["taken"], "answered" in rows["b"]) == ("run-1", False)


def test_the_tree_of_delays() -> None:
    """Pauses between attempts from a second on, in plain words; what an undo stood still; what a flow did."""

    def delay(why: str, seconds: float | None, expired: bool = False) -> Delay:
        until = None if seconds is None else AT + timedelta(seconds=seconds)
        return Delay(why, AT, until, timedelta(days=7), expired)

    pause = "next attempt"
    made = report(
        "S",
        report("a", delays=(delay(pause, 0.1, True), delay(pause, 120, True), delay(pause, None))),
        failed("b", delays=(delay("held", 604_800, True),), undo=report("b", delays=(delay("parked", 5),))),
        step="",
        delays=(delay("held", None),),
    )
    assert shown(made) == [
        "S@1.0.0  done",
        "├── held",
        "├── a  done  a@1.0.0",
        "│   ├── waited for 2 min before its next attempt",
        "│   └── waits before its next attempt",
        "└── b  failed  b@1.0.0  RuntimeError: b down",
        "    ├── held for 168 h 0 min, until its time was over",
        "    └── undo  undone",
        "        └── parked for 5.0 s",
    ]


def test_why_a_run_was_refused() -> None:
    """All lines of the flow's own error, and what was asked for, since nobody knows which version it would have been."""
    error = Failure(type="InvalidPlan", message="many can't be run, 2 mistakes:\na: none\nb: none")
    never = Definition("unresolved", "0.0.0", "many@^1")
    made = report("S", flow=True, definition=never, outcome=Status.FAILED, error=error, result=(), step="")
    assert shown(made) == [
        "many@^1  failed  InvalidPlan: many can't be run, 2 mistakes:",
        "a: none",
        "b: none",
    ]
    data = page_data(made)["flow"]
    assert (data["definition"], data.get("description"), "about" in data) == ("many@^1", "", False)
    assert "unresolved" not in page(made)
