"""What the runs of one flow left in place. Pure: histories in, steps out.

``resume_from`` and ``undo`` both ask here, so that they agree on what took effect and what was undone since.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from activities import Failure, Status
from activities._settled import Settled
from counterstep.reports import Decision, RunHistory, StepHistory
from flows._calls import call_digest
from flows._carried_step import CarriedStep
from flows._carry import Carried
from flows._errors import Kept
from flows._of_legs import of_legs
from flows._plan import OperationStep
from flows._resume import Taken, TakenOver
from flows._told import Told
from flows._undo import NotUndone, UndoSpec

_ENDED_WELL = (Status.DONE, Status.SKIPPED)


@dataclass(frozen=True)
class Inside:
    """What a child flow of a closed run did and left.

    Attributes:
        call: the child as a call of its parent.
        steps: what it left, by their names in the parent.
        edges: what each of its steps came after.
        order: of its first event in its parent's history.
        undone: steps of it that were undone by somebody else than the parent.
        tried: steps of it whose undo was tried, and didn't succeed.
        decided: steps of it, or of flows in it, that undid themselves: left on purpose, or named as not undone.
        missing: what it couldn't undo.
        pivoted: whether a pivot was passed in it, or in a flow in it.
    """

    call: Taken
    steps: tuple[Taken, ...]
    edges: Mapping[str, tuple[str, ...]]
    order: int
    undone: tuple[str, ...] = ()
    tried: frozenset[str] = frozenset()
    decided: frozenset[str] = frozenset()
    missing: tuple[NotUndone, ...] = ()
    pivoted: bool = False


@dataclass(frozen=True)
class Left:
    """What runs left in place.

    Attributes:
        steps: those whose effect nobody has undone, in the order in which they were first scheduled. How their
            operations are undone is filled in only where a plan or an earlier run says so.
        undone: names of those that were undone, in that order.
        tried: names of those whose undo was tried, and didn't succeed.
        children: what each child flow left.
    """

    steps: tuple[Taken, ...]
    undone: tuple[str, ...]
    tried: frozenset[str]
    children: tuple[Inside, ...] = ()

    @property
    def all_tried(self) -> frozenset[str]:
        """Those that child flows tried to undo, too."""
        return self.tried.union(*(child.tried for child in self.children))

    @property
    def decided(self) -> frozenset[str]:
        """The steps of child flows that undid themselves."""
        return frozenset().union(*(child.decided for child in self.children))


def flow_origin(run: RunHistory) -> str:
    """Give the run id in which a run's flow itself began."""
    carried = Carried.unpack(run.input)
    return carried.origin if carried else run.origin


def left_by(
    runs: Sequence[RunHistory],
    earlier: TakenOver,
    undoing: Iterable[RunHistory] = (),
    more: Iterable[str] = (),
    inside: Mapping[str, Sequence[Inside]] = MappingProxyType({}),
) -> Left:
    """Fold the histories of one flow into what they left.

    Args:
        runs: of the flow and its resets, oldest first.
        earlier: what they took over from another flow.
        undoing: of the workflow that undoes them.
        more: steps that are known to be undone beside.
        inside: what their child flows left, by run id.
    """
    steps = {taken.step: taken for taken in earlier.steps}
    undone: dict[str, None] = {}
    runs, inside = of_legs(runs, inside)
    for run in runs:
        carried = Carried.unpack(run.input)
        for taken in (*_carried(run, carried), *_run(run, inside.get(run.run_id, ()))):
            steps[taken.step] = merged(steps.get(taken.step), taken)
        undone |= dict.fromkeys(step.step for step in (carried.steps() if carried else ()) if step.undone)
    ours = dict.fromkeys((*(step for run in (*runs, *undoing) for step in undone_in(run)), *more))
    undone |= ours
    children = tuple(child for run in runs for child in inside.get(run.run_id, ()))
    undone |= dict.fromkeys(step for child in children for step in child.undone)
    tried = {step.step for run in (*runs, *undoing) for step in run.steps if step.is_undo} - set(undone)
    standing = tuple(
        taken
        for name, taken in steps.items()
        if name not in undone and not _partly_undone(taken, undone if taken.given is None else ours)
    )
    return Left(standing, tuple(undone), frozenset(tried), children)


