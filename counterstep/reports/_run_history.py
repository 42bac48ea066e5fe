"""What a history says, as values: of a run, its steps, its timers, its children, and what operators decided."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from activities import Failure
from activities._json import Json
from activities._settled import Settled, never_settled
from activities._spans import Trace
from activities._wire import StepHeader, Verdict, without_leg
from counterstep.reports._payloads import UNREADABLE
from counterstep.reports._recorded import carried_json, plan_json
from counterstep.reports._report import Decision, Execution

UNDO = "/undo"
OPEN = ("running", "continued_as_new")
HELD, PARKED = " is held", " is parked"


@dataclass(frozen=True)
class StepHistory:
    """What a history says of one step, or of its undo.

    Attributes:
        step: its name.
        type: the activity type.
        header: that it was first sent with.
        args: what it got, as JSON: the input, or input and outcome.
        scheduled: when it was first asked for; ``None`` where that history is gone.
        order: of its first event.
        ended: how its last execution that ended left it.
        open: whether its last execution has no end.
        started: when its last execution began.
        finished: when its last execution ended.
        attempts: how many executions there were.
        worker: identity of the last worker.
        last: of the event with which its last execution was asked for.
        carried: what its last execution was told of those before it.
        last_failure: of the attempt before the last one, if that failed.
        earlier: the times it was asked for before the last one.
        in_run: workflow id and run id of the last execution, if another run than the flow's own did it.
        summary: that it was asked for with; of a step the operation's description.
        until: of an undo, the event with which its step was asked for again: what is in place isn't undone since then.
        before: of an undo, those of the step's earlier executions, oldest first.
    """

    step: str
    type: str
    header: StepHeader
    args: tuple[Json, ...]
    scheduled: datetime | None
    order: int
    ended: Settled | None = None
    open: bool = True
    started: datetime | None = None
    finished: datetime | None = None
    attempts: int = 0
    worker: str | None = None
    last: int = 0
    carried: Verdict = Verdict()
    last_failure: Failure | None = None
    earlier: tuple[Execution, ...] = ()
    in_run: tuple[str, str] | None = None
    summary: str = ""
    until: int | None = None
    before: tuple[StepHistory, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """What the executions that ended amount to."""
        return self.ended.verdict if self.ended and not self.open else self.carried

    @property
    def settled(self) -> Settled:
        """How it stands: ``unknown`` while its last execution has no end."""
        return self.ended if self.ended and not self.open else never_settled(self.verdict)

    @property
    def is_undo(self) -> bool:
        """Whether it is an undo."""
        return self.type.endswith(UNDO)

    @property
    def path(self) -> str:
        """Its name as its idempotency key has it: from the flow that all began with, as in its own leg."""
        return without_leg(self.header.path + (self.header.step or self.step))

    @property
    def execution(self) -> Execution:
        """The last time that it was asked for, as it ended."""
        settled = self.settled
        return Execution(
            scheduled=self.scheduled,
            started=self.started,
            finished=self.finished,
            attempts=self.attempts - sum(before.attempts for before in self.earlier),
            outcome=settled.status,
            error=settled.failure,
            worker=self.worker,
        )


@dataclass(frozen=True)
class TimerHistory:
    """A timer.

    Attributes:
        name: its summary; empty if it has none.
        order: of its first event.
        started: when it began.
        duration: after which it fires.
        ended: when it fired or was cancelled.
        fired: whether it fired.
        last: of its last event; 0 while it has none.
    """

    name: str
    order: int
    started: datetime
    duration: timedelta
    ended: datetime | None = None
    fired: bool = False
    last: int = 0


@dataclass(frozen=True)
class ChildHistory:
    """What the history of a run says of a child run.

    Attributes:
        step: its name in the flow.
        type: the workflow type.
        workflow_id: of the child.
        run_id: of the child's first run, once it began.
        input: as JSON.
        order: of its first event.
        scheduled: when it was asked for.
        started: when it began.
        finished: when it closed.
        status: how it closed: ``completed``, ``failed``, …; ``running`` until then.
        result: as JSON, in a tuple of one.
        failure: how it failed.
        key: of the call.
        beside: what it handed to its parent beside its result, or its parent read when it failed, as JSON.
        part: which of the linked traces of a large run it is in.
        flows: definitions of the inline flows that it is in, outermost first; ``None`` where its parent isn't ours.
    """

    step: str
    type: str
    workflow_id: str
    order: int
    scheduled: datetime
    input: Json = None
    run_id: str | None = None
    started: datetime | None = None
    finished: datetime | None = None
    status: str = "running"
    result: tuple[Json, ...] = ()
    failure: BaseException | None = None
    key: str | None = None
    beside: Json = None
    part: int = 0
    flows: tuple[str, ...] | None = None

    @property
    def passed_pivot(self) -> bool:
        """Whether it told its parent that its pivot was passed."""
        return isinstance(self.beside, dict) and bool(self.beside.get("pivoted"))

    def flow_of(self, workflow_id: str) -> str | None:
        """Give the namespace of its steps, if it is a child flow of a run of a workflow id."""
        namespace = self.workflow_id.removeprefix(f"{workflow_id}/")
        own = namespace == self.step or namespace.startswith(f"{self.step}~")
        return namespace if own and namespace != self.workflow_id else None


@dataclass(frozen=True)
class InlinePlan:
    """The recorded plan of a saga that ran inline in a run.

    Attributes:
        name: full name of the saga; its steps stand under it.
        plan: as JSON.
        order: of the event that records it.
        recorded: when that was.
    """

    name: str
    plan: dict[str, Json]
    order: int
    recorded: datetime

    @property
    def path(self) -> str:
        """What the names of its steps begin with."""
        return f"{self.name}/"


@dataclass(frozen=True)
class RunHistory:
    """What a history says of a run, or of the runs of one flow joined.

    Attributes:
        workflow_type: ``id@version``, or what it was started as.
        workflow_id: of the run.
        run_id: of the run.
        origin: the run id that Temporal keeps over resets.
        chain: the run id that its chain began with.
        input: the start input, as JSON.
        started: when it started.
        base: the run that it was reset from, if it was.
        finished: when it closed.
        status: how Temporal closed it, as the event type's name, or ``running``.
        result: as JSON, in a tuple of one.
        failure: how it failed.
        steps: every step and undo, in the order of their first events.
        found: result of the local activity that found an earlier run, as JSON.
        earlier: result of the local activity that read it, as JSON.
        resolved: result of the local activity that made a saga's plan, as JSON.
        inline: the plans of sagas that ran inline in it, in order.
        clocks: every timer, in order.
        decisions: what operators asked for, in order.
        child_runs: every child, in order.
        next_run: the run id that followed in its chain.
        previous: the run id that this one was continued from, if it was.
        events: how many there are.
        runs: run ids of all the runs that it tells of, oldest first, if they are several.
        undoing: status of the workflow that undoes it, if one does.
        root: of a child flow: the flow that it is a part of, as JSON.
        trace: that it was given when it was started, if it was.
    """

    workflow_type: str
    workflow_id: str
    run_id: str
    origin: str
    chain: str
    input: Json
    started: datetime
    base: str | None = None
    finished: datetime | None = None
    status: str = "running"
    result: tuple[Json, ...] = ()
    failure: BaseException | None = None
    steps: tuple[StepHistory, ...] = ()
    found: Json = None
    earlier: Json = None
    resolved: Json = None
    inline: tuple[InlinePlan, ...] = ()
    clocks: tuple[TimerHistory, ...] = ()
    decisions: tuple[tuple[int, Decision], ...] = ()
    child_runs: tuple[ChildHistory, ...] = ()
    next_run: str | None = None
    previous: str | None = None
    events: int = 0
    runs: tuple[str, ...] = ()
    undoing: str | None = None
    root: Json = None
    trace: Trace | None = None

    @property
    def is_open(self) -> bool:
        """Whether it goes on; one whose next run isn't there is taken to do."""
        return self.status in OPEN

    def forward(self) -> Iterator[StepHistory]:
        """Give the steps without the undos."""
        return (step for step in self.steps if not step.is_undo)

    def undo_of(self, step: str) -> StepHistory | None:
        """Give a step's newest undo, if it was ever asked for."""
        return self._undos.get(step)

    def undos_of(self, step: str) -> tuple[StepHistory, ...]:
        """Give all undos of a step, one for each of its executions that was undone, oldest first."""
        undo = self.undo_of(step)
        return () if undo is None else (*undo.before, undo)

    @cached_property
    def _undos(self) -> dict[str, StepHistory]:
        return {step.step: step for step in reversed(self.steps) if step.is_undo}

    @cached_property
    def timers(self) -> frozenset[str]:
        """Summaries of the timers that fired."""
        return frozenset(timer.name for timer in self.clocks if timer.fired)

    @cached_property
    def skips(self) -> Mapping[str, tuple[int, Decision]]:
        """Steps that an operator skipped, not their undos: what was decided last, with the order of that event."""
        return {step: word for step, word in self._skips if not self._parked(step, word[0])}

    @cached_property
    def skipped_undos(self) -> Mapping[str, int]:
        """Steps whose parked undo an operator skipped, each with the order of that event."""
        return {step: order for step, (order, _) in self._skips if self._parked(step, order)}

    @property
    def _skips(self) -> Iterator[tuple[str, tuple[int, Decision]]]:
        return ((d.step, (o, d)) for o, d in self.decisions if d.action == "skip" and d.step is not None)

    def _parked(self, step: str, order: int) -> bool:
        """Whether it was a step's undo that waited for an operator then: the timer tells, however the run ended."""
        waits = (f"{step}{PARKED}", f"{step}{HELD}")
        begun = [timer.name for timer in self.clocks if timer.order < order and timer.name in waits]
        return begun[-1:] == [waits[0]]

    @cached_property
    def carried(self) -> dict[str, Json] | None:
        """What the run before it handed on, as JSON, if it did."""
        return carried_json(self.input)

    @cached_property
    def plan(self) -> dict[str, Json] | None:
        """The recorded plan of a saga, as JSON."""
        return plan_json(self.resolved, self.carried)

    @property
    def unreadable(self) -> bool:
        """Whether a value of it is encoded, and its codec wasn't there."""
        values = (value for step in self.steps for value in (*step.args, *step.settled.output))
        return any(isinstance(value, dict) and value.keys() == {UNREADABLE} for value in values)

    @property
    def flow_origin(self) -> str:
        """The run id in which the flow itself began."""
        return str(self.carried["origin"]) if self.carried else self.origin

    @property
    def passed_pivot(self) -> bool:
        """Whether a pivot was scheduled: in it, in a child flow that ended, or in a run that it goes on from."""
        before = (taken["header"].get("pivot") for taken in (self.earlier or {}).get("steps", ()))
        return bool(
            (self.carried or {}).get("pivoted")
            or any(before)
            or any(step.header.pivot for step in self.forward())
            or any(child.passed_pivot for child in self.child_runs)
        )

    @property
    def unwinding(self) -> bool:
        """Whether the newest thing that it asked for is an undo."""
        newest = max(self.steps, key=lambda step: step.last, default=None)
        return newest is not None and newest.is_undo
