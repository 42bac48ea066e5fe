"""What the flow ``undo`` asks the world: which run, what it left, and who else undoes it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import ApplicationError

from activities import InvalidInput, Operation, OperationNotFound, Registry
from activities._failure import Failure
from activities._json import PAYLOAD_LIMIT, size
from counterstep.reports import CLAIM, READ_CHILD, UNDOING, RunHistory, in_legs
from flows import _lookup as lookup
from flows._carry import Carried
from flows._errors import Stuck, original
from flows._gathered import Gathered, Undoer, gather
from flows._handed import ALL, Handed, spliced
from flows._left import flow_origin, merged, unwound
from flows._left_plan import Untraced, all_plans_of, plans_of
from flows._plan import OperationStep, Plan
from flows._policy import Policy
from flows._resume import Found, RunRef, Taken, claim_id
from flows._told import Told
from flows._undo import NotUndone, UndoSpec, wants_undo
from flows._undone import AWAIT_UNDO, FIND_CLOSED, READ_LEFT, UNDO, Closed, Remains, Undone, Work

BATCH_BYTES = 8 * 1024 * 1024
"""Bytes of inputs and outputs that one run of the undoing workflow reads at once."""

_ALL = Policy(undo_failed_step="always")
_LOOK = 20.0
_OURS = (UNDO, UNDOING, CLAIM)


class UndoServices:
    """The activities of the flow ``undo``, with the worker's registry."""

    def __init__(self, registry: Registry) -> None:
        """Take the registry that operations are looked up in."""
        self._registry = registry

    def activities(self) -> list[Callable[..., Any]]:
        """Give them for a worker."""
        return [self.find, self.read, self.others, self.child]

    @activity.defn(name=FIND_CLOSED)
    async def find(self, ref: RunRef) -> Closed:
        """Find the run that is to be undone.

        Raises:
            InvalidInput: when it is open, gone, taken over, no flow, or a part of one that decides of it.
        """
        client = activity.client()
        described = await lookup.describe(client, ref, UNDO)
        name = f"{UNDO}: run {described.run_id} of {described.id}"
        if described.status == WorkflowExecutionStatus.RUNNING:
            raise InvalidInput(f"{name} is still open; let it end, or end it, first")
        if described.workflow_type in _OURS:
            raise InvalidInput(f"{name} is of {described.workflow_type}; name the run that is to be undone")
        run = await lookup.read_history(client, described.id, described.run_id)
        if run.status == "continued_as_new":
            return await self.find(RunRef(workflow_id=described.id, run_id=run.next_run))
        await lookup.refuse_part(client, run, name)
        origin = flow_origin(run)
        owner = await lookup.owner_of(client, described.id, origin)
        if owner is not None and not owner.undoes:
            raise lookup.owned(name, owner, "undo that one")
        previous = None if owner else await lookup.newest(client, claim_id(described.id, origin))
        found = Found(ref=RunRef(workflow_id=described.id, run_id=described.run_id), origin=origin)
        return Closed(found=found, previous=previous)

    @activity.defn(name=READ_LEFT)
    async def read(self, work: Work) -> str:
        """Read what is left to be undone, packed: as much of it as one result takes.

        Raises:
            InvalidInput: when a run of the flow is open.
        """
        client, ref, mine = activity.client(), work.found.ref, work.undone_steps()
        run = await lookup.read_history(client, ref.workflow_id, ref.run_id)
        gathered = await gather(client, run, UNDO, Undoer(work.previous, work.chain, mine))
        own = set(mine)
        already = tuple(step for step in gathered.left.undone if step not in own)
        failed = {step.step for step in work.failed}
        return await asyncio.to_thread(lambda: _fitting(self._remains(gathered, failed, already)))

    @activity.defn(name=AWAIT_UNDO)
    async def others(self, found: Found) -> Undone:
        """Wait for the end of another ``undo`` of the same run, and tell of it.

        Raises:
            InvalidInput: when nobody undoes it, but somebody took it over.
            Stuck: when that one failed.
        """
        client, ref = activity.client(), found.ref
        owner = await lookup.owner_of(client, ref.workflow_id, found.origin)
        if owner is not None and not owner.undoes:
            raise lookup.owned(f"{UNDO}: run {ref.run_id} of {ref.workflow_id}", owner, "undo that one")
        undone = await _result(client, claim_id(ref.workflow_id, found.origin))
        before = (*undone.undone, *undone.already_undone)
        by = owner.workflow_id if owner else None
        return undone.model_copy(update={"undone": (), "already_undone": before, "undone_by": by})

    @activity.defn(name=READ_CHILD)
    async def child(self, ref: RunRef) -> Handed:
        """Read what a child flow left that ended without handing anything over."""
        client = activity.client()
        run = await lookup.newest_of_chain(client, ref.workflow_id, ref.run_id)
        gathered = await gather(client, run, READ_CHILD)
        itself = unwound(run)
        remains = self._remains(gathered, set(), (), None if itself else _ALL)
        left = _stuck(run, gathered, remains) if itself else _kept(run, gathered, remains)
        return left.model_copy(update={"took_over": gathered.took_over})

    def _remains(
        self, gathered: Gathered, failed: set[str], already: tuple[str, ...], whose: Policy | None = None
    ) -> Remains:
        """Give all that is left, the steps newest last; the flow's own policy decides of it, or somebody else's."""
        plans = plans_of(gathered.runs)
        policy = whose or (plans[-1].policy if plans else Policy())
        tried = gathered.left.all_tried
        listed = {taken.step: taken for taken in gathered.left.steps}
        missing: list[NotUndone] = [step for child in gathered.left.children for step in child.missing]
        for found in _untraced(gathered):
            if isinstance(found, NotUndone):
                missing.append(found)
            else:
                listed[found.step] = merged(listed.get(found.step), found)
        steps: list[Taken] = []
        planned = {
            (step.name, step.operation): step
            for plan in plans
            for step in plan.steps
            if isinstance(step, OperationStep)
        }
        for taken in listed.values():
            wanted = taken.step in tried or wants_undo(taken.settled, policy)
            if wanted and not taken.flow and taken.step not in failed:
                self._sort(taken, planned.get((taken.step, taken.definition)), steps, missing)
        return Remains(
            policy=policy.model_copy(update={"undo_failed_step": "always"}),  # what is listed is wanted
            after=_edges(plans, gathered, steps),
            steps=tuple(steps),
            missing=tuple(missing),
            already=already,
            cause=_cause(gathered),
        )

    def _sort(
        self, taken: Taken, planned: OperationStep | None, steps: list[Taken], missing: list[NotUndone]
    ) -> None:
        """Put a step to those that can be undone here, or to those that can't; what has no undo is neither."""
        try:
            spec = self._registered(taken, planned.undo if planned else taken.undo, planned is not None)
        except OperationNotFound as error:
            missing.append(NotUndone(taken.step, taken.definition, error.message))
            return
        if spec is not None:
            steps.append(taken.model_copy(update={"undo": spec, "digest": "", "description": ""}))

    def _registered(self, taken: Taken, spec: UndoSpec | None, known: bool) -> UndoSpec | None:
        """Give how a step is undone, as recorded; else as the registered operation says.

        Raises:
            OperationNotFound: when no worker of this queue could undo it.
        """
        if taken.header.no_undo or (known and spec is None):
            return None
        if spec is not None and spec.task_queue is not None:
            return spec
        operation: Operation[Any, Any] = self._registry.retrieve(taken.definition)
        own = UndoSpec.of(operation)
        if spec is not None and own is None:
            raise OperationNotFound(f"{taken.definition} is registered without the undo that it had")
        return spec or own


