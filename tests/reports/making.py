"""Reports made by hand, for views and reporters."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from activities import Definition, Failure, Status
from counterstep.reports import Report

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
AnyReport = Report[Any, Any]


def report(name: str, *children: AnyReport, flow: bool = False, **values: Any) -> AnyReport:
    """Make the report of a step that went well: input 1, output 2, id ``id-NAME``."""
    made: AnyReport = Report(
        id=f"id-{name}",
        definition=Definition(name, "1.0.0", f"Do {name}."),
        step=name,
        input=1,
        outcome=Status.DONE,
        timestamp=AT,
        children=children,
        is_flow=flow or bool(children),
        result=(2,),
    )
    return replace(made, **values)


def failed(name: str, *children: AnyReport, **values: Any) -> AnyReport:
    """Make the report of a step that failed."""
    error = Failure(type="RuntimeError", message=f"{name} down")
    return report(name, *children, **{"outcome": Status.FAILED, "error": error, "result": (), **values})


def nested() -> AnyReport:
    """Give outer{op1, inner{op2}, op3}."""
    return report("outer", report("op1"), report("inner", report("op2")), report("op3"), step="")


def names(reports: list[AnyReport]) -> list[str]:
    """Give the ids of the definitions."""
    return [one.definition.id for one in reports]


def tree(report: Report[Any, Any]) -> list[tuple[str, ...]]:
    """Give a line for each report, outermost first: name, kind, how it ended; how its undo did; whose answer it is."""
    said = [report.step, report.kind.value, report.outcome.value if report.outcome else "open"]
    if report.undo is not None:
        said.append(f"undo {report.undo.outcome.value if report.undo.outcome else 'open'}")
    if report.answered_from is not None:
        said.append("earlier")
    return [tuple(said), *(line for child in report.children for line in tree(child))]