def _partly_undone(taken: Taken, undone: Iterable[str]) -> bool:
    """Whether a child flow answers no call any more, since something in it was undone.

    One that an operator skipped may have undone itself before.
    """
    return bool(taken.flow) and any(step.startswith(f"{taken.flow}/") for step in undone)


def merged(before: Taken | None, new: Taken) -> Taken:
    """Give a step as it stands after two runs: what one of them did stays, though the other failed at it."""
    if before is None or new.ended_well or before.status in (Status.FAILED, Status.SKIPPED):
        return new
    return new.model_copy(update={"status": Status.UNKNOWN, "output": ()})


def undone_in(run: RunHistory) -> list[str]:
    """Give the steps that a run undid, and that weren't run again in it afterwards."""
    return [undo.step for undo in undos_in(run)]


def undos_in(run: RunHistory) -> list[StepHistory]:
    """Give the undos of those steps."""
    last = {step.step: step.last for step in run.forward()}
    undos = [undo for undo in run.steps if undo.is_undo and undo.last > last.get(undo.step, 0)]
    return [u for u in undos if u.settled.status in _ENDED_WELL or run.skipped_undos.get(u.step, 0) > u.last]


def unwound(run: RunHistory) -> bool:
    """Whether a run ended unwinding."""
    told = Told.by(run.failure)
    kept = run.failure is not None and Failure.of(run.failure).type == Kept.__name__
    if run.status == "canceled":
        return not run.passed_pivot
    return run.status == "failed" and not (kept or (told is not None and told.kept))


def _run(run: RunHistory, inside: Sequence[Inside]) -> Iterator[Taken]:
    """Give the steps of a run that took effect, or may have, or failed, those of its child flows in their place."""
    rows = [
        (step.order, _taken(run, step, step.settled))
        for step in run.forward()
        if step.args and (step.settled.verdict.called or skip_of(run, step.step, step.last))
    ]
    rows += [(child.order, taken) for child in inside for taken in (*child.steps, child.call)]
    return (taken for _, taken in sorted(rows, key=lambda row: row[0]))


def _taken(run: RunHistory, step: StepHistory, settled: Settled) -> Taken:
    header, skip = step.header, skip_of(run, step.step, step.last)
    whose = {"workflow": header.workflow or run.workflow_id, "origin": header.origin or run.origin}
    return Taken(
        step=step.step,
        digest=call_digest("operation", step.type, step.args[0], header.key),
        definition=step.type,
        input=step.args[0],
        key=header.key,
        status=settled.status,
        output=settled.output,
        skipped=f"skipped{skip}" if skip else settled.skipped,
        given=skip.value if skip else None,
        verdict=settled.verdict.to_json(),
        header=header.model_copy(update=whose),
        timestamp=step.finished.isoformat() if step.finished else None,
        error=settled.failure,
    )


def skip_of(run: RunHistory, step: str, last: int) -> Decision | None:
    """Give the word of an operator who skipped a step, not its undo, if nothing was asked of it since.

    Args:
        run: that the step is of.
        step: its name.
        last: the event with which it was last asked for.
    """
    order, skip = run.skips.get(step, (0, None))
    return skip if order > last else None


def _carried(run: RunHistory, carried: Carried | None) -> Iterator[Taken]:
    """Give the steps of a flow's earlier runs, whose histories may be gone."""
    if carried is None:
        return
    plan = carried.planned()
    steps = plan.steps if plan else ()
    planned = {step.name: (step.operation, step.undo) for step in steps if isinstance(step, OperationStep)}
    for kept in carried.steps():
        yield _kept(run, *(kept.unplanned or planned[kept.step]), kept)


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
        verdict=kept.verdict.to_json(),
        header=header.model_copy(update=whose),
        undo=undo,
        error=kept.failure,
    )