def _kept(run: RunHistory, gathered: Gathered, remains: Remains) -> Handed:
    """Give what a closed child left to its parent."""
    told = Told.by(run.failure)
    named = {left.step: left for left in (*remains.missing, *(told.not_undone if told else ()))}
    whole = Handed(
        steps=tuple(taken for taken in remains.steps if taken.step not in gathered.left.decided),
        after=remains.after,
        not_undone=tuple(named.values()),
        pivoted=any(each.passed_pivot for each in gathered.runs)
        or any(child.pivoted for child in gathered.left.children),
    )
    if size(whole.model_dump(mode="json")) <= PAYLOAD_LIMIT:
        return whole
    reason = f"it left {len(whole.steps)} steps, more than its parent can take over at once; undo its root"
    missing = NotUndone(ALL, run.workflow_type, reason)
    return Handed(not_undone=(missing, *whole.not_undone), pivoted=whole.pivoted)


def _stuck(run: RunHistory, gathered: Gathered, remains: Remains) -> Handed:
    """Name what a child that undid itself couldn't undo; one that was cancelled undid everything."""
    told = Told.by(run.failure)
    if told is not None:
        return Handed(not_undone=told.not_undone)
    if run.status == "canceled":
        return Handed()
    steps = (NotUndone(s.step, s.definition, _why(gathered.runs, s.step)) for s in remains.steps)
    return Handed(not_undone=(*steps, *remains.missing))


