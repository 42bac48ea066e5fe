"""Views of a report as JSON: the seed's, and our tree."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

import pydantic_core
from pydantic.alias_generators import to_camel

from activities import Failure
from activities._json import Json
from counterstep.reports._report import Decision, Delay, Execution, Report, RunInfo

AnyReport = Report[Any, Any]


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
        "output": plain(report.result[0]) if report.result else None,
        "input": plain(report.input),
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
        if not child.is_execution:
            continue
        inner = execution_reports(child, duplicates)
        found += [*inner[:-1], *inner] if duplicates and child.is_flow else inner
    return [*found, report]


def tree_json(report: AnyReport) -> dict[str, Json]:
    """Give the whole tree as JSON, with everything a report holds."""
    view = report_json(report)
    view |= {
        "step": report.step,
        "kind": report.kind.value,
        "outcome": report.outcome.value if report.outcome else None,
        "scheduled": _iso(report.scheduled),
        "started": _iso(report.started),
        "finished": _iso(report.finished),
        "attempts": report.attempts,
        "worker": report.worker,
        "key": report.key,
        "skipped": report.skipped,
        "error": _failure(report.error),
        "answeredFrom": list(report.answered_from) if report.answered_from else None,
        "undo": tree_json(report.undo) if report.undo else None,
        "children": [tree_json(child) for child in report.children],
    }
    return view | {name: value for name, value in _more(report).items() if value}


def _more(report: AnyReport) -> dict[str, Json]:
    """Give what most reports haven't got."""
    return {
        "saved": report.saved,
        "errors": list(report.errors),
        "metadata": report.metadata,
        "lastFailure": _failure(report.last_failure),
        "earlier": [_execution(one) for one in report.earlier],
        "earlierUndos": [tree_json(undo) for undo in report.earlier_undos],
        "delays": [_delay(one) for one in report.delays],
        "decisions": [_decision(one) for one in report.decisions],
        "inRun": list(report.in_run) if report.in_run else None,
        "run": _run(report.run) if report.run else None,
        "plan": [asdict(step) for step in report.plan],
    }


def _run(run: RunInfo) -> dict[str, Json]:
    said = {to_camel(name): value for name, value in asdict(run).items()}
    return said if run.waiting else {name: value for name, value in said.items() if name != "waiting"}


def _failure(failure: Failure | None) -> Json:
    return failure.model_dump(mode="json", exclude_none=True) if failure else None


def _execution(one: Execution) -> dict[str, Json]:
    return {
        "scheduled": _iso(one.scheduled),
        "started": _iso(one.started),
        "finished": _iso(one.finished),
        "attempts": one.attempts,
        "outcome": one.outcome.value,
        "error": _failure(one.error),
        "worker": one.worker,
    }


def _delay(one: Delay) -> dict[str, Json]:
    return {
        "why": one.why,
        "since": _iso(one.since),
        "until": _iso(one.until),
        "limit": one.limit.total_seconds(),
        "expired": one.expired,
    }


def _decision(one: Decision) -> dict[str, Json]:
    said = {"action": one.action, "at": _iso(one.at), "step": one.step, "by": one.by, "reason": one.reason}
    return {**said, **({"value": one.value[0]} if one.value else {})}


def plain(value: Any) -> Json:
    """Give a value as it was recorded."""
    return pydantic_core.to_jsonable_python(value, by_alias=True)


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()
