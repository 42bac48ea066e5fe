"""What must be true of each run of a sweep: against the plan, the history, the calls and the world."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pprint import pformat
from typing import Any

from activities import Status
from counterstep.reports import Report
from flows._policy import Policy
from flows.testing._planning import Case
from flows.testing._steps import Step, order_of
from flows.testing._trial import Trial
from flows.testing._worker import Ran, leaves_of

AnyReport = Report[Any, Any]
_BADLY = (Status.FAILED, Status.UNKNOWN)
_UNDONE = (Status.DONE, Status.SKIPPED)
_LINES = 12
_CAUGHT = "if the flow catches the failure on purpose, name the step in `survives`"


@dataclass(frozen=True)
class Expected:
    """What the runs of a flow are held against.

    Attributes:
        steps: by name.
        policy: of the flow.
        clean: the world after a run without faults.
        by_hand: steps that the flow itself undoes, without faults.
    """

    steps: Mapping[str, Step]
    policy: Policy
    clean: Any = None
    by_hand: frozenset[str] = frozenset()


def problems(expected: Expected, case: Case, ran: Ran, trial: Trial) -> Iterator[str]:
    """Say what is wrong with a run, apart from its world."""
    leaves = leaves_of(ran.report)
    if trial.missed:
        yield f"never reached: {', '.join(map(str, trial.missed))}"
    if ran.state not in case.ends:
        why = f": {ran.failure.message.splitlines()[0]}" if ran.failure else ""
        caught = f"; {_CAUGHT}" if ran.state == "completed" and case.failed else ""
        yield f"it ended {ran.state}, not {' or '.join(sorted(case.ends))}{why}{caught}"
    yield from _failed(expected, case, leaves)
    if ran.state == "stuck" or (ran.state in ("rolled_back", "cancelled") and not case.leaves):
        yield from _not_undone(expected, case, ran.report, leaves)
    yield from _disordered(expected, ran.report, leaves)
    yield from _called(expected, trial, leaves)


def _failed(expected: Expected, case: Case, leaves: Mapping[str, AnyReport]) -> Iterator[str]:
    """Compare the steps that failed with those that were to fail."""
    if case.failed is None:
        return
    found = {name for name, leaf in leaves.items() if leaf.outcome in _BADLY}
    more = set() if expected.policy.settle == "cancel" and case.failed else found - case.failed
    for name in sorted(more):
        yield f"step {name} failed, and nothing was injected there: {leaves[name].error}"
    for name in sorted(case.failed - found):
        yield f"step {name} was to fail, and didn't"


def _not_undone(
    expected: Expected, case: Case, report: AnyReport, leaves: Mapping[str, AnyReport]
) -> Iterator[str]:
    """Look for steps that are in place and should be undone, and for those undone for no reason.

    An undo may fail while something that came after its step isn't undone: a schema can't be dropped that isn't empty.
    """
    before = order_of(report, leaves)
    stops = any(expected.steps[name].policy.on_undo_failure == "stop" for name in case.stuck)
    for name, leaf in leaves.items():
        undone = leaf.undo is not None and leaf.undo.outcome in _UNDONE
        step = expected.steps.get(name)
        if undone and name in case.stuck:
            yield f"step {name} is undone, although its undo was to fail"
        if undone or step is None or not step.undoable or not _wants(leaf, step.policy):
            continue
        tried = leaf.undo is not None and any(before(name, stuck) for stuck in case.stuck)
        if name not in case.stuck and not stops and not tried:
            yield f"step {name} is {leaf.outcome}, and isn't undone"


def _wants(leaf: AnyReport, policy: Policy) -> bool:
    if leaf.outcome is Status.UNKNOWN:
        return policy.undo_failed_step != "never"
    return leaf.outcome is Status.DONE


def _disordered(expected: Expected, report: AnyReport, leaves: Mapping[str, AnyReport]) -> Iterator[str]:
    """Look for undos that began before what came after their step was undone; the flow's own are where it wants them."""
    before = order_of(report, leaves)
    undone = {name: leaf.undo for name, leaf in leaves.items() if leaf.undo is not None}
    for name, undo in undone.items():
        if name in expected.by_hand:
            continue
        for later, its in undone.items():
            if later != name and before(name, later) and not _precedes(its, undo):
                yield f"the undo of {name} began before {later}, which came after it, was undone"


def _precedes(one: AnyReport, other: AnyReport) -> bool:
    return bool(one.finished and other.scheduled and one.finished <= other.scheduled)


def _called(expected: Expected, trial: Trial, leaves: Mapping[str, AnyReport]) -> Iterator[str]:
    """Compare what the history tells with what was called."""
    forward = {call.place.step for call in trial.calls if not call.place.undo}
    undone = {call.place.step for call in trial.calls if call.place.undo}
    told = {name for name, leaf in leaves.items() if leaf.outcome is not None}
    told_undone = {name for name, leaf in leaves.items() if leaf.undo is not None}
    for name in sorted(forward - told):
        yield f"step {name} was called, and the history doesn't tell of it"
    for name in sorted(undone ^ told_undone):
        yield f"the undo of {name} was {'called' if name in undone else 'not called'}, and the history says otherwise"
    local = {name for name, step in expected.steps.items() if step.local}
    yield from _after_undo(trial, local)


def _after_undo(trial: Trial, local: Collection[str]) -> Iterator[str]:
    """Look for calls of a step after its undo, and for keys that changed on the way.

    A local step may be: the workflow task in which it was undone is done again where Temporal didn't take it, undo included.
    """
    undone: set[str] = set()
    keys: dict[tuple[str, str], str] = {}
    last = {call.place.step: call.place.undo for call in trial.calls}
    for call in trial.calls:
        name = call.place.step
        if call.place.undo:
            undone.add(name)
        elif name in undone and not (name in local and last[name]):
            yield f"step {name} was called after its undo"
        if keys.setdefault((name, repr(call.input)), call.key) != call.key:
            yield f"the idempotency key of {name} changed"


def difference(expected: Any, found: Any, what: str) -> Iterator[str]:
    """Say how the world differs, if it does."""
    if expected == found:
        return
    lines = difflib.unified_diff(
        pformat(expected).splitlines(), pformat(found).splitlines(), n=0, lineterm=""
    )
    shown = [line for line in lines if not line.startswith(("---", "+++", "@@"))]
    more = [f"… and {len(shown) - _LINES} lines more"] if len(shown) > _LINES else []
    text = "\n    ".join([*shown[:_LINES], *more])
    yield f"the world isn't {what}:\n    {text}"
