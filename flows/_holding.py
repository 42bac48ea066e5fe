"""Steps that wait for an operator: held when they failed, parked when their undo failed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from temporalio import workflow

from activities._json import Json
from flows._control import Note
from flows._policy import Policy
from flows._status import Board, drop_memo, leave_memo


class Action(StrEnum):
    """What became of a step that waited."""

    RETRY = "retry"
    SKIP = "skip"
    EDIT = "edit"
    UNWIND = "unwind"
    EXPIRED = "expired"


class StepNote(Note):
    """An operator's word on a held or parked step.

    Attributes:
        step: its full name.
    """

    step: str


class SkipNote(StepNote):
    """The word to skip a step, with the output that others get from it."""

    output: Any = None

    @property
    def given(self) -> tuple[Any, ...]:
        """The output, in a tuple of one; empty where none came with it."""
        return (self.output,) if "output" in self.model_fields_set else ()


class EditNote(StepNote):
    """The word to run a step again with another input."""

    input: Any


Lacks = Callable[[str, tuple[Json, ...]], str | None]
"""Says what other steps refer to of a step's output that one lacks which is given instead, in a tuple of one."""


@dataclass
class Hold:
    """A step that waits.

    Attributes:
        step: its full name.
        definition: of its operation, ``id@version``.
        parked: whether its undo waits, not the step itself.
        typed: whether its input and output have the types of an operation, or a flow.
        action: the decision, once there is one.
        note: who decided, and why.
        lacks: what an output must have to be skipped with, where others refer to it.
    """

    step: str
    definition: str
    parked: bool = False
    typed: bool = True
    action: Action | None = None
    note: StepNote | None = None
    lacks: Lacks | None = None

    @property
    def state(self) -> str:
        """How it shows."""
        return "parked" if self.parked else "held"

    @property
    def value(self) -> tuple[Json, ...]:
        """The output or the input that came with the decision, in a tuple of one."""
        if isinstance(self.note, SkipNote):
            return self.note.given
        return (self.note.input,) if isinstance(self.note, EditNote) else ()


async def decided(holds: dict[str, Hold], hold: Hold, policy: Policy, board: Board, why: str) -> Hold:
    """Wait for an operator's decision, or until the hold's time is over; the memo tells of it without a worker.

    Afterwards the step shows what it showed before, until what was decided shows.

    Args:
        holds: where operators find it.
        hold: what waits.
        policy: says how long.
        board: shows it.
        why: the failure.
    """
    holds[hold.step] = hold
    before = board.of(hold.step)
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
    except asyncio.CancelledError:
        board.put_back(hold.step, before)
        raise
    finally:
        holds.pop(hold.step, None)  # it may have been taken back
    board.put_back(hold.step, before)
    left = next(iter(holds.values()), None)
    said = f"{hold.step}: {hold.action}{hold.note or ''}"
    if left is None:
        drop_memo()
    else:
        leave_memo(left.state, f"{left.step} waits; {said}", [])
    return hold
