"""What only the server knows of an open run: attempts that a history doesn't tell of yet."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from temporalio.client import WorkflowExecutionDescription

from activities import Failure
from counterstep.reports._payloads import exception_of
from counterstep.reports._run_history import UNDO


@dataclass(frozen=True)
class Pending:
    """An activity that is scheduled or runs.

    Attributes:
        activity_id: the step's name, or ``STEP.undo``.
        type: the activity type.
        attempt: the number of the attempt that runs or comes next, from 1.
        state: ``scheduled``, ``started``, ``paused``, …
        failure: of the attempt before, if that failed.
        next_at: when the next attempt is due, if it waits for that.
        task_queue: where it runs, if the server says so.
    """

    activity_id: str
    type: str
    attempt: int
    state: str
    failure: Failure | None = None
    next_at: datetime | None = None
    task_queue: str | None = None

    @property
    def is_undo(self) -> bool:
        """Whether it is an undo."""
        return self.type.endswith(UNDO)


def pending_of(description: WorkflowExecutionDescription) -> list[Pending]:
    """Give the activities that are open in a run, as the server describes it."""
    return [_pending(one) for one in description.raw_description.pending_activities]


def _pending(one: Any) -> Pending:
    names = one.DESCRIPTOR.fields_by_name["state"].enum_type.values_by_number
    state = names[one.state].name.removeprefix("PENDING_ACTIVITY_STATE_").lower()
    next_at = one.next_attempt_schedule_time if one.HasField("next_attempt_schedule_time") else None
    options = one.activity_options.task_queue.name if one.HasField("activity_options") else ""
    return Pending(
        activity_id=one.activity_id,
        type=one.activity_type.name,
        attempt=one.attempt,
        state=state,
        failure=Failure.of(exception_of(one.last_failure)) if one.HasField("last_failure") else None,
        next_at=next_at.ToDatetime(tzinfo=UTC) if next_at else None,
        task_queue=options or None,
    )
