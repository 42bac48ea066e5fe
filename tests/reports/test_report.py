"""A report: its output, its children, its id."""

from __future__ import annotations

from typing import Any

import pytest

from activities import Definition, NoOutput, Status
from activities._wire import Identity
from counterstep.reports import ExecutionSeries, Report, report_id
from tests.reports.making import failed, names, nested, report


def test_an_output_is_what_was_returned() -> None:
    """``None`` is an output too."""
    assert [report("a", result=(value,)).output for value in (2, None, 0)] == [2, None, 0]


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (failed("a"), "a (a@1.0.0) has no output: RuntimeError: a down"),
        (report("a", result=(), outcome=None), "a (a@1.0.0) has no output: it hasn't ended"),
        (
            report("a", result=(), outcome=Status.SKIPPED, skipped="nothing to do"),
            "a (a@1.0.0) has no output: nothing to do",
        ),
        (failed("a", step=""), "a@1.0.0 (a@1.0.0) has no output: RuntimeError: a down"),
    ],
)
def test_no_output_says_why(made: Report[Any, Any], message: str) -> None:
    """Asking a report without an output is ``NoOutput``: failed, running or skipped."""
    with pytest.raises(NoOutput) as caught:
        _ = made.output
    assert caught.value.message == message


def test_post_order() -> None:
    """Children come first, each once, the flow last."""
    assert names(list(nested().walk())) == ["op1", "op2", "inner", "op3", "outer"]


def test_child_ids() -> None:
    """An operation has none, a flow its direct children's, a flow without steps an empty list."""
    assert report("a").child_operation_reports is None
    assert nested().child_operation_reports == ["id-op1", "id-inner", "id-op3"]
    assert report("s", flow=True).child_operation_reports == []


def test_answered_calls_are_no_children() -> None:
    """What an earlier run did isn't a child of the run that asked for it again."""
    flow = report("s", report("a", answered_from=("before", "run")), report("b"))
    assert flow.child_operation_reports == ["id-b"]


def test_report_ids() -> None:
    """The same for the same step, whatever its attempts; another for each part of its identity."""
    base = Identity(namespace="default", workflow="w", origin="r", step="a")
    assert report_id(base) == report_id(base.model_copy())
    changes: list[dict[str, Any]] = [
        {"namespace": "n"},
        {"workflow": "w2"},
        {"origin": "r2"},
        {"leg": 1},
        {"step": "b"},
    ]
    assert len({report_id(base), *(report_id(base.model_copy(update=change)) for change in changes)}) == 6
    assert (
        report_id(base) == "4c158ce7-4f06-50c8-9d6f-60b9d5ae2e90"
    )  # recorded nowhere, but people keep it: it must never change


def test_a_series() -> None:
    """Id and order, compared by value."""
    assert ExecutionSeries("vms", 2) == ExecutionSeries("vms", 2) != ExecutionSeries("vms", 3)


def test_reports_are_values() -> None:
    """Frozen, and equal when their fields are; the definition's description is no part of that."""
    assert report("a") == report("a", definition=Definition("a", "1.0.0", "other words"))
    with pytest.raises(AttributeError):
        report("a").id = "other"  # type: ignore[misc]
