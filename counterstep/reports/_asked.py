"""What operators asked for, and where: of the run, of its steps, of approvals. And how long steps stood still."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from activities import Status
from counterstep.reports._report import Decision, Delay, Report
from counterstep.reports._run_history import RunHistory, StepHistory, TimerHistory

AnyReport = Report[Any, Any]

AGAIN = ": next attempt"
HELD, PARKED = " is held", " is parked"
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
    """

    def __init__(self, run: RunHistory) -> None:
        """Sort it."""
        self.of_approvals: dict[str, list[tuple[int, Decision]]] = {}
        self.open: list[tuple[str, str]] = []
        self._of_steps: dict[str, list[tuple[int, Decision]]] = {}
        self._delays: dict[str, list[tuple[int, Delay]]] = {}
        self._run = run
        own = []
        for order, decision in run.decisions:
            if decision.action in _OF_APPROVALS:
                self.of_approvals.setdefault(decision.step or "", []).append((order, decision))
            elif decision.action in _OF_STEPS and decision.step != OURS[0]:
                self._of_steps.setdefault(decision.step or "", []).append((order, decision))
            else:
                own.append(decision)
        self.of_run = tuple(own)
        for timer in run.clocks:
            self._delay(timer)

    def _delay(self, timer: TimerHistory) -> None:
        for ending, why in ((HELD, "held"), (PARKED, "parked"), (AGAIN, "next attempt")):
            if timer.name.endswith(ending):
                name = timer.name.removesuffix(ending)
                name = f"{name}.undo" if why == "parked" else name
                until = timer.ended or self._run.finished
                delay = Delay(why, timer.started, until, timer.duration, timer.fired)
                self._delays.setdefault(name, []).append((timer.order, delay))
                if timer.ended is None and self._run.is_open:
                    self.open.append((name, why))

    def told(self, report: AnyReport, step: StepHistory) -> AnyReport:
        """Give a step's report with what was asked about it, and how long it stood still."""
        delays = self._delays.get(f"{step.step}.undo" if step.is_undo else step.step, ())
        decisions = self._about(step)
        if not (delays or decisions):
            return report
        report = replace(
            report,
            delays=tuple(delay for _, delay in delays),
            decisions=tuple(decision for _, decision in decisions),
        )
        order, newest = decisions[-1] if decisions else (0, None)
        if newest is None or newest.action != "skip" or order < step.last:
            return report
        return replace(
            report, outcome=Status.SKIPPED, skipped=f"skipped{newest}", result=newest.value or report.result
        )

    def _about(self, step: StepHistory) -> list[tuple[int, Decision]]:
        """Give the decisions on a step, or those on its undo, which came once that had begun."""
        decisions = self._of_steps.get(step.step, [])
        if not decisions:
            return []
        undo = step if step.is_undo else self._run.undo_of(step.step)
        from_ = undo.order if undo is not None else None
        return [(o, d) for o, d in decisions if (from_ is not None and o > from_) is step.is_undo]
