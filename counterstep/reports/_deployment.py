"""A run of an action as its deployment (seed actions): where it stands, what went wrong, what its jobs kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from activities import Failure
from activities._failure import cut
from activities._json import Json
from activities._notes import LINE_LIMIT
from counterstep.reports._report import Report

AnyReport = Report[Any, Any]
_MODEL = ConfigDict(frozen=True)
_STATUS = {"completed": "finished", "unwinding": "rollback"}
_NOW = ("running", "undoing", "held", "parked")


class DeploymentError(BaseModel):
    """An error of a job (seed actions: ``DeploymentError``).

    Attributes:
        job: its name.
        error: type and message.
        rollback: whether it is one of its rollback handler.
    """

    model_config = _MODEL

    job: str
    error: str
    rollback: bool = False


class Deployment(BaseModel):
    """A run of an action (seed actions: ``Deployment``).

    Attributes:
        id: the workflow id.
        application: of the action, if it has one.
        action: its name.
        version: of the action.
        status: ``running``, ``rollback``, or how it ended: ``finished``, ``rolled_back``, ``stuck``, ``kept``, ``cancelled``;
            with ``held``, ``parked`` or ``paused`` behind it while it is.
        current_job: the job that runs, or is rolled back; else the last one that began.
        rollback_error: why it is rolled back.
        errors: of its jobs: those of each job in order, then those of rollback handlers.
        job_data: by job, what it kept with ``ctx.save``; of jobs that have ended.
    """

    model_config = _MODEL

    id: str
    application: str | None
    action: str
    version: str
    status: str
    current_job: str | None = None
    rollback_error: str | None = None
    errors: tuple[DeploymentError, ...] = ()
    job_data: dict[str, Json] = {}

    def of_job(self, job: str) -> Deployment:
        """Leave out the errors and the data of other jobs."""
        errors = tuple(error for error in self.errors if error.job == job)
        data = {name: data for name, data in self.job_data.items() if name == job}
        return self.model_copy(update={"errors": errors, "job_data": data})


def deployment_of(
    report: AnyReport, view: Mapping[str, Any], workflow_id: str, cause: Failure | None
) -> Deployment:
    """Make a run's deployment.

    Args:
        report: of the run, as it stands.
        view: the query ``status``: state, and each step's.
        workflow_id: of the run.
        cause: why it is rolled back.
    """
    application, _, action = report.definition.id.rpartition("/")
    state, *more = str(view["state"]).split(", ")
    return Deployment(
        id=workflow_id,
        application=application or None,
        action=action,
        version=report.definition.version,
        status=", ".join((_STATUS.get(state, state), *more)),
        current_job=_current(report, view["steps"]),
        rollback_error=None if cause is None else str(cause),
        errors=tuple(_errors(report)),
        job_data={child.step: child.saved for child in report.children if child.saved is not None},
    )


def _current(report: AnyReport, steps: Mapping[str, str]) -> str | None:
    now = [step for step, state in steps.items() if state in _NOW]
    began = [child.step for child in report.children]
    return next(iter([*now, *began[-1:]]), None)


def _errors(report: AnyReport) -> Iterator[DeploymentError]:
    for child in report.children:
        yield from (DeploymentError(job=child.step, error=line) for line in _lines(child))
    for child in reversed(report.children):
        for line in _lines(child.undo) if child.undo else ():
            yield DeploymentError(job=child.step, error=line, rollback=True)


def _lines(report: AnyReport) -> Iterator[str]:
    """Give the errors that a handler noted, and the one that it ended with, unless it noted that last."""
    yield from report.errors
    last = cut(str(report.error), LINE_LIMIT) if report.error else None
    if last and (not report.errors or report.errors[-1] != last):
        yield last
