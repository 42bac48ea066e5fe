"""What a flow consists of and what came after what: from its plan, or from the order in which things happened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from counterstep.reports._report import Kind, Report
from counterstep.reports._words import NOT_STARTED, state_of_step

AnyReport = Report[Any, Any]
_WIDE = 50


@dataclass(frozen=True)
class Node:
    """A step in its place.

    Attributes:
        name: full name.
        kind: ``operation``, ``constant``, ``wait``, ``approval``, ``subsaga``, ``child``.
        after: names of the nodes that it comes after.
        state: one word.
        report: of it, if it began.
        level: how many nodes come before it at most, one after the other.
    """

    name: str
    kind: str
    after: tuple[str, ...]
    state: str
    report: AnyReport | None
    level: int = 0


def shape_of(flow: AnyReport) -> list[Node]:
    """Give a flow's nodes: a saga's as planned, those of other flows as they happened, inner flows laid open."""
    return _levelled(_planned(flow) if flow.plan else list(_happened(flow)))


def by_name(flow: AnyReport) -> dict[str, AnyReport]:
    """Give the reports of a flow's steps and inner flows, by full name; child runs stay closed."""
    found: dict[str, AnyReport] = {}
    for child in flow.children:
        found[child.step] = child
        if child.is_flow and child.kind is not Kind.CHILD:
            found |= by_name(child)
    return found


def leaves(flow: AnyReport) -> Iterator[AnyReport]:
    """Give the reports of what isn't an inline flow, in call order."""
    for child in flow.children:
        if child.is_flow and child.kind is not Kind.CHILD:
            yield from leaves(child)
        else:
            yield child


def _planned(flow: AnyReport) -> list[Node]:
    reports = by_name(flow)
    return [
        Node(
            step.name,
            step.kind,
            step.after,
            state_of_step(reports[step.name]) if step.name in reports else _idle(step.kind),
            reports.get(step.name),
        )
        for step in flow.plan
    ]


def _idle(kind: str) -> str:
    return "done" if kind == "constant" else NOT_STARTED


def _happened(flow: AnyReport) -> Iterator[Node]:
    """Give the steps; each comes after those that had ended when it was asked for and that nothing else followed."""
    front: dict[str, AnyReport] = {}
    open_: list[tuple[AnyReport, tuple[str, ...]]] = []
    for report in leaves(flow):
        asked = report.scheduled
        for ended, before in [pair for pair in open_ if _over(pair[0], asked)]:
            open_.remove((ended, before))
            for name in before:
                front.pop(name, None)
            front[ended.step] = ended
        after = tuple(front) if len(front) <= _WIDE else (next(reversed(front)),)
        open_.append((report, after))
        yield Node(report.step, report.kind.value, after, state_of_step(report), report)


def _over(report: AnyReport, asked: Any) -> bool:
    return report.finished is None or asked is None or report.finished <= asked


def _levelled(nodes: list[Node]) -> list[Node]:
    """Say how deep each node is; plans list a step after those it comes after, mostly."""
    known = {node.name: node for node in nodes}
    levels: dict[str, int] = {}
    for node in nodes:
        waiting = [node.name]
        while waiting:
            name = waiting[-1]
            before = [b for b in known[name].after if b in known]
            missing = [b for b in before if b not in levels]
            if missing:
                waiting += missing
                continue
            levels[name] = 1 + max((levels[b] for b in before), default=-1)
            waiting.pop()
    return [
        Node(node.name, node.kind, node.after, node.state, node.report, levels[node.name]) for node in nodes
    ]
