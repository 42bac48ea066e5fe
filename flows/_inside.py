"""What the child flows of closed runs did and left: handed over beside their results, or read from their histories."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from activities import Failure, InvalidInput, Status
from activities._wire import StepHeader
from counterstep.reports import CLAIM, UNDOING, ChildHistory, RunHistory
from flows import _lookup as lookup
from flows._calls import call_digest
from flows._handed import ALL, LEAVES_NOTHING, Handed
from flows._left import Inside, Left, merged, skip_of, undone_in, unwound
from flows._resume import RunRef, Taken
from flows._undo import NotUndone

Read = Callable[[RunHistory], Awaitable[Left]]


async def inside(client: Client, runs: Iterable[RunHistory], who: str, read: Read) -> dict[str, list[Inside]]:
    """Give what the child flows of runs left, by run id.

    Args:
        client: asks the server.
        runs: of one flow.
        who: wants to know; begins the message.
        read: says what a closed run left.

    Raises:
        InvalidInput: when a child flow is open.
    """
    found: dict[str, list[Inside]] = {}
    for run in runs:
        for child in run.child_runs:
            flow = child.flow_of(run.workflow_id)
            if flow is not None and child.run_id is not None and child.type not in (CLAIM, UNDOING):
                known = await _left(client, child, f"{who}: child {child.workflow_id}", read)
                found.setdefault(run.run_id, []).append(_inside(run, child, flow, known))
    return found


@dataclass(frozen=True)
class _Known:
    """What is known of a closed child, by its own names; see :class:`Inside`."""

    left: Handed = Handed()
    undone: tuple[str, ...] = ()
    tried: frozenset[str] = frozenset()
    decided: frozenset[str] = frozenset()


async def _left(client: Client, child: ChildHistory, who: str, read: Read) -> _Known:
    """Give what a child left, and which of its steps were undone by others than its parent."""
    handed = _told(child)
    if handed is not None:
        return await _since(client, child, handed, read)
    try:
        run = await lookup.newest_of_chain(client, child.workflow_id, child.run_id)
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        if child.beside is not None:
            return _Known(Handed.model_validate(child.beside))
        gone = NotUndone(ALL, child.type, f"the history of {child.workflow_id} is gone")
        return _Known(Handed(not_undone=(gone,)))
    if run.status == "running":
        raise InvalidInput(f"{who} is still open; let it end, or end it, first")
    left = await read(run)
    steps = tuple(taken for taken in left.steps if not taken.flow)
    passed = run.passed_pivot or any(child.pivoted for child in left.children)
    handed = Handed(steps=steps, pivoted=passed)
    decided = frozenset(taken.step for taken in steps) if unwound(run) else left.decided
    return _Known(handed, left.undone, left.all_tried, decided)


async def _since(client: Client, child: ChildHistory, handed: Handed, read: Read) -> _Known:
    """Give what a child left that told its parent, and what became of it since."""
    again = await lookup.reset_of(client, child.workflow_id, str(child.run_id))
    if again is not None:
        left = await read(again)
        return _Known(_with_resets(handed, left), left.undone, left.all_tried)
    if any("/" in taken.step for taken in handed.steps) and (run := await _still_there(client, child)):
        left = await read(run)  # children of its own may have been undone, or reset, by themselves
        return _Known(handed, left.undone, left.all_tried)
    undoing = await lookup.undoing_runs(client, child.workflow_id, str(child.run_id))
    return _Known(handed, tuple(step for run in undoing for step in undone_in(run)))


async def _still_there(client: Client, child: ChildHistory) -> RunHistory | None:
    """Read the run that a child ended as, if its history isn't gone."""
    try:
        return await lookup.newest_of_chain(client, child.workflow_id, child.run_id)
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        return None


def _told(child: ChildHistory) -> Handed | None:
    """Give what a child left as its parent was told, if the end of the child tells that."""
    if child.status == "completed":
        return Handed.model_validate(child.beside or {})
    nothing = child.failure is not None and Failure.of(child.failure).type in LEAVES_NOTHING
    return Handed() if nothing else None


def _with_resets(handed: Handed, left: Left) -> Handed:
    """Give what a child left together with its resets, of which its parent was told nothing."""
    steps = {taken.step: taken for taken in handed.steps}
    for taken in (taken for taken in left.steps if not taken.flow):
        before = steps.get(taken.step)
        undo = before.undo if before else taken.undo
        steps[taken.step] = merged(before, taken).model_copy(update={"undo": undo})
    known = len(steps) == len(handed.steps)
    pivoted = handed.pivoted or any(taken.header.pivot for taken in steps.values())
    after = handed.after if known else None
    return handed.model_copy(update={"steps": tuple(steps.values()), "after": after, "pivoted": pivoted})


def _inside(run: RunHistory, child: ChildHistory, flow: str, known: _Known) -> Inside:
    named = known.left.under(f"{flow}/")
    return Inside(
        call=_call(run, child, flow, known.left),
        steps=named.steps,
        edges=named.edges(),
        order=child.order,
        undone=tuple(f"{flow}/{step}" for step in known.undone),
        tried=frozenset(f"{flow}/{step}" for step in known.tried),
        decided=frozenset(f"{flow}/{step}" for step in known.decided),
        missing=named.not_undone,
        pivoted=known.left.pivoted,
    )


def _call(run: RunHistory, child: ChildHistory, flow: str, left: Handed) -> Taken:
    """Give the child as a call: it answers an equal one, or goes on where it left something."""
    ended = child.status == "completed"
    skip = None if ended else skip_of(run, child.step, child.order)
    left_run = RunRef(workflow_id=child.workflow_id, run_id=child.run_id)
    return Taken(
        step=child.step,
        digest=call_digest("flow", child.type, child.input, child.key),
        definition=child.type,
        input=child.input,
        key=child.key,
        status=Status.DONE if ended else Status.FAILED,
        output=child.result,
        header=StepHeader(
            run=run.run_id,
            workflow=run.workflow_id,
            origin=run.origin,
            key=child.key,
            pivot=left.pivoted,
        ),
        timestamp=child.finished.isoformat() if child.finished else None,
        flow=flow,
        run=left_run if left.steps and not (ended or skip) else None,
        given=skip.value if skip else None,
        skipped=f"skipped{skip}" if skip else None,
    )
