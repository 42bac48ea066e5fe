"""What the runs of one flow left in place. Pure: histories in, steps out.

``resume_from`` and ``undo`` both ask here, so that they agree on what took effect and what was undone since.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from activities import Failure, Status
from activities._settled import Settled
from activities._wire import in_leg
from counterstep.reports import RunHistory, StepHistory
from flows._calls import call_digest
from flows._carry import Carried, CarriedStep
from flows._errors import Kept
from flows._resume import UNDOING, Taken, TakenOver
from flows._undo import UndoSpec

_ENDED_WELL = (Status.DONE, Status.SKIPPED)


@dataclass(frozen=True)
class Left:
    """What runs left in place.

    Attributes:
        steps: those whose effect nobody has undone, in the order in which they were first scheduled. How their
            operations are undone is filled in only where a plan or an earlier run says so.
        undone: names of those that were undone, in that order.
        tried: names of those whose undo was tried, and didn't succeed.
    """

    steps: tuple[Taken, ...]
    undone: tuple[str, ...]
    tried: frozenset[str]


def flow_origin(run: RunHistory) -> str:
    """Give the run id in which a run's flow itself began."""
    carried = Carried.unpack(run.input)
    return carried.origin if carried else run.origin


def left_by(
    runs: Sequence[RunHistory],
    earlier: TakenOver,
    undoing: Iterable[RunHistory] = (),
    more: Iterable[str] = (),
) -> Left:
    """Fold the histories of one flow into what they left.

    Args:
        runs: of the flow and its resets, oldest first.
        earlier: what they took over from another flow.
        undoing: of the workflow that undoes them.
        more: steps that are known to be undone beside.
    """
    steps = {taken.step: taken for taken in earlier.steps}
    undone: dict[str, None] = {}
    runs = _of_legs(runs)
    for run in runs:
        carried = Carried.unpack(run.input)
        for taken in (*_carried(run, carried), *_run(run)):
            steps[taken.step] = merged(steps.get(taken.step), taken)
        undone |= dict.fromkeys(step.step for step in (carried.records if carried else ()) if step.undone)
    undone |= dict.fromkeys(step for run in (*runs, *undoing) for step in undone_in(run))
    undone |= dict.fromkeys(more)
    tried = {step.step for run in (*runs, *undoing) for step in run.steps if step.is_undo} - set(undone)
    return Left(tuple(t for name, t in steps.items() if name not in undone), tuple(undone), frozenset(tried))


def _of_legs(runs: Sequence[RunHistory]) -> Sequence[RunHistory]:
    """Name the steps of a long-running operation with their legs, since each leg gives names anew."""
    legs = [carried.leg if (carried := Carried.unpack(run.input)) else None for run in runs]
    if not any(legs):
        return runs
    numbered = zip(runs, (leg.number if leg else 0 for leg in legs), strict=True)
    return [
        replace(run, steps=tuple(replace(step, step=in_leg(step.step, number)) for step in run.steps))
        for run, number in numbered
    ]


def merged(before: Taken | None, new: Taken) -> Taken:
    """Give a step as it stands after two runs: what one of them did stays, though the other failed at it."""
    if before is None or new.answers or before.status in (Status.FAILED, Status.SKIPPED):
        return new
    return new.model_copy(update={"status": Status.UNKNOWN, "output": ()})


def undone_in(run: RunHistory) -> list[str]:
    """Give the steps that a run undid, and that weren't run again in it afterwards."""
    last = {step.step: step.last for step in run.forward()}
    undos = [undo for undo in run.steps if undo.is_undo and undo.last > last.get(undo.step, 0)]
    skips = run.skips if _unwound(run) else {}
    return [u.step for u in undos if u.settled.status in _ENDED_WELL or skips.get(u.step, 0) > u.last]


def _unwound(run: RunHistory) -> bool:
    """Whether a run ended unwinding: a step that an operator skipped at its end was a parked undo."""
    if run.workflow_type == UNDOING:
        return True
    kept = run.failure is not None and Failure.of(run.failure).type == Kept.__name__
    return run.status == "canceled" or (run.status == "failed" and not kept)


def _run(run: RunHistory) -> Iterator[Taken]:
    """Give the steps of a run that took effect, or may have, or failed."""
    for step in run.forward():
        settled = step.settled
        if step.args and settled.verdict.called:
            yield _taken(run, step, settled)


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


def _carried(run: RunHistory, carried: Carried | None) -> Iterator[Taken]:
    """Give the steps of a flow's earlier runs, whose histories may be gone."""
    if carried is None:
        return
    undos = carried.undos()
    for kept in carried.records:
        yield _kept(run, *undos[kept.step], kept)


def _kept(run: RunHistory, operation: str, undo: UndoSpec | None, kept: CarriedStep) -> Taken:
    header = kept.header
    whose = {"workflow": header.workflow or run.workflow_id, "origin": header.origin or header.run}
    return Taken(
        step=kept.step,
        digest=call_digest("operation", operation, kept.input, header.key),
        definition=operation,
        input=kept.input,
        key=header.key,
        status=kept.status,
        output=kept.output,
        verdict=kept.verdict,
        header=header.model_copy(update=whose),
        undo=undo,
        error=kept.failure,
    )
