"""The report of a linear workflow, with the keys and words of seed automa."""

from __future__ import annotations

from base64 import b64decode, b64encode
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

from activities import Failure
from activities._json import Json

_MODEL = ConfigDict(frozen=True, extra="forbid")
_NAMES = {
    "stepID": "step_id",
    "workflowID": "workflow_id",
    "startTime": "start_time",
    "endTime": "end_time",
    "stepSequence": "step_sequence",
    "stepReports": "step_reports",
}
"""The seed's names in JSON, and those in YAML."""


def _ours(data: Any) -> Any:
    """Read either."""
    return {_NAMES.get(key, key): value for key, value in data.items()} if isinstance(data, dict) else data


def _bytes(value: Any) -> Any:
    return b64decode(value, validate=True) if isinstance(value, str) else value


Bytes = Annotated[
    bytes, BeforeValidator(_bytes), PlainSerializer(lambda v: b64encode(v).decode(), when_used="json")
]
"""Bytes, in base64 in JSON."""


class StepAction(StrEnum):
    """What a step report is of (seed automa: ``StepActionType``)."""

    RUN = "run"
    ROLLBACK = "rollback"


class ReportStatus(StrEnum):
    """How a workflow, a run of a step or its rollback ended (seed automa: ``Status``)."""

    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    UNDEFINED = "UNDEFINED"


class StepReport(BaseModel):
    """What happened to a step, forward or backward (seed automa: ``StepReport``).

    Attributes:
        step_id: the name under which the workflow lists it, with the path of the workflows that it is in.
        action: which of both.
        start_time: aware.
        end_time: aware.
        status: how it ended.
        reason: why it failed.
        metadata: what it put into ``ctx.metadata``.
    """

    model_config = _MODEL

    step_id: str = Field(serialization_alias="stepID")
    action: StepAction
    start_time: datetime = Field(serialization_alias="startTime")
    end_time: datetime = Field(serialization_alias="endTime")
    status: ReportStatus
    reason: Failure | None = None
    metadata: dict[str, Bytes] = {}

    _read = model_validator(mode="before")(_ours)


class WorkflowReport(BaseModel):
    """What happened in a run of a linear workflow (seed automa: ``WorkflowReport``).

    Attributes:
        workflow_id: of the workflow, as it was built.
        start_time: aware.
        end_time: aware; ``None`` while it runs.
        status: ``UNDEFINED`` while it runs, and of a workflow without steps.
        step_sequence: names of all its steps.
        step_reports: of what happened, in time order: runs, then rollbacks.
    """

    model_config = _MODEL

    workflow_id: str = Field(serialization_alias="workflowID")
    start_time: datetime = Field(serialization_alias="startTime")
    end_time: datetime | None = Field(default=None, serialization_alias="endTime")
    status: ReportStatus
    step_sequence: tuple[str, ...] = Field(serialization_alias="stepSequence")
    step_reports: tuple[StepReport, ...] = Field(serialization_alias="stepReports")

    _read = model_validator(mode="before")(_ours)

    def to_json(self) -> dict[str, Json]:
        """Give it with the seed's JSON keys: ``workflowID``, ``stepSequence``, …. Metadata is base64."""
        return self.model_dump(mode="json", by_alias=True)

    def to_yaml(self) -> str:
        """Write it with the seed's YAML keys: ``workflow_id``, ``step_sequence``, …. Metadata is base64."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
