"""Steps that wait for an operator: held when they failed, parked when their undo failed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict
from temporalio import workflow

from activities._json import Json
from flows._policy import Policy
from flows._status import Board, leave_memo

DEADLINE = "deadline"
"""Under this name a run is held whose deadline passed after its pivot."""


class Action(StrEnum):
    """What became of a step that waited."""

    RETRY = "retry"
    SKIP = "skip"
    EDIT = "edit"
    UNWIND = "unwind"
    EXPIRED = "expired"


class StepNote(BaseModel):
    """An operator's word on a held or parked step.

    Attributes:
        step: its full name.
        by: who decided.
        reason: why.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: str
    by: str | None = None
    reason: str | None = None

    def __str__(self) -> str:
        """Give it as the end of a message."""
        return f"{f' by {self.by}' if self.by else ''}{f': {self.reason}' if self.reason else ''}"


class SkipNote(StepNote):
    """The word to skip a step, with the output that others get from it."""

    output: Any = None


class EditNote(StepNote):
    """The word to run a step again with another input."""

    input: Any


@dataclass
class Hold:
    """A step that waits.

    Attributes:
        step: its full name.
        definition: of its operation, ``id@version``.
        parked: whether its undo waits, not the step itself.
        action: the decision, once there is one.
        note: who decided, and why.
    """

    step: str
    definition: str
    parked: bool = False
    action: Action | None = None
    note: StepNote | None = None

    @property
    def state(self) -> str:
        """How it shows."""
        return "parked" if self.parked else "held"

    @property
    def value(self) -> tuple[Json, ...]:
        """The output or the input that came with the decision, in a tuple of one."""
        if isinstance(self.note, SkipNote):
            return (self.note.output,) if "output" in self.note.model_fields_set else ()
        return (self.note.input,) if isinstance(self.note, EditNote) else ()


async def decided(holds: dict[str, Hold], hold: Hold, policy: Policy, board: Board, why: str) -> Hold:
    """Wait for an operator's decision, or until the hold's time is over; the memo tells of it without a worker.

    Args:
        holds: where operators find it.
        hold: what waits.
        policy: says how long.
        board: shows it.
        why: the failure.
    """
    holds[hold.step] = hold
    board.set(hold.step, hold.state)
    leave_memo(hold.state, f"{hold.step}: {why}", [])
    try:
        await workflow.wait_condition(
            lambda: hold.action is not None,
            timeout=policy.hold_timeout,
            timeout_summary=f"{hold.step} is {hold.state}",
        )
    except TimeoutError:
        hold.action = Action.EXPIRED
    finally:
        holds.pop(hold.step, None)  # it may have been taken back
    leave_memo("running", f"{hold.step}: {hold.action}{hold.note or ''}", [])
    return hold
