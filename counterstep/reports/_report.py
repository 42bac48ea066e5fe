"""The record of one execution, with its children and its undo."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID, uuid5

from activities import Definition, Failure, NoOutput, Status
from activities._json import Json
from activities._wire import Identity

In = TypeVar("In")
Out = TypeVar("Out")
_REPORTS = UUID("5d2e0a0e-7a64-5d6f-9a2b-7b0f3c1c9a51")


@dataclass(frozen=True)
class ExecutionSeries:
    """Where an execution stands in a series (seed operations).

    Attributes:
        id: the series.
        order: from 0.
    """

    id: str
    order: int


@dataclass(frozen=True)
class Report(Generic[In, Out]):
    """The record of one execution (seed operations: ``Report``).

    The one that ``execute`` returns holds what the run knows: ``attempts``, ``started`` and ``worker`` are
    ``None``. One made from history is complete, and the same every time.

    Attributes:
        id: the same in every report of the same step.
        definition: of the operation or flow.
        step: its name in the flow, with its path; empty for the flow itself.
        input: the original input.
        outcome: how it ended; ``None`` while it runs.
        timestamp: when it ended, aware.
        error: why it failed.
        children: reports of a flow's steps, in call order.
        execution_series: if it is a member of one.
        key: the call's own key, if it has one.
        scheduled: when it was asked for, aware.
        started: when its last attempt began, aware.
        finished: when it ended, aware.
        attempts: how many executions there were.
        worker: identity of the last worker.
        undo: the report of its undo.
        skipped: the reason, if it was skipped.
        answered_from: the run (workflow id, origin) that its output was taken from.
        saved: what the handler saved last (seed actions: job data).
        errors: that the handler noted, a line each, over all attempts.
        metadata: that the handler noted, base64 by name (seed automa).
    """

    id: str
    definition: Definition
    step: str
    input: In
    outcome: Status | None = None
    timestamp: datetime | None = None
    error: Failure | None = None
    children: tuple[Report[Any, Any], ...] = ()
    execution_series: ExecutionSeries | None = None
    key: str | None = None
    scheduled: datetime | None = None
    started: datetime | None = None
    finished: datetime | None = None
    attempts: int | None = None
    worker: str | None = None
    undo: Report[Any, Any] | None = None
    skipped: str | None = None
    answered_from: tuple[str, str] | None = None
    saved: Json = None
    errors: tuple[str, ...] = ()
    metadata: Json = None
    is_flow: bool = False
    result: tuple[Out, ...] = field(default=(), repr=False)

    @property
    def output(self) -> Out:
        """What it returned.

        Raises:
            NoOutput: when it returned nothing, saying why.
        """
        if self.result:
            return self.result[0]
        why = f"{self.error}" if self.error else (self.skipped or "it hasn't ended")
        raise NoOutput(f"{self.step or self.definition} ({self.definition}) has no output: {why}")

    @property
    def child_operation_reports(self) -> list[str] | None:
        """Ids of the children's reports, without answered calls; ``None`` for an operation (seed)."""
        return [child.id for child in self.children if child.answered_from is None] if self.is_flow else None

    def walk(self) -> Iterator[Report[Any, Any]]:
        """Give all reports in post-order: children first, this one last."""
        for child in self.children:
            yield from child.walk()
        yield self


def report_id(identity: Identity) -> str:
    """Give the id that every report of a step has."""
    parts = (identity.namespace, identity.workflow, identity.origin, str(identity.leg), identity.step)
    return str(uuid5(_REPORTS, "\n".join(parts)))
