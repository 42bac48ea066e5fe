"""What goes from one leg of a long-running operation into the next, and what a run is entered with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue

from activities import InvalidInput
from activities._json import Json
from activities._schema import Schema
from activities._wire import in_leg
from flows._carry import Carried, take_along
from flows._leg import Leg
from flows._legs import Legs
from flows._metadata import PROGRESS
from flows._resume import wanted
from flows._run import Run
from flows._scope import Scope
from flows._sequence import AnySequence
from flows._start_input import start_json
from flows._undo import UndoRecord

_ANY: Schema[Any] = Schema(Any)
_CURRENT = workflow.ContinueAsNewVersioningBehavior.AUTO_UPGRADE
"""A leg begins on the deployment's current build, and stays on it: no build has to be kept for years."""


class Carrying:
    """What goes from one run of a long-running operation into the next."""

    def __init__(self, scope: Scope, legs: Legs) -> None:
        """Take what a run knows."""
        self._scope, self._legs = scope, legs

    def carry(self, cause: BaseException | None, run: Run) -> Json:
        """Give what the next run needs: to enter the next leg, or to go on with unwinding.

        Raises:
            HistoryLimit: when it is larger than what one run may hand to the next.
        """
        leg = self._legs.leg
        if run.control.unwinding:
            return take_along("", run, self._scope.records, cause).model_copy(update={"leg": leg}).pack()
        assert self._legs.next is not None, "a leg ends at a resume point"
        records = [_of_earlier(record, leg.number) for record in self._scope.records]
        carried = take_along("", run, records, cause)
        packed = carried.model_copy(update={"leg": self._legs.next, "states": {}}).pack()
        run.onward = {"memo": _memo(self._legs.next), "initial_versioning_behavior": _CURRENT}
        return packed


def _of_earlier(record: UndoRecord, leg: int) -> UndoRecord:
    """Name a step with its leg, for the next one, which gives names anew."""
    return replace(record, step=in_leg(record.step, leg))


def _memo(leg: Leg) -> dict[str, Any]:
    """Give the memo that the next run begins with: the whole, since Temporal replaces it."""
    kept: dict[str, Any] = {key: RawValue(payload) for key, payload in workflow.info().raw_memo.items()}
    return {**kept, PROGRESS: {"resume_point": leg.resume_point, "leg": leg.number, "steps_done": leg.done}}


def entered(cls: AnySequence, raw: RawValue | InvalidInput) -> tuple[Carried | None, Leg]:
    """Read what a run is entered with: the start input, or what the leg before handed on.

    Raises:
        InvalidInput: when it is neither.
    """
    who = str(cls.definition)
    request = _ANY.load(start_json(raw, who), f"{who}: input")
    carried = Carried.unpack(request) if workflow.info().continued_run_id else None
    if carried is not None and carried.leg is not None:
        return carried, carried.leg
    if wanted() is not None:
        raise InvalidInput(
            f"memo resume_from: {who} goes on at its resume points, not from another run; start without it"
        )
    return None, Leg(request=request)
