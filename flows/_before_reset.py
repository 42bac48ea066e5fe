"""A run that was reset and unwinds: what its flow did beyond the reset point, in the runs before, is undone too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from activities import InvalidInput, Status
from flows._resume import Taken, TakenOver, ask
from flows._undo import NotUndone, UndoRecord, wants_undo

if TYPE_CHECKING:
    from flows._scope import Scope

LEFT_BEFORE_RESET = "counterstep-left-before-reset"
"""Local activity that lists what the other runs of a reset run's flow left in place."""
_WHY = "done before the reset, beyond its point; start undo of this workflow, which undoes it"


async def take_up(scope: Scope) -> None:
    """Take up what the runs before a reset left, as this one's own; what can't be undone in order is named as not undone.

    A run that went on as new after its reset doesn't know of it any more; a later leg of a long-running operation, which
    gives names anew, asks nothing.
    """
    run = scope.run
    if scope.path or run.leg or run.took_up or not run.guard.passed:
        return
    run.took_up = True
    try:
        left: TakenOver = await ask(
            LEFT_BEFORE_RESET, run.info.workflow_id, run.info.run_id,
            result_type=TakenOver, summary="what was done before the reset?",
        )  # fmt: skip
    except InvalidInput as error:
        run.not_undone.append(
            NotUndone("what was done before the reset", str(run.definition), f"not known: {error.message}")
        )
        return
    _mark_unknown(scope.records, left.steps)
    for taken in _beyond(scope, left.steps):
        record = taken.record(run.order())
        if record is None or not wants_undo(taken.settled, scope.policy):
            continue
        if _has_a_place(scope, left.steps, taken):
            scope.records.append(record)
        else:
            run.not_undone.append(NotUndone(taken.step, taken.definition, _WHY))


def _mark_unknown(records: Iterable[UndoRecord], steps: Iterable[Taken]) -> None:
    """Count as unknown what failed in this run and took effect, or may have, before the reset: under the same key."""
    had_effect = {t.step for t in steps if t.status in (Status.DONE, Status.UNKNOWN)}
    for record in records:
        if record.step in had_effect and record.settled and record.settled.status is Status.FAILED:
            record.settled = replace(record.settled, status=Status.UNKNOWN)


def _beyond(scope: Scope, steps: Iterable[Taken]) -> Iterator[Taken]:
    """Give the steps of which this run has neither done nor undone anything."""
    run = scope.run
    mine = {record.step for record in scope.records} | run.undo_names | run.taken_records.keys()
    return (taken for taken in steps if taken.step not in mine)


def _has_a_place(scope: Scope, steps: Iterable[Taken], taken: Taken) -> bool:
    """Whether it is known what a step came after, and no pivot was passed, from which there is no way back."""
    if any(step.header.pivot for step in steps):
        return False
    return scope.graph is None or taken.step in scope.graph
