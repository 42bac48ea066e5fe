"""What a flow carries into its next run, so that the newest run alone suffices to go on, unwind and undo."""

from __future__ import annotations

from base64 import b64decode, b64encode
from datetime import datetime, timedelta
from typing import Literal
from zlib import compress, decompress
from zlib import error as ZlibError  # noqa: N812

from pydantic import BaseModel, ConfigDict
from temporalio import workflow

from activities import Failure, Status
from activities._json import PAYLOAD_LIMIT, Json
from activities._settled import Settled
from activities._wire import StepHeader, Verdict
from flows._control import Control, Note
from flows._errors import HistoryLimit
from flows._leg import Leg
from flows._plan import OperationStep, Plan
from flows._run import Run
from flows._undo import NotUndone, UndoRecord, UndoSpec

KEY = "$counterstep"
"""The only key of the input that a run gets from the run before it."""

_MODEL = ConfigDict(frozen=True)


class CarriedStep(BaseModel):
    """A step that may have to be undone.

    Attributes:
        step: full name.
        input: the original input.
        header: that makes its idempotency key, without what a new run knows itself.
        status: how it ended.
        output: JSON, in a tuple of one.
        failure: how it failed.
        verdict: of its executions.
        undone: whether its undo has succeeded.
        undoing: how its undo failed.
        definition: of its operation, where no plan tells.
        undo: how it is undone, where no plan tells.
    """

    model_config = _MODEL

    step: str
    input: Json
    header: StepHeader
    status: Status
    output: tuple[Json, ...] = ()
    failure: Failure | None = None
    verdict: dict[str, Json] = {}
    undone: bool = False
    undoing: Failure | None = None
    definition: str = ""
    undo: UndoSpec | None = None

    @classmethod
    def of(cls, record: UndoRecord, *, planned: bool) -> CarriedStep:
        """Take a record along; a plan tells how its steps are undone."""
        settled = record.settled or Settled(Status.UNKNOWN)
        failed = record.undoing is not None and not record.undone
        return cls(
            step=record.step,
            input=record.input,
            header=record.header,
            status=settled.status,
            output=settled.output,
            failure=settled.failure,
            verdict=settled.verdict.to_json(),
            undone=record.undone,
            undoing=record.undoing.failure if record.undoing and failed else None,
            definition="" if planned else record.definition,
            undo=None if planned else record.undo,
        )

    def record(self, order: int, definition: str, undo: UndoSpec, run_id: str) -> UndoRecord:
        """Give the record back, to the run that has it now."""
        header = self.header.model_copy(
            update={"run": run_id, "origin": self.header.origin or self.header.run}
        )
        settled = Settled(
            self.status, Verdict.from_json(self.verdict), self.output, error=error_of(self.failure)
        )
        undoing = Settled(Status.FAILED, error=error_of(self.undoing)) if self.undoing else None
        return UndoRecord(
            order,
            self.step,
            definition,
            undo,
            self.input,
            header,
            settled,
            self.undone,
            undoing,
            tried=bool(undoing),
        )


