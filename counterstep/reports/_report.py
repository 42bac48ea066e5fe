"""The record of one execution, with its children and its undo."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Generic, TypeVar
from uuid import UUID, uuid5

from activities import Definition, Failure, NoOutput, Status
from activities._json import Json
from activities._spans import Spot
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


class Kind(StrEnum):
    """What a report tells of."""

    OPERATION = "operation"
    FLOW = "flow"
    SUBSAGA = "subsaga"
    LEG = "leg"
    CHILD = "child"
    WAIT = "wait"
    APPROVAL = "approval"


@dataclass(frozen=True)
class Decision:
    """What an operator asked for, through an update, a cancel or a terminate.

    Attributes:
        action: ``approve``, ``reject``, ``retry``, ``skip``, ``edit``, ``unwind``, ``pause``, ``unpause``, ``stop``,
            ``cancel`` or ``terminate``.
        at: when, aware.
        step: the step or approval that it is about, if it is about one.
        by: who, in their own words; for a cancel or a terminate Temporal's word for the client.
        reason: why.
        value: the output that came with a skip, or the input that came with an edit, in a tuple of one.
    """

    action: str
    at: datetime
    step: str | None = None
    by: str | None = None
    reason: str | None = None
    value: tuple[Json, ...] = ()

    def __str__(self) -> str:
        """Give it as the end of a message."""
        return f"{f' by {self.by}' if self.by else ''}{f': {self.reason}' if self.reason else ''}"


@dataclass(frozen=True)
class Execution:
    """One time that a step was asked for; Temporal may have made several attempts of it.

    Attributes:
        scheduled: when it was asked for, aware.
        started: when its last attempt began, aware.
        finished: when it ended, aware.
        attempts: how many attempts there were.
        outcome: how it left the step.
        error: why it failed.
        worker: identity of the last worker.
    """

    scheduled: datetime | None
    started: datetime | None
    finished: datetime | None
    attempts: int
    outcome: Status
    error: Failure | None = None
    worker: str | None = None


@dataclass(frozen=True)
class Delay:
    """A time in which a step stood still.

    Attributes:
        why: ``held`` or ``parked``, for an operator; ``next attempt``, before it was asked for again.
        since: when it began, aware.
        until: when it ended, aware.
        limit: how long it would have lasted.
        expired: whether its time ran out.
    """

    why: str
    since: datetime
    until: datetime | None
    limit: timedelta
    expired: bool = False


@dataclass(frozen=True)
class Planned:
    """A step of a saga's plan.

    Attributes:
        name: full name.
        kind: ``operation``, ``constant``, ``wait``, ``approval``, ``subsaga``, …
        after: names of the steps that it comes after.
        operation: ``id@version``, of an operation.
        pivot: whether there is no way back after it.
        undoable: whether it has an undo.
    """

    name: str
    kind: str
    after: tuple[str, ...] = ()
    operation: str | None = None
    pivot: bool = False
    undoable: bool = False


@dataclass(frozen=True)
class Waiting:
    """What waits for an operator.

    Attributes:
        step: the name that an update takes: of a step, an approval or a child flow of the run, of a child flow's step that
            the run undoes, or ``deadline``.
        state: ``held``, or ``parked``: its undo.
        what: ``id@version`` of its operation or flow; ``approval``.
        why: what failed, where a failure in the history tells.
        updates: that decide of it.
    """

    step: str
    state: str
    what: str
    why: str
    updates: tuple[str, ...]


@dataclass(frozen=True)
class RunInfo:
    """The run, or the runs, that a flow's report was made from.

    Attributes:
        namespace: of Temporal.
        workflow_id: of the run.
        run_id: of its newest run.
        origin: the run id in which the flow began.
        workflow_type: ``id@version``, or what it was started as.
        status: how Temporal shows it: ``running``, ``completed``, ``failed``, ``canceled``, ``terminated``, ``timed_out``.
        state: how it stands: ``running``, ``held``, ``parked``, ``paused``, ``unwinding``, or its end: ``completed``,
            ``rolled_back``, ``stuck``, ``kept``, ``cancelled``, ``refused``, ``failed``, ``terminated``, ``timed_out``.
        events: how many the histories have.
        runs: run ids of all runs that the flow went on in, oldest first.
        reset_from: the run id that it was reset from, if it was.
        resumed_from: workflow id and origin of the flow that it went on from, if it did.
        undone_by: workflow id of the ``undo`` that undoes what it left, if there is one.
        undoing: that one's status.
        taken_over_by: workflow id and origin of the flow that went on from it, if one did.
        waiting: what waits for an operator now.
    """

    namespace: str
    workflow_id: str
    run_id: str
    origin: str
    workflow_type: str
    status: str
    state: str
    events: int
    runs: tuple[str, ...] = ()
    reset_from: str | None = None
    resumed_from: tuple[str, str] | None = None
    undone_by: str | None = None
    undoing: str | None = None
    taken_over_by: tuple[str, str] | None = None
    waiting: tuple[Waiting, ...] = ()


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
        undo: the report of its undo; of what is in place, or was.
        earlier_undos: of what its earlier executions did, oldest first: what is ``unknown`` is undone before it is edited.
        skipped: the reason, if it was skipped.
        answered_from: the run (workflow id, origin) that its output was taken from.
        saved: what the handler saved last (seed actions: job data).
        errors: that the handler noted, a line each, over all attempts.
        metadata: that the handler noted, base64 by name (seed automa).
        is_flow: whether it tells of a flow.
        kind: what it tells of.
        last_failure: of the attempt before the last, where history has it.
        earlier: the times it was asked for before the last one.
        delays: times in which it stood still.
        decisions: what operators asked for about it.
        in_run: workflow id and run id, where another run than the flow's own did it: of an undo by ``undo``.
        run: the run, of a flow that is a run of its own.
        plan: a saga's plan, in plan order.
        spot: where its span stands, of a flow, a step or an undo whose history is there.
        alone: of a child run that its parent held: its report without what became of it there.
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
    earlier_undos: tuple[Report[Any, Any], ...] = ()
    skipped: str | None = None
    answered_from: tuple[str, str] | None = None
    saved: Json = None
    errors: tuple[str, ...] = ()
    metadata: Json = None
    is_flow: bool = False
    kind: Kind = Kind.OPERATION
    last_failure: Failure | None = None
    earlier: tuple[Execution, ...] = ()
    delays: tuple[Delay, ...] = ()
    decisions: tuple[Decision, ...] = ()
    in_run: tuple[str, str] | None = None
    run: RunInfo | None = None
    plan: tuple[Planned, ...] = ()
    result: tuple[Out, ...] = field(default=(), repr=False)
    spot: Spot | None = field(default=None, compare=False, repr=False)
    alone: Report[Any, Any] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.is_flow and self.kind is Kind.OPERATION:
            object.__setattr__(self, "kind", Kind.FLOW)

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
        """Ids of the children's reports, without answered calls and waits; ``None`` for an operation (seed)."""
        return [child.id for child in self.children if child.is_execution] if self.is_flow else None

    @property
    def is_execution(self) -> bool:
        """Whether it tells of something that this run executed: no answered call, wait or approval."""
        return self.answered_from is None and self.kind not in (Kind.WAIT, Kind.APPROVAL)

    @property
    def planned(self) -> tuple[Planned, ...]:
        """The steps of its plan, and of those of sagas inline in it."""
        inner = (child for child in self.children if child.is_flow and child.kind is not Kind.CHILD)
        return (*self.plan, *(step for child in inner for step in child.planned))

    def walk(self) -> Iterator[Report[Any, Any]]:
        """Give all reports in post-order: children first, this one last."""
        for child in self.children:
            yield from child.walk()
        yield self


def report_id(identity: Identity) -> str:
    """Give the id that every report of a step has."""
    parts = (identity.namespace, identity.workflow, identity.origin, str(identity.leg), identity.step)
    return str(uuid5(_REPORTS, "\n".join(parts)))
