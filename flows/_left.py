"""What the runs of one origin left in place. Pure: histories in, steps out.

``resume_from`` and ``undo`` both ask here, so that they agree on what took effect and what was undone since.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from activities import Failure, Status
from activities._settled import Settled
from counterstep.reports import RunHistory, StepHistory
from flows._calls import call_digest
from flows._errors import Kept
from flows._resume import Taken, TakenOver

_ENDED_WELL = (Status.DONE, Status.SKIPPED)


@dataclass(frozen=True)
class Left:
    """What runs left in place.

    Attributes:
        steps: those whose effect nobody has undone, in the order in which they were first scheduled. What is known
            of their operations' undos isn't filled in.
        undone: names of those that were undone.
        tried: names of those whose undo was tried, and didn't succeed.
    """

    steps: tuple[Taken, ...]
    undone: frozenset[str]
    tried: frozenset[str]


def left_by(runs: Sequence[RunHistory], earlier: TakenOver, undoing: Iterable[RunHistory] = ()) -> Left:
    """Fold the histories of one origin into what they left.

    Args:
        runs: of the flow and its resets, oldest first.
        earlier: what they took over from another run.
        undoing: of the workflow that undoes them.
    """
    steps = {taken.step: taken for taken in earlier.steps}
    for run in runs:
        for step in run.forward():
            settled = step.settled
            if step.args and settled.verdict.called:
                steps[step.step] = merged(steps.get(step.step), _taken(run, step, settled))
    asked = {step.step for run in (*runs, *undoing) for step in run.steps if step.is_undo}
    undone = frozenset(name for run in (*runs, *undoing) for name in undone_in(run))
    kept = (taken for name, taken in steps.items() if name not in undone)
    return Left(tuple(kept), undone, frozenset(asked) - undone)


def merged(before: Taken | None, new: Taken) -> Taken:
    """Give a step as it stands after two runs: what one of them did stays, though the other failed at it."""
    if before is None or new.answers or before.status in (Status.FAILED, Status.SKIPPED):
        return new
    return new.model_copy(update={"status": Status.UNKNOWN, "output": ()})


def undone_in(run: RunHistory) -> set[str]:
    """Give the steps that a run undid, and that weren't run again in it afterwards."""
    last = {step.step: step.last for step in run.forward()}
    undos = [undo for undo in run.steps if undo.is_undo and undo.last > last.get(undo.step, 0)]
    skips = run.skips if _unwound(run) else {}
    return {u.step for u in undos if u.settled.status in _ENDED_WELL or skips.get(u.step, 0) > u.last}


def _unwound(run: RunHistory) -> bool:
    """Whether a run ended unwinding: a step that an operator skipped at its end was a parked undo."""
    kept = run.failure is not None and Failure.of(run.failure).type == Kept.__name__
    return run.status == "canceled" or (run.status == "failed" and not kept)


def _taken(run: RunHistory, step: StepHistory, settled: Settled) -> Taken:
    header = step.header
    whose = {"workflow": header.workflow or run.workflow_id, "origin": header.origin or run.origin}
    return Taken(
        step=step.step,
        digest=call_digest("operation", step.type, step.args[0], header.key),
        definition=step.type,
        input=step.args[0],
        key=header.key,
        status=settled.status,
        output=settled.output,
        skipped=settled.skipped,
        verdict=settled.verdict.to_json(),
        header=header.model_copy(update=whose),
        timestamp=step.finished.isoformat() if step.finished else None,
        error=settled.failure,
    )
