"""Views of a report: the seed's JSON, our tree as JSON, a tree for the terminal."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pydantic_core
from rich.text import Text
from rich.tree import Tree

from activities import Status
from activities._json import Json
from counterstep.reports._report import Report

AnyReport = Report[Any, Any]
_COLOURS = {Status.DONE: "green", Status.FAILED: "red", Status.UNKNOWN: "magenta", Status.SKIPPED: "yellow"}


def report_json(report: AnyReport) -> dict[str, Json]:
    """Give a report with the seed's names and empties (seed operations: ``Report``)."""
    definition = report.definition
    view: dict[str, Json] = {
        "id": report.id,
        "definition": {
            "id": definition.id,
            "version": definition.version,
            "description": definition.description,
        },
        "output": _plain(report.result[0]) if report.result else None,
        "input": _plain(report.input),
        "timestamp": _iso(report.timestamp),
        "error": {"message": report.error.message} if report.error else None,
        "childOperationReports": report.child_operation_reports,
    }
    if report.execution_series is not None:
        view["executionSeries"] = {"id": report.execution_series.id, "order": report.execution_series.order}
    return view


def sequence_report_json(report: AnyReport, *, duplicates: bool = False) -> dict[str, Json]:
    """Give a flow's report with all execution reports, children first (seed operations: ``SequenceReport``).

    Args:
        report: of a flow.
        duplicates: list the reports of nested flows as the seed does, once for each flow around them.
    """
    return {
        **report_json(report),
        "executionReports": [report_json(r) for r in execution_reports(report, duplicates)],
    }


def execution_reports(report: AnyReport, duplicates: bool = False) -> list[AnyReport]:
    """Give all reports of an execution in post-order; answered calls are no children of who asked."""
    found: list[AnyReport] = []
    for child in report.children:
        if child.answered_from is not None:
            continue
        inner = execution_reports(child, duplicates)
        found += [*inner[:-1], *inner] if duplicates and child.is_flow else inner
    return [*found, report]


def tree_json(report: AnyReport) -> dict[str, Json]:
    """Give the whole tree as JSON, with everything a report holds."""
    view = report_json(report)
    view |= {
        "step": report.step,
        "outcome": report.outcome.value if report.outcome else None,
        "scheduled": _iso(report.scheduled),
        "started": _iso(report.started),
        "finished": _iso(report.finished),
        "attempts": report.attempts,
        "worker": report.worker,
        "key": report.key,
        "skipped": report.skipped,
        "error": report.error.model_dump(mode="json", exclude_none=True) if report.error else None,
        "answeredFrom": list(report.answered_from) if report.answered_from else None,
        "undo": tree_json(report.undo) if report.undo else None,
        "children": [tree_json(child) for child in report.children],
    }
    return view


def render_tree(report: AnyReport) -> Tree:
    """Draw a report for the terminal: one line a step, its outcome, its undo, its error."""
    tree = Tree(_line(report))
    _branches(tree, report)
    return tree


def _branches(tree: Tree, report: AnyReport) -> None:
    for child in report.children:
        branch = tree.add(_line(child))
        _branches(branch, child)
        if child.undo is not None:
            branch.add(_line(child.undo, "undo"))


def _line(report: AnyReport, name: str | None = None) -> Text:
    outcome = report.outcome
    if name == "undo":
        words = {Status.DONE: "undone", Status.SKIPPED: "undone, nothing to do"}
        state = words.get(outcome, "not undone") if outcome else "undoing"
    else:
        state = outcome.value if outcome else "running"
    line = Text(name or report.step or str(report.definition), style="bold")
    line.append(f"  {state}", style=_COLOURS.get(outcome, "cyan") if outcome else "cyan")
    if report.step and not name:
        line.append(f"  {report.definition}", style="dim")
    if report.answered_from is not None:
        line.append("  answered by run {1} of {0}".format(*report.answered_from), style="dim")
    if report.attempts and report.attempts > 1:
        line.append(f"  {report.attempts} attempts", style="yellow")
    if report.error is not None:
        line.append(f"  {str(report.error.root).splitlines()[0]}", style="red")
    return line


def _plain(value: Any) -> Json:
    return pydantic_core.to_jsonable_python(value, by_alias=True)


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()