class Carried(BaseModel):
    """The state of a flow between two runs.

    Attributes:
        plan: the recorded plan of a saga, as JSON.
        origin: the run id in which the flow itself began.
        began: when it began.
        ended: names of the steps that have ended well.
        outputs: of those that no record holds.
        waits: seconds that are left of timers, by step.
        approvals: seconds that are left of approvals, by step; ``None`` without a timeout.
        records: steps that may have to be undone, in the order in which they began.
        states: that steps show.
        phase: whether steps run, or are undone.
        cause: why it unwinds.
        not_undone: steps whose undo failed, or was not tried.
        pivoted: whether the pivot was passed.
        keeping: whether a hold decided to keep everything.
        paused: whether it is paused.
        cancelled: whether a cancel ends it.
        stopped: who stopped it.
        expired: whether its deadline ends it.
        leg: the one to enter, of a long-running operation.
    """

    model_config = _MODEL

    plan: str = ""
    origin: str
    began: datetime
    ended: tuple[str, ...] = ()
    outputs: dict[str, Json] = {}
    waits: dict[str, float] = {}
    approvals: dict[str, float | None] = {}
    records: tuple[CarriedStep, ...] = ()
    states: dict[str, str] = {}
    phase: Literal["forward", "unwinding"] = "forward"
    cause: Failure | None = None
    not_undone: tuple[NotUndone, ...] = ()
    pivoted: bool = False
    keeping: bool = False
    paused: bool = False
    cancelled: bool = False
    stopped: Note | None = None
    expired: bool = False
    leg: Leg | None = None

    def planned(self) -> Plan | None:
        """Read the plan, if there is one."""
        return Plan.model_validate_json(self.plan) if self.plan else None

    def undos(self) -> dict[str, tuple[str, UndoSpec | None]]:
        """Give what undoes each step that may have to be undone: its operation, and how that is scheduled."""
        plan = self.planned()
        steps = plan.steps if plan else ()
        planned = {
            step.name: (step.operation, step.undo) for step in steps if isinstance(step, OperationStep)
        }
        return {kept.step: planned.get(kept.step) or (kept.definition, kept.undo) for kept in self.records}

    def pack(self) -> Json:
        """Write it, compressed.

        Raises:
            HistoryLimit: when it is larger than what one run may hand to the next.
        """
        packed = b64encode(compress(self.model_dump_json(exclude_defaults=True).encode())).decode()
        if len(packed) > PAYLOAD_LIMIT:
            raise HistoryLimit(
                f"what this flow carries into its next run has {len(packed)} bytes packed, {PAYLOAD_LIMIT} are allowed; "
                "keep large values elsewhere and pass references"
            )
        return {KEY: packed}

    @classmethod
    def unpack(cls, value: Json) -> Carried | None:
        """Read it back, if a start input is one: a user's own input may look like it."""
        if not (isinstance(value, dict) and set(value) == {KEY}):
            return None
        try:
            return cls.model_validate_json(decompress(b64decode(value[KEY])))
        except (ValueError, TypeError, ZlibError):
            return None

    def control(self, control: Control) -> None:
        """Give what was asked of the run back."""
        control.paused, control.cancelled = self.paused or control.paused, self.cancelled or control.cancelled
        control.stopped, control.expired = self.stopped or control.stopped, self.expired or control.expired


def take_along(plan: str, run: Run, records: list[UndoRecord], cause: BaseException | None) -> Carried:
    """Give what every flow carries; what is still to run is added by who runs it."""
    control = run.control
    return Carried(
        plan=plan,
        origin=run.origin,
        began=run.began,
        records=tuple(
            CarriedStep.of(record, planned=bool(plan)) for record in sorted(records, key=lambda r: r.order)
        ),
        states=run.board.view()["steps"],
        phase="forward" if run.unwinding is False else "unwinding",
        cause=None if cause is None else Failure.of(cause),
        not_undone=tuple(run.not_undone),
        pivoted=run.pivoted,
        keeping=run.keeping,
        paused=control.paused,
        cancelled=control.cancelled,
        stopped=control.stopped,
        expired=control.expired,
    )


def restore(carried: Carried, run: Run) -> list[UndoRecord]:
    """Give a run what the one before it left; returns the records of steps that may have to be undone."""
    run.carried_origin, run.began = carried.origin, carried.began
    run.pivoted, run.keeping = carried.pivoted, carried.keeping
    run.not_undone = list(carried.not_undone)
    run.board.restore(carried.states)
    undos, records = carried.undos(), []
    for kept in carried.records:
        operation, undo = undos[kept.step]
        assert undo is not None, "only steps with an undo have records"
        records.append(kept.record(run.order(), operation, undo, run.info.run_id))
    return records


def error_of(failure: Failure | None) -> BaseException | None:
    """Give a failure as an error with its causes."""
    return None if failure is None else failure.as_error()


def left(total: timedelta, began: datetime) -> float:
    """Give the seconds that are left of a timer."""
    return max((total - (workflow.now() - began)).total_seconds(), 0.001)
