"""The report of a line of steps, as seed automa has it: ``WorkflowReport``, with its keys and words."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import Base64Bytes, BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from activities import Failure, Status
from activities._json import Json
from counterstep.reports._nest import ran_again
from counterstep.reports._report import Kind, Report
from counterstep.reports._shape import leaves

AnyReport = Report[Any, Any]


def _seed_name(name: str) -> str:
    """Give the seed's JSON key: Go writes ``ID``."""
    return to_camel(name).replace("Id", "ID")


_MODEL = ConfigDict(frozen=True, extra="forbid", alias_generator=_seed_name, populate_by_name=True)


class StepAction(StrEnum):
    """What was done (seed automa: ``StepActionType``)."""

    RUN = "run"
    ROLLBACK = "rollback"


class StepStatus(StrEnum):
    """How it ended (seed automa: ``Status``)."""

    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    UNDEFINED = "UNDEFINED"


_STATUS = {
    Status.DONE: StepStatus.SUCCESS,
    Status.FAILED: StepStatus.FAILED,
    Status.UNKNOWN: StepStatus.FAILED,
    Status.SKIPPED: StepStatus.SKIPPED,
    None: StepStatus.UNDEFINED,
}


_UNWOUND = ("rolled_back", "stuck", "cancelled")
"""States in which unwinding came to its end."""


class StepReport(BaseModel):
    """A step's run, or its rollback (seed automa: ``StepReport``).

    Attributes:
        step_id: the step's name.
        action: which of the two.
        start_time: aware.
        end_time: aware; ``None`` while it goes on.
        status: how it ended.
        reason: why it failed.
        metadata: named bytes; base64 in JSON and YAML.
    """

    model_config = _MODEL

    step_id: str
    action: StepAction
    start_time: datetime | None = None
    end_time: datetime | None = None
    status: StepStatus
    reason: Failure | None = None
    metadata: dict[str, Base64Bytes] = {}


class WorkflowReport(BaseModel):
    """A run of a line of steps (seed automa: ``WorkflowReport``).

    Attributes:
        workflow_id: of the run.
        start_time: aware.
        end_time: aware; ``None`` while it goes on.
        status: how it ended; ``UNDEFINED`` while it goes on, and of a flow without steps.
        step_sequence: names of all steps, in order, also of those that never ran.
        step_reports: of what happened, in time order.
    """

    model_config = _MODEL

    workflow_id: str
    start_time: datetime | None = None
    end_time: datetime | None = None
    status: StepStatus
    step_sequence: tuple[str, ...] = ()
    step_reports: tuple[StepReport, ...] = ()

    def to_json(self) -> dict[str, Json]:
        """Give it with the seed's JSON keys (``workflowID``, ``stepReports``, …)."""
        return self.model_dump(mode="json", by_alias=True)

    def to_yaml(self) -> str:
        """Give it with the seed's YAML keys (``workflow_id``, ``step_reports``, …)."""
        import yaml  # where reports are made in a workflow, nobody needs it

        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def workflow_report(flow: AnyReport) -> WorkflowReport:
    """Make the seed's report of any flow: once it unwound, every step that has a run has a rollback too.

    A step, or a child flow, that ran again has one run: its last.
    """
    runs = [step for step in leaves(flow) if step.kind in (Kind.OPERATION, Kind.CHILD)]
    children = [step for step in runs if step.kind is Kind.CHILD]
    runs = [step for step in runs if step.kind is not Kind.CHILD or not ran_again(step, children)]
    rows = [_row(step, StepAction.RUN) for step in runs]
    rows += _rollbacks(flow, runs)
    planned = [step.name for step in flow.plan if step.kind in ("operation", "flow")]
    names = planned or [step.step for step in runs]
    ended = flow.outcome is not None and bool(names)
    return WorkflowReport(
        workflow_id=flow.run.workflow_id if flow.run else flow.step,
        start_time=flow.started,
        end_time=flow.finished,
        status=_STATUS[flow.outcome] if ended else StepStatus.UNDEFINED,
        step_sequence=tuple(names),
        step_reports=tuple(rows),
    )


def _rollbacks(flow: AnyReport, runs: list[AnyReport]) -> list[StepReport]:
    """Give the rollbacks in time order; what has nothing to undo is skipped in its place, once unwinding came to it."""
    last = max((step.finished for step in runs if step.finished), default=flow.started)
    rows: list[tuple[Any, StepReport]] = []
    passed: list[tuple[Any, StepReport]] = []
    for step in reversed(runs):
        if step.undo is not None:
            rows += [*passed, (step.undo.scheduled or last, _row(step.undo, StepAction.ROLLBACK))]
            passed, last = [], step.undo.finished or last
        elif not _untried(flow, step):
            passed.append((last, _skipped(step, last)))
    rows += passed if flow.run and flow.run.state in _UNWOUND else []
    return [row for _, row in sorted(rows, key=lambda pair: pair[0])]


def _skipped(step: AnyReport, at: datetime | None) -> StepReport:
    return StepReport(
        step_id=step.step, action=StepAction.ROLLBACK, start_time=at, end_time=at, status=StepStatus.SKIPPED
    )


def _untried(flow: AnyReport, step: AnyReport) -> bool:
    """Whether its undo was still to come, or never tried since another one failed."""
    undoable = next((planned.undoable for planned in flow.planned if planned.name == step.step), True)
    took_effect = step.outcome in (Status.DONE, Status.UNKNOWN)
    return undoable and took_effect and (flow.run.state if flow.run else "") in ("stuck", "unwinding")


def _row(report: AnyReport, action: StepAction) -> StepReport:
    return StepReport(
        step_id=report.step,
        action=action,
        start_time=report.scheduled or report.started,
        end_time=report.finished,
        status=_STATUS[report.outcome],
        reason=report.error,
        metadata=report.metadata or {},
    )
