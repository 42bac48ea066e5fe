"""Looking at reports: rows of them, and texts without what differs from run to run."""

from __future__ import annotations

import re
from typing import Any

from counterstep.reports import Report

AnyReport = Report[Any, Any]


def row(report: AnyReport) -> tuple[str, str, str | None]:
    """Give name, kind and outcome."""
    return report.step, report.kind.value, report.outcome.value if report.outcome else None


def rows(report: AnyReport) -> list[tuple[str, str, str | None]]:
    """Give those of the children, and of theirs."""
    return [found for child in report.children for found in (row(child), *rows(child))]


def child(report: AnyReport, name: str) -> AnyReport:
    """Give the report of a step, however deep."""
    return next(one for one in report.walk() if one.step == name)


def undos(report: AnyReport) -> dict[str, str | None]:
    """Give the outcome of each undo, by step."""
    return {r.step: r.undo.outcome and r.undo.outcome.value for r in report.walk() if r.undo is not None}


def timeless(text: str) -> str:
    """Leave out times, and ids that are made at random."""
    text = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)", "TIME", text)
    return re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID", text)
