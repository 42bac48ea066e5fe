"""What a flow carries into its next run, so that the newest run alone suffices to go on, unwind and undo."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Literal
from zlib import compress

from pydantic import BaseModel, ConfigDict, ValidationError

from activities import Failure
from activities._json import Json
from counterstep.reports import CARRIED, carried_text
from flows._breath import MANY, breathe
from flows._carried_step import CarriedStep
from flows._control import Control, Note
from flows._errors import HistoryLimit
from flows._leg import Leg
from flows._packed import LIMIT
from flows._plan import Plan
from flows._recorded import Recorded
from flows._run import Run
from flows._undo import NotUndone, UndoRecord, UndoSpec

KEY = CARRIED
"""The only key of the input that a run gets from the run before it."""

_MODEL = ConfigDict(frozen=True)


class Carried(BaseModel):
    """The state of a flow between two runs.

    Attributes:
        plan: the recorded plan of a saga, as JSON.
        origin: the run id in which the flow itself began.
        began: when it began.
        ended: names of the steps that what comes after them needn't wait for: those that have ended well, or, where
            the policy continues on failure, ended.
        failures: that the flow went on after.
        outputs: of those that no record holds.
        waits: seconds that are left of timers, by step.
        approvals: seconds that are left of approvals, by step; ``None`` without a timeout.
        after: what steps came after, where child flows changed what the plan says.
        records: steps that may have to be undone, in the order in which they began; see :meth:`steps`.
        states: that steps show.
        phase: whether steps run, or are undone.
        cause: why it unwinds.
        not_undone: steps whose undo failed, or was not tried.
        pivoted: whether the pivot was passed.
        paused: whether it is paused.
        cancelled: whether a cancel ends it.
        stopped: who stopped it.
        expired: whether its deadline ends it.
        leg: the one to enter, of a long-running operation.
        spans: how many steps it has begun, which says in which trace the next one is.
        trace: that it is in, where it can't be derived.
    """

    model_config = _MODEL

    plan: str = ""
    origin: str
    began: datetime
    ended: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()
    outputs: dict[str, Json] = {}
    waits: dict[str, float] = {}
    approvals: dict[str, float | None] = {}
    after: dict[str, tuple[str, ...]] = {}
    records: tuple[Json, ...] = ()
    states: dict[str, str] = {}
    phase: Literal["forward", "unwinding"] = "forward"
    cause: Failure | None = None
    not_undone: tuple[NotUndone, ...] = ()
    pivoted: bool = False
    paused: bool = False
    cancelled: bool = False
    stopped: Note | None = None
    expired: bool = False
    leg: Leg | None = None
    spans: int = 0
    trace: str | None = None

    def steps(self) -> Iterator[CarriedStep]:
        """Read the steps that may have to be undone."""
        return (CarriedStep.from_json(row, self.origin, self.trace) for row in self.records)

    def planned(self) -> Plan | None:
        """Read the plan, if there is one."""
        return Plan.model_validate_json(self.plan) if self.plan else None

    def pack(self) -> Json:
        """Write it, compressed.

        Raises:
            HistoryLimit: when it is larger than what one run may hand to the next.
        """
        packed = b64encode(compress(self.model_dump_json(exclude_defaults=True).encode())).decode()
        if len(packed) > LIMIT:
            carries = f"what this flow carries into its next run has {len(packed)} bytes packed"
            raise HistoryLimit(
                f"{carries}, {LIMIT} are allowed; keep large values elsewhere and pass references"
            )
        return {KEY: packed}

    @classmethod
    def unpack(cls, value: Json) -> Carried | None:
        """Read it back, if a start input is one: a user's own input may look like it."""
        text = carried_text(value)
        try:
            return None if text is None else cls.model_validate_json(text)
        except ValidationError:
            return None

    def control(self, control: Control) -> None:
        """Give what was asked of the run back."""
        control.paused, control.cancelled = self.paused or control.paused, self.cancelled or control.cancelled
        control.stopped, control.expired = self.stopped or control.stopped, self.expired or control.expired
        control.unwinding = self.phase == "unwinding"


def take_along(
    plan: str,
    run: Run,
    records: list[UndoRecord],
    cause: BaseException | None,
    earlier: tuple[Json, ...] = (),
    planned: Collection[str] = (),
) -> Carried:
    """Give what every flow carries; what is still to run is added by who runs it.

    Args:
        plan: as it was recorded.
        run: that ends.
        records: of steps that may have to be undone.
        cause: why it unwinds.
        earlier: the steps that the run before it carried; those whose undo didn't begin go along as they are.
        planned: names of the steps whose operations the plan tells.
    """
    control = run.control
    rows = {row["step"]: row for row in earlier}
    for record in sorted(records, key=lambda r: r.order):
        if record.undoing is not None or record.step not in rows:
            rows[record.step] = CarriedStep.of(record, planned=record.step in planned).to_json(run.origin)
    return Carried(
        plan=plan,
        origin=run.origin,
        began=run.began,
        records=tuple(rows.values()),
        states=run.board.view()["steps"],
        phase="unwinding" if run.control.unwinding else "forward",
        cause=None if cause is None else Failure.of(cause),
        not_undone=tuple(run.not_undone),
        pivoted=run.pivoted,
        paused=control.paused,
        cancelled=control.cancelled,
        stopped=control.stopped,
        expired=control.expired,
        spans=run.spans.steps,
        trace=run.spans.stamp(),
    )


def restore(carried: Carried, run: Run) -> None:
    """Give a run what the one before it left, but for the records of its steps."""
    run.carried_origin, run.began = carried.origin, carried.began
    run.spans.restore(carried.origin, carried.spans)
    if carried.pivoted:
        run.pivots.add("in an earlier run")
    run.not_undone = list(carried.not_undone)
    run.board.restore(carried.states)


async def records_of(carried: Carried, plan: Recorded | None, run: Run) -> list[UndoRecord]:
    """Give the records of steps that earlier runs began, before all of this run."""
    records: list[UndoRecord] = []
    for order, kept in enumerate(carried.steps(), -len(carried.records)):
        operation, undo = kept.unplanned or _planned(plan, kept.step)
        records.append(kept.record(order, operation, undo, run.info.run_id))
        if len(records) % MANY == 0:
            await breathe(run.control, len(carried.records))
    return records


def _planned(plan: Recorded | None, step: str) -> tuple[str, UndoSpec]:
    assert plan is not None, "a step that no plan tells of is carried with how it is undone"
    return plan.undo(step)
