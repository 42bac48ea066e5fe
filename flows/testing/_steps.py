"""Which steps a flow has and what came before what: from its clean run, and of a saga from its plan."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from activities import Operation, OperationNotFound, Registry, Status
from counterstep.reports import Kind, Planned, Report
from flows._policy import Policy
from flows.testing._faults import tried_again
from flows.testing._trial import Call, Trial
from flows.testing._worker import Ran, child_path, leaves_of

AnyReport = Report[Any, Any]
Before = Callable[[str, str], bool]


@dataclass(frozen=True)
class Step:
    """A step, as a clean run shows it.

    Attributes:
        name: full name.
        operation: ``id@version``.
        undoable: whether it has an undo.
        attempts: how many it has; ``None`` without a limit.
        final: whether every error of it is the last, having one attempt or by its class.
        undo_final: whether every error of its undo is.
        seconds: that it took.
        once: whether it is never dispatched again after a loss.
        local: whether it is a local step.
        before: steps that have ended when it begins.
        siblings: steps that may run beside it.
        skipped: whether it is skipped, and so has no effect.
        gone: steps that the flow has undone by itself when it begins.
        pivoted: whether there is no way back once it begins.
        races: whether it runs beside the pivot, so that there may be a way back or not.
        policy: of the innermost flow that it belongs to.
        flow: name of that flow; empty for the one that runs.
    """

    name: str
    operation: str
    undoable: bool
    attempts: int | None
    final: bool
    undo_final: bool
    seconds: float
    once: bool
    local: bool
    before: frozenset[str]
    siblings: frozenset[str]
    skipped: bool
    gone: frozenset[str]
    pivoted: bool
    races: bool
    policy: Policy
    flow: str = ""

    @property
    def one_way(self) -> bool:
        """Whether nothing may be undone any more while it runs."""
        return self.pivoted or self.races


class Owner(NamedTuple):
    """A flow that steps belong to: its policy and its name, which is empty for the one that runs."""

    policy: Policy
    flow: str = ""


def steps_of(ran: Ran, trial: Trial, registry: Registry, policy: Policy) -> list[Step]:
    """Give the steps of a clean run, in the order in which they began; told the policy of the flow."""
    first = {call.place.step: call for call in reversed(trial.calls) if not call.place.undo}
    names = trial.steps
    reports = leaves_of(ran.report)
    before = order_of(ran.report, reports)
    beside = _beside(ran.report, reports, before)
    plan = {step.name: step for step in ran.report.planned}
    pivots = list(_pivots(ran.report))
    owners = _owners(ran.report, registry, Owner(policy))
    return [
        _step(
            first[name],
            registry.retrieve(first[name].operation),
            no_undo=name in plan and not plan[name].undoable,
            before=frozenset(other for other in names if other != name and before(other, name)),
            siblings=frozenset(other for other in names if other != name and beside(other, name)),
            skipped=name in reports and reports[name].outcome is Status.SKIPPED,
            gone=frozenset(other for other in names if _undone_before(reports.get(other), reports.get(name))),
            pivoted=any(name == pivot or before(pivot, name) for pivot in pivots),
            races=any(name != pivot and beside(pivot, name) for pivot in pivots if pivot in reports),
            policy=owners[name].policy if name in owners else policy,
            flow=owners[name].flow if name in owners else "",
        )
        for name in names
    ]


def _pivots(report: AnyReport, path: str = "") -> Iterator[str]:
    """Name the pivots of all plans, those of child runs too."""
    yield from (path + step.name for step in report.plan if step.pivot)
    for child in report.children:
        if child.is_flow:
            yield from _pivots(child, child_path(child, path))


def _owners(report: AnyReport, registry: Registry, owner: Owner, path: str = "") -> dict[str, Owner]:
    """Give the innermost flow of each step, by whose policy it fails; a subsaga has none of its own."""
    found = dict.fromkeys(leaves_of(report, path), owner)
    for child in report.children:
        if child.is_flow:
            inner = child.kind in (Kind.FLOW, Kind.CHILD)
            own = Owner(_policy_of(child, registry) or owner.policy, path + child.step) if inner else owner
            found |= _owners(child, registry, own, child_path(child, path))
    return found


def _policy_of(flow: AnyReport, registry: Registry) -> Policy | None:
    with contextlib.suppress(OperationNotFound):
        found = getattr(registry.retrieve(flow.definition), "policy", None)
        return found if isinstance(found, Policy) else None
    return None


def _undone_before(one: AnyReport | None, other: AnyReport | None) -> bool:
    return one is not None and _ended_before(one.undo, other)


def _step(call: Call, op: Operation[Any, Any], *, no_undo: bool, **order: Any) -> Step:
    undo = op.undo_handler
    return Step(
        name=call.place.step,
        operation=call.operation,
        undoable=undo is not None and not no_undo,
        attempts=call.limit,
        final=call.final or call.limit == 1,
        undo_final=undo is not None and (undo.retry.max_attempts == 1 or not tried_again(undo.retry.names)),
        seconds=call.seconds,
        once=op.at_most_once,
        local=call.local,
        **order,
    )


def order_of(report: AnyReport, leaves: Mapping[str, AnyReport]) -> Before:
    """Say whether one step ends before another begins: of one saga by its plan, else as it happened.

    What is in a child run comes with that: it is undone whole, in the child's place.
    """
    closure, sagas, runs = _closure(report.planned), _sagas(report), _child_runs(report)

    def unit(name: str) -> str:
        parts = name.split("/")
        around = ("/".join(parts[:count]) for count in range(len(parts), 0, -1))
        return next((part for part in around if part in closure), "")

    def before(one: str, other: str) -> bool:
        mine, its = unit(one), unit(other)
        if mine != its and sagas.get(mine) == sagas.get(its):
            return mine in closure.get(its, ())
        return one != other and _ended_before(apart(one, other), apart(other, one))

    def apart(one: str, other: str) -> AnyReport | None:
        around = (run for path, run in runs.items() if one.startswith(path) and not other.startswith(path))
        return next(around, leaves.get(one))

    return before


def _child_runs(report: AnyReport, path: str = "") -> dict[str, AnyReport]:
    """Give the child runs in a flow by what the names of their steps begin with, the outer ones first."""
    found: dict[str, AnyReport] = {}
    for child in report.children:
        if child.is_flow:
            inner = child_path(child, path)
            found |= {inner: child} if child.kind is Kind.CHILD else {}
            found |= _child_runs(child, inner)
    return found


def _ended_before(one: AnyReport | None, other: AnyReport | None) -> bool:
    ended, asked = one and one.finished, other and other.scheduled
    return bool(ended and asked and ended <= asked)


def _sagas(report: AnyReport) -> dict[str, str]:
    """Give the saga whose plan tells of each step: the run's own, or one that is inline in it."""
    found = {step.name: report.step for step in report.plan}
    for child in report.children:
        found |= _sagas(child) if child.is_flow and child.kind is not Kind.CHILD else {}
    return found


def _closure(plan: Iterable[Planned]) -> dict[str, set[str]]:
    """Give all that each step of a plan comes after; a plan lists steps in an order that can be run."""
    after = {step.name: set(step.after) for step in plan}
    found: dict[str, set[str]] = {}

    def whole(name: str) -> set[str]:
        if name not in found:
            found[name] = set()
            found[name] = set().union(after[name], *(whole(b) for b in after[name] if b in after))
        return found[name]

    for name in after:
        whole(name)
    return found


def _beside(report: AnyReport, leaves: Mapping[str, AnyReport], before: Before) -> Before:
    """Say whether two steps may be in flight together."""
    sagas = _sagas(report)

    def beside(one: str, other: str) -> bool:
        if before(one, other) or before(other, one):
            return False
        known = sagas.get(one) is not None and sagas.get(one) == sagas.get(other)
        return known or _overlap(leaves.get(one), leaves.get(other))

    return beside


def _overlap(one: AnyReport | None, other: AnyReport | None) -> bool:
    if one is None or other is None:
        return False
    return not (_ended_before(one, other) or _ended_before(other, one))
