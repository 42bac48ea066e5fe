"""Two texts of Oxide's steno (seed compensate): the saga log, and the status tree."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from activities import Status
from counterstep.reports._report import Report
from counterstep.reports._shape import Node, shape_of

AnyReport = Report[Any, Any]
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_WELL = (Status.DONE, Status.SKIPPED)
_INDENT = 8


def saga_log(flow: AnyReport) -> str:
    """Give the saga log: head, direction, and numbered events of the nodes, which are numbered in plan order.

    Answered calls and constants are nodes without events.
    """
    events = sorted(_events(flow), key=lambda event: event[:4])
    unwinding = any(undo for _, undo, _, _, _ in events) or (flow.run and flow.run.state == "unwinding")
    lines = [
        "SAGA LOG:",
        f"saga id: {flow.run.workflow_id if flow.run else flow.step}",
        f"direction: {'unwinding' if unwinding else 'forward'}",
        f"events ({len(events)} total):",
        "",
    ]
    lines += [
        f"{count:03d} N{abs(node):03d} {word}" for count, (_, _, node, _, word) in enumerate(events, start=1)
    ]
    return "\n".join(lines)


def _events(flow: AnyReport) -> Iterator[tuple[datetime, bool, int, int, str]]:
    """Give time, whether it is of an undo, node, phase and word; of equal times forward steps come in plan order."""
    nodes = [node for node in shape_of(flow) if node.kind != "subsaga"]
    for number, node in enumerate(nodes):
        report = node.report
        if report is None or report.answered_from is not None:
            continue
        yield report.scheduled or _LONG_AGO, False, number, 0, "started"
        if _ended(report):
            word = "succeeded" if report.outcome in _WELL else "failed"
            yield report.finished or _LONG_AGO, False, number, 1, word
        undo = report.undo
        if undo is None:
            continue
        yield undo.scheduled or _LONG_AGO, True, -number, 0, "undo_started"
        if _ended(undo):
            word = "undo_finished" if undo.outcome in _WELL else "undo_failed"
            yield undo.finished or _LONG_AGO, True, -number, 1, word


def _ended(report: AnyReport) -> bool:
    """Whether its end stands in the history, or did in one that is gone."""
    return report.finished is not None or (report.scheduled is None and report.outcome is not None)


def status_tree(flow: AnyReport) -> str:
    """Give steno's status tree: one line a step with its state, steps beside each other as a group."""
    nodes = [node for node in shape_of(flow) if node.kind not in ("subsaga", "constant")]
    lines = [f"+ saga execution: {flow.run.workflow_id if flow.run else flow.step}"]
    for _, group in groupby(sorted(nodes, key=lambda node: node.level), key=lambda node: node.level):
        lines += _stage(list(group))
    return "\n".join(lines)


def _stage(nodes: list[Node]) -> list[str]:
    if len(nodes) == 1:
        return [_line(nodes[0], 0)]
    return ["+-- (parallel actions):", *(_line(node, _INDENT) for node in nodes)]


def _line(node: Node, indent: int) -> str:
    return f"{' ' * indent}+-- {node.state}: {node.name}"
