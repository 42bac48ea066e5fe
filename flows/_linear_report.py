"""The report of a linear workflow, made of a run's report and its recorded plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from activities import Status
from activities._settled import Settled
from counterstep.reports import Report, ReportStatus, StepAction, StepReport, WorkflowReport
from flows._plan import OperationStep, Plan
from flows._undo import wants_undo

AnyReport = Report[Any, Any]
_STATUS = {Status.DONE: ReportStatus.SUCCESS, Status.SKIPPED: ReportStatus.SKIPPED}


def workflow_report(plan: Plan, report: AnyReport, *, unwound: bool) -> WorkflowReport:
    """Make the report of a run.

    Args:
        plan: that was recorded.
        report: of the run, as it stands.
        unwound: whether unwinding came to its end.
    """
    steps = {step.name: step for step in plan.steps if isinstance(step, OperationStep)}
    children = [child for child in _leaves(report) if child.step in steps and child.finished]
    ran = [_row(child, StepAction.RUN) for child in children]
    back = list(_rollbacks(plan, steps, children, unwound))
    assert report.scheduled is not None
    return WorkflowReport(
        workflow_id=plan.id,
        start_time=report.scheduled,
        end_time=report.finished,
        status=_status(report, ran),
        step_sequence=tuple(steps),
        step_reports=(*ran, *back),
    )


def _leaves(report: AnyReport) -> Iterator[AnyReport]:
    return (child for child in report.walk() if not child.is_flow)


def _status(report: AnyReport, ran: Sequence[StepReport]) -> ReportStatus:
    if report.outcome is None or (report.outcome is Status.DONE and not ran):
        return ReportStatus.UNDEFINED
    return ReportStatus.SUCCESS if report.outcome is Status.DONE else ReportStatus.FAILED


def _row(report: AnyReport, action: StepAction, step: str | None = None) -> StepReport:
    start, end = report.started or report.scheduled or report.finished, report.finished
    assert start is not None and end is not None and report.outcome is not None
    return StepReport(
        step_id=step or report.step,
        action=action,
        start_time=start,
        end_time=end,
        status=_STATUS.get(report.outcome, ReportStatus.FAILED),
        reason=report.error,
        metadata=report.metadata or {},
    )


def _rollbacks(
    plan: Plan, steps: dict[str, OperationStep], children: Sequence[AnyReport], unwound: bool
) -> Iterator[StepReport]:
    """Give a row for each step that unwinding came to, newest first: also for those that had nothing to undo."""
    now = children[-1].finished if children else None
    passed: list[StepReport] = []
    for child in reversed(children):
        if child.undo is not None and child.undo.finished:
            row = _row(child.undo, StepAction.ROLLBACK, child.step)
            yield from (*passed, row)
            passed, now = [], row.end_time
        elif child.undo is not None or _wanted(plan, steps[child.step], child):
            break
        else:
            assert now is not None
            passed.append(
                StepReport(
                    step_id=child.step,
                    action=StepAction.ROLLBACK,
                    start_time=now,
                    end_time=now,
                    status=ReportStatus.SKIPPED,
                )
            )
    if unwound:
        yield from passed


def _wanted(plan: Plan, step: OperationStep, report: AnyReport) -> bool:
    """Whether unwinding calls a step's undo."""
    return (
        step.undo is not None
        and report.outcome is not None
        and wants_undo(Settled(report.outcome), plan.policy)
    )
