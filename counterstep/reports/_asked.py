"""What operators asked for, and where: of the run, of its steps, of approvals. And how long steps stood still."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from activities import Status
from activities._wire import without_leg
from counterstep.reports._report import Decision, Delay, Report
from counterstep.reports._run_history import (
    HELD,
    PARKED,
    ChildHistory,
    RunHistory,
    StepHistory,
    TimerHistory,
)

AnyReport = Report[Any, Any]

AGAIN = ": next attempt"
APPROVAL = "approval "
OURS = ("deadline", "next workflow task")
_OF_STEPS = ("retry", "skip", "edit", "unwind")
_OF_APPROVALS = ("approve", "reject")


class Asked:
    """What was asked about a run, sorted by what it is about.

    Attributes:
        of_run: about the run itself.
        of_approvals: about approvals, by name, each with its order.
        open: what stands still now: name of the step, and why.
        at_deadline: times in which the run was held, since its deadline had passed.
    """

    def __init__(self, run: RunHistory) -> None:
        """Sort it."""
        self.of_approvals: dict[str, list[tuple[int, Decision]]] = {}
        self.open: list[tuple[str, str]] = []
        self._of_steps: dict[str, list[tuple[int, Decision]]] = {}
        self._delays: dict[str, list[tuple[int, Delay]]] = {}
        self._run = run
        self._names = {step.step for step in run.steps} | {child.step for child in run.child_runs}
        own = []
        for order, decision in run.decisions:
            if decision.action in _OF_APPROVALS:
                self.of_approvals.setdefault(decision.step or "", []).append((order, decision))
            elif decision.action in _OF_STEPS and not self.is_deadline(decision.step or ""):
                self._of_steps.setdefault(decision.step or "", []).append((order, decision))
            else:
                own.append(_whole(decision))
        self.of_run = tuple(own)
        for timer in run.clocks:
            self._delay(timer)
        held = (delays for name, delays in self._delays.items() if self.is_deadline(name))
        self.at_deadline = tuple(delay for delays in held for _, delay in delays)

    def is_deadline(self, name: str) -> bool:
        """Whether a name is that of the run's deadline, and of no step."""
        return without_leg(name) == OURS[0] and name not in self._names

    def _delay(self, timer: TimerHistory) -> None:
        for ending, why in ((HELD, "held"), (PARKED, "parked"), (AGAIN, "next attempt")):
            if timer.name.endswith(ending):
                name = timer.name.removesuffix(ending)
                until = timer.ended or self._run.finished
                delay = Delay(why, timer.started, until, timer.duration, timer.fired)
                of = f"{name}.undo" if why == "parked" else name
                self._delays.setdefault(of, []).append((timer.order, delay))
                if timer.ended is None and self._run.is_open:
                    self.open.append((name, why))

    def told(self, report: AnyReport, step: StepHistory) -> AnyReport:
        """Give a step's report with what was asked about it, and how long it stood still."""
        delays = self._delays.get(f"{step.step}.undo" if step.is_undo else step.step, ())
        delays = _between(delays, step.order, step.until) if step.is_undo else delays
        return _told(report, delays, self._about(step), step.last)

    def told_of_child(self, report: AnyReport, child: ChildHistory, until: int | None) -> AnyReport:
        """Give the report of a child run in the same way.

        Args:
            report: of it.
            child: as its parent knows it.
            until: order of the next run of the same child, from which on all is about that one.
        """
        delays = _between(self._delays.get(child.step, ()), child.order, until)
        decisions = _between(self._of_steps.get(child.step, ()), child.order, until)
        told = _told(report, delays, decisions, child.order)
        return told if told is report else replace(told, alone=report)

    def of_approval(self, name: str) -> tuple[list[tuple[int, Decision]], tuple[Delay, ...]]:
        """Give all decisions on an approval, also while it was held, with their orders; and how long it was."""
        decisions = [*self.of_approvals.get(name, ()), *self._of_steps.get(name, ())]
        delays = tuple(delay for _, delay in self._delays.get(name, ()))
        return sorted(decisions, key=lambda pair: pair[0]), delays

    def _about(self, step: StepHistory) -> list[tuple[int, Decision]]:
        """Give the decisions on a step, or those on its undo, which came once that had begun."""
        decisions = self._of_steps.get(step.step, [])
        if not decisions:
            return []
        if step.is_undo:
            return _between(decisions, step.order, step.until)
        undos = self._run.undos_of(step.step)
        of_undos = {o for undo in undos for o, _ in _between(decisions, undo.order, undo.until)}
        return [(o, d) for o, d in decisions if o not in of_undos]


def _told(
    report: AnyReport,
    delays: Sequence[tuple[int, Delay]],
    decisions: Sequence[tuple[int, Decision]],
    asked: int,
) -> AnyReport:
    """Put to a report what was asked about it; ``asked`` is the order of the last execution."""
    if not (delays or decisions):
        return report
    report = replace(
        report,
        delays=(*report.delays, *(delay for _, delay in delays)),
        decisions=(*report.decisions, *(decision for _, decision in decisions)),
    )
    order, newest = decisions[-1] if decisions else (0, None)
    if newest is None or newest.action != "skip" or order < asked:
        return report
    return replace(
        report, outcome=Status.SKIPPED, skipped=f"skipped{newest}", result=newest.value or report.result
    )


def _whole(decision: Decision) -> Decision:
    """Leave out what Temporal begins to say when a parent gives no reason for its cancel."""
    reason = decision.reason and decision.reason.removesuffix(" with reason: ")
    return decision if reason == decision.reason else replace(decision, reason=reason)


def _between(told: Sequence[tuple[int, Any]], since: int, until: int | None) -> list[tuple[int, Any]]:
    return [(order, one) for order, one in told if since < order and (until is None or order < until)]