def _why(runs: Iterable[RunHistory], step: str) -> str:
    undos = [undo for run in runs if (undo := run.undo_of(step)) is not None]
    failure = undos[-1].settled.failure if undos else None
    return str(failure.root) if failure else "not tried"


def _untraced(gathered: Gathered) -> Iterator[Taken | NotUndone]:
    """Give the local steps that may have run without a trace, in whichever run, unless another run tells of them."""
    undone = set(gathered.left.undone)
    for run in in_legs(gathered.runs):
        for path, plan in all_plans_of(run):
            found = Untraced(run, plan, path).find()
            yield from (step for step in found if step.step not in undone)


def _cause(gathered: Gathered) -> Failure | None:
    """Give why the run that is undone had failed, if it had."""
    failure = gathered.runs[-1].failure
    return original(Failure.of(failure)) if failure else None


def _edges(
    plans: list[Plan], gathered: Gathered, steps: Iterable[Taken]
) -> dict[str, tuple[str, ...]] | None:
    """Give what each step of a saga came after; ``None`` where no single plan tells of every step.

    A child is in the history of each run that knows of it: a reset has the events before it, too.
    """
    if len(plans) != 1:
        return None
    edges = {step.name: step.after for step in plans[0].steps}
    for run in gathered.runs:
        carried = Carried.unpack(run.input)
        edges |= carried.after if carried else {}
    inner: dict[str, dict[str, tuple[str, ...]]] = {}
    for child in gathered.left.children:
        inner.setdefault(child.call.step, {}).update(child.edges)
    for unit, inside in inner.items():
        edges = spliced(edges, unit, inside)
    return edges if all(taken.step in edges for taken in steps) else None


def _fitting(remains: Remains) -> str:
    """Pack the newest steps, as many as fit; the rest is for the next run. A step that never fits is named."""
    steps, missing, total = remains.steps, remains.missing, 0
    start = len(steps)
    while start and total < BATCH_BYTES:
        start -= 1
        total += size(steps[start].model_dump(mode="json"))
    while True:
        batch = {"steps": steps[start:], "more": start, "missing": missing}
        text = remains.model_copy(update=batch).packed()
        if len(text) <= PAYLOAD_LIMIT:
            return text
        if len(steps) - start > 1:
            start += (len(steps) - start) // 2
        elif steps:
            large = steps[-1]
            reason = f"its input and output have {total} bytes, more than one record can hold"
            missing = (*missing, NotUndone(large.step, large.definition, reason))
            steps = steps[:-1]
            start = max(len(steps) - 1, 0)
        else:
            raise InvalidInput(f"{UNDO}: the plan and the names of what is left don't fit into one record")


async def _result(client: Client, id: str) -> Undone:
    """Look for a while whether a workflow ends.

    Raises:
        ApplicationError: when it doesn't, to be asked again.
        Stuck: when it failed.
    """
    handle = client.get_workflow_handle(id, result_type=Undone)
    try:
        return await asyncio.wait_for(handle.result(), _LOOK)
    except TimeoutError:
        soon = timedelta(milliseconds=1)
        raise ApplicationError(f"{id} is at work", type="StillUndoing", next_retry_delay=soon) from None
    except WorkflowFailureError as error:
        cause = error.cause
        if isinstance(cause, ApplicationError) and cause.type == Stuck.__name__:
            raise Stuck(cause.message, *cause.details) from None
        why = f"{id} didn't end by itself ({Failure.of(cause)})"
        raise Stuck(f"{why}; what it undid is undone; start undo again") from None
