"""What the HTML page is told, as JSON: rows in tree order, bars as milliseconds, values as text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from activities import Failure
from activities._json import Json
from counterstep.reports._mermaid import class_of
from counterstep.reports._report import Decision, Delay, Execution, Kind, Report, RunInfo
from counterstep.reports._shape import Node, shape_of
from counterstep.reports._views import plain
from counterstep.reports._words import (
    NOT_STARTED,
    has_answered,
    is_resolved,
    name_of,
    state_of_step,
    state_of_undo,
)

AnyReport = Report[Any, Any]
BUDGET = 6 * 1024 * 1024
"""Characters that all values of a page may have together."""

_WHOLE = 256 * 1024


def page_data(report: AnyReport) -> dict[str, Json]:
    """Give all that the page shows."""
    return _Page(report).data()


class _Page:
    def __init__(self, report: AnyReport) -> None:
        self._report = report
        self._nodes = shape_of(report)
        self._began = min(_moments(report), default=None)
        self._limit = _limit(report)

    def data(self) -> dict[str, Json]:
        report = self._report
        rows = list(self._rows(report, 0))
        places = {row["full"]: index for index, row in enumerate(rows)}
        for node in self._nodes:
            if node.name not in places and node.kind != "constant":
                places[node.name] = len(rows)
                rows.append(_idle(node))
        return {
            "flow": self._head(),
            "rows": rows,
            "nodes": [self._node(node, places) for node in self._nodes],
        }

    def _head(self) -> dict[str, Json]:
        report, run = self._report, self._report.run
        state = run.state if run else state_of_step(report)
        return {
            "id": run.workflow_id if run else report.step,
            "definition": name_of(report.definition),
            "description": report.definition.description if is_resolved(report.definition) else "",
            "state": state.replace("_", " "),
            "class": _class_of_run(state),
            "zero": report.started.isoformat() if report.started else None,
            "facts": _facts(run) if run else {},
            **self._own(report),
        }

    def _rows(self, flow: AnyReport, depth: int) -> Iterator[dict[str, Json]]:
        for child in flow.children:
            yield {**self._row(child), "depth": depth, "size": sum(1 for _ in child.walk()) - 1}
            yield from self._rows(child, depth + 1)

    def _row(self, report: AnyReport) -> dict[str, Json]:
        state = state_of_step(report)
        row: dict[str, Json] = {
            "full": report.step,
            "kind": report.kind.value,
            "state": state,
            "class": class_of(state),
            **self._own(report),
        }
        if report.kind not in (Kind.WAIT, Kind.APPROVAL, Kind.LEG):
            row["definition"] = name_of(report.definition)
        if report.undo is not None:
            undo = state_of_undo(report.undo)
            row["undo"] = {"state": undo, "class": class_of(undo), **self._own(report.undo)}
        return row

    def _own(self, report: AnyReport) -> dict[str, Json]:
        """Give what a step, an undo and the flow itself have alike."""
        earlier = report.answered_from and report.answered_from[0]
        own = {
            "outcome": report.outcome.value if report.outcome else "running",
            "asked": self._at(report.scheduled),
            "began": self._at(report.started),
            "ended": self._at(report.finished),
            "attempts": report.attempts,
            "worker": report.worker,
            "key": report.key,
            "series": report.execution_series
            and f"{report.execution_series.id}.{report.execution_series.order}",
            "skipped": report.skipped,
            "answered": earlier if has_answered(report) else None,
            "taken": None if has_answered(report) else earlier,
            "by": report.in_run and report.in_run[0],
            "about": report.definition.description if is_resolved(report.definition) else "",
            "input": None if report.input is None else self._text(report.input),
            "output": self._text(report.result[0]) if report.result else None,
            "saved": None if report.saved is None else self._text(report.saved),
            "error": _failure(report.error),
            "before": _failure(report.last_failure),
            "earlier": [self._execution(one) for one in report.earlier],
            "delays": [self._delay(one) for one in report.delays],
            "decisions": [self._decision(one) for one in report.decisions],
        }
        return {name: value for name, value in own.items() if value not in (None, "", [])}

    def _execution(self, one: Execution) -> dict[str, Json]:
        return {
            "asked": self._at(one.scheduled),
            "began": self._at(one.started),
            "ended": self._at(one.finished),
            "attempts": one.attempts,
            "outcome": one.outcome.value,
            "class": class_of(one.outcome.value),
            "error": _failure(one.error),
            "worker": one.worker,
        }

    def _delay(self, one: Delay) -> dict[str, Json]:
        return {"why": one.why, "since": self._at(one.since), "until": self._at(one.until)}

    def _decision(self, one: Decision) -> dict[str, Json]:
        value = self._text(one.value[0]) if one.value else None
        return {
            "action": one.action,
            "at": self._at(one.at),
            "by": one.by,
            "reason": one.reason,
            "value": value,
        }

    def _node(self, node: Node, places: dict[str, int]) -> dict[str, Json]:
        return {
            "name": node.name,
            "kind": node.kind,
            "state": node.state,
            "class": class_of(node.state),
            "level": node.level,
            "after": list(node.after),
            "row": places.get(node.name, -1),
        }

    def _at(self, moment: datetime | None) -> float | None:
        """Give milliseconds since the first moment of all."""
        if moment is None or self._began is None:
            return None
        return round((moment - self._began).total_seconds() * 1000, 3)

    def _text(self, value: Any) -> str:
        text = _pretty(value)
        if len(text) <= self._limit:
            return text
        return f"{text[: self._limit]}\n… cut: {len(text)} characters in all"


def _pretty(value: Any) -> str:
    return json.dumps(plain(value), indent=2, ensure_ascii=False)


def _values(report: AnyReport) -> Iterator[Any]:
    """Give every value of a report and its children."""
    for one in report.walk():
        for each in (one, one.undo) if one.undo else (one,):
            yield from (each.input, each.saved, *each.result)


def _limit(report: AnyReport) -> int:
    """Give the length at which values are cut, so that all of them fit into the page."""
    lengths = [len(_pretty(value)) for value in _values(report) if value is not None]
    limit = _WHOLE
    while limit > 64 and sum(min(length, limit) for length in lengths) > BUDGET:
        limit //= 2
    return limit


def _moments(report: AnyReport) -> Iterator[datetime]:
    for one in report.walk():
        yield from (moment for moment in (one.scheduled, one.started) if moment is not None)


def _failure(failure: Failure | None) -> list[str] | None:
    """Give a failure and its causes, a text each, outermost first."""
    if failure is None:
        return None
    return [str(failure), *(_failure(failure.cause) or [])]


def _facts(run: RunInfo) -> dict[str, str]:
    """Give what is known of a run beside its steps."""
    facts: dict[str, Any] = {
        "namespace": run.namespace,
        "run id": run.run_id,
        "origin": run.origin if run.origin != run.run_id else None,
        "runs": len(run.runs) if len(run.runs) > 1 else None,
        "reset from": run.reset_from,
        "resumed from": run.resumed_from and run.resumed_from[0],
        "undone by": run.undone_by,
        "taken over by": run.taken_over_by and run.taken_over_by[0],
        "events": run.events,
    }
    return {name: str(value) for name, value in facts.items() if value}


def _class_of_run(state: str) -> str:
    words = {"completed": "done", "rolled_back": "undone", "cancelled": "undone", "kept": "failed"}
    words |= {"refused": "failed", "terminated": "failed", "timed_out": "failed", "stuck": "stuck"}
    return words.get(state, class_of(state))


def _idle(node: Node) -> dict[str, Json]:
    row = {"full": node.name, "kind": node.kind, "state": NOT_STARTED, "class": "idle", "depth": 0, "size": 0}
    return {**row, "outcome": NOT_STARTED}
