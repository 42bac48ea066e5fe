"""Local activities of ours: what flows must ask the world, beside running operations."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from typing import Any

from temporalio import activity
from temporalio.client import Client, WorkflowExecutionStatus

from activities import EmptyInput, InvalidInput, OperationNotFound, Registry, Status, UnknownFlow
from activities import Operation as Op
from activities._json import PAYLOAD_LIMIT, size
from activities._wire import SENT
from counterstep.reports import RunHistory
from flows import _lookup as lookup
from flows._before_reset import LEFT_BEFORE_RESET
from flows._earlier import resumable
from flows._flow import CANCEL
from flows._gathered import gather
from flows._in_time import in_time
from flows._interceptor import wrong_count
from flows._left import Left, flow_origin
from flows._lost import LOST_TASK
from flows._operated import CHECK
from flows._plan_read import checked_plan
from flows._reset import REFUSED, UNDONE_IN_ORIGIN
from flows._resolved import PLAN, PLAN_INLINE, RESOLVE, InlinePlan, Resolved
from flows._resume import FIND, READ, Found, Owner, RunRef, Taken, TakenOver
from flows._saga import Saga
from flows._undo import UndoSpec

_WHO, _RESET = "resume_from", "what was done before the reset"


class Services:
    """The local activities, with the worker's registry."""

    def __init__(self, registry: Registry) -> None:
        """Take the registry that names are resolved in."""
        self._registry = registry
        self._flows = Registry(*registry.flows())

    def activities(self) -> list[Callable[..., Any]]:
        """Give them for a worker."""
        return [
            self.resolve,
            self.plan_inline,
            self.fits,
            self.cancel,
            self.undone,
            self.lost,
            self.sent,
            self.find,
            self.read,
            self.left_before_reset,
        ]

    @activity.defn(name=RESOLVE)
    async def resolve(self, workflow_type: str, inputs: list[dict[str, Any]]) -> Resolved:
        """Say what a workflow type stands for; a saga's plan is built here, from its params.

        Raises:
            UnknownFlow: listing near names.
            InvalidInput: when the input of a saga doesn't fit.
            InvalidPlan: listing every mistake.
        """
        if workflow_type == PLAN:
            typed = _one_input(workflow_type, inputs)
            return await in_time(lambda: Resolved.of(checked_plan(typed, self._registry)), PLAN)
        try:
            found = self._flows.retrieve(workflow_type)
        except OperationNotFound as error:
            raise UnknownFlow(self._operation(workflow_type) or f"flow {error.message}") from None
        if not isinstance(found, Saga):
            return Resolved(flow=str(found.definition))
        none = not inputs and found.input.type is EmptyInput
        data = {} if none else _one_input(workflow_type, inputs)
        return await in_time(lambda: self._built(found, data), str(found.definition))

    @activity.defn(name=PLAN_INLINE)
    async def plan_inline(self, name: str, saga: str, data: Any) -> InlinePlan:
        """Build the plan of a saga that runs inline under a name.

        Raises:
            UnknownFlow: when this worker doesn't serve it.
            InvalidInput, InvalidPlan: as in :meth:`resolve`.
        """
        resolved = await self.resolve(saga, [{"json": data}])
        return InlinePlan(name=name, plan=resolved.plan or "")

    def _built(self, found: Saga[Any, Any], data: Any) -> Resolved:
        params = found.input.load_value(data, f"{found.definition}: input")
        return Resolved.of(found.plan(params, self._registry))

    def _operation(self, name: str) -> str | None:
        try:
            found = self._registry.retrieve(name).definition
        except OperationNotFound:
            return None
        return f"{found} is an operation, not a flow; start a flow that executes it"

    @activity.defn(name=CHECK)
    async def fits(self, operation: str, side: str, value: Any) -> str | None:
        """Say why a value doesn't fit an operation's input or output; ``None`` when it does."""
        try:
            op: Op[Any, Any] = self._registry.retrieve(operation)
            (op.input if side == "input" else op.output).load_value(value, f"{side} of {operation}")
        except (InvalidInput, OperationNotFound) as error:
            return error.message
        return None

    @activity.defn(name=CANCEL)
    async def cancel(self, workflow_id: str, run_id: str) -> None:
        """Cancel a run that goes on with the unwinding of a cancelled one."""
        await activity.client().get_workflow_handle(workflow_id, run_id=run_id).cancel()

    @activity.defn(name=UNDONE_IN_ORIGIN)
    async def undone(self, workflow_id: str, run_id: str) -> list[str]:
        """List the steps that were undone in any run of this run's flow: by itself, or by another flow."""
        client = activity.client()
        run = await lookup.read_history(client, workflow_id, run_id)
        try:
            await lookup.refuse_part(client, run, f"run {run_id} of {workflow_id}")
        except InvalidInput as error:
            return [f"{REFUSED}{error.message}"]
        flow = flow_origin(run)
        runs = await lookup.runs_of_flow(client, workflow_id, run_id, flow, whole=True)
        runs += await lookup.undoing_runs(client, workflow_id, flow)
        steps = dict.fromkeys(step.step for run in runs for step in run.steps if step.is_undo)
        steps |= dict.fromkeys([step async for step in _undone_inside(client, runs)])
        owner = await lookup.owner_of(client, workflow_id, flow)
        if owner is not None and not (owner.undoes and steps):
            what = "undone" if owner.undoes else "taken over"
            steps[f"everything ({what} by {owner.workflow_id})"] = None
        return list(steps)

    @activity.defn(name=LOST_TASK)
    async def lost(self, workflow_id: str, run_id: str, until: int) -> bool:
        """Say whether a workflow task of this run was lost since the last one that Temporal took before an event."""
        return await lookup.lost_a_task(activity.client(), workflow_id, run_id, until)

    @activity.defn(name=SENT)
    async def sent(self, step: str, told: dict[str, Any]) -> dict[str, Any]:
        """Record what a local step was sent with: the history of a local activity holds only what it returns."""
        return {"step": step, **told}

    @activity.defn(name=FIND)
    async def find(self, ref: RunRef, me: Owner, workflow_type: str) -> Found:
        """Find the run that another one wants to go on from.

        Raises:
            InvalidInput: when it is open, gone, of another definition, or taken over.
        """
        client = activity.client()
        described = await lookup.describe(client, await _target(client, ref, me), _WHO)
        name = f"{_WHO}: run {described.run_id} of {described.id}"
        if described.status == WorkflowExecutionStatus.RUNNING:
            raise InvalidInput(f"{name} is still open; let it end, or end it, first")
        if described.workflow_type != workflow_type:
            raise InvalidInput(f"{name} is of {described.workflow_type}, not of {workflow_type}")
        run = await lookup.read_history(client, described.id, described.run_id)
        if run.root is not None:
            await lookup.refuse_part(client, run, name, await _my_root(client, me))
        owner = await lookup.owner_of(client, described.id, flow_origin(run))
        if owner not in (None, me):
            raise lookup.owned(name, owner, "go on from that one")
        await self._left(client, run)  # what would fail after the claim fails before it
        return Found(ref=RunRef(workflow_id=described.id, run_id=described.run_id), origin=flow_origin(run))

    @activity.defn(name=READ)
    async def read(self, found: Found, me: Owner) -> TakenOver:
        """Read what a claimed run left.

        Raises:
            InvalidInput: when somebody else has claimed it, or an operation of it isn't registered.
        """
        client, ref = activity.client(), found.ref
        owner = await lookup.owner_of(client, ref.workflow_id, found.origin)
        if owner != me:
            name = f"{_WHO}: run {ref.run_id} of {ref.workflow_id}"
            raise lookup.owned(name, owner, "go on from that one")
        return await self._left(client, await lookup.read_history(client, ref.workflow_id, ref.run_id))

    @activity.defn(name=LEFT_BEFORE_RESET)
    async def left_before_reset(self, workflow_id: str, run_id: str) -> TakenOver:
        """Give the steps that the other runs of a reset run's flow left in place, but no calls of child flows.

        Raises:
            InvalidInput: when that can't be told.
        """
        client = activity.client()
        run = await lookup.read_history(client, workflow_id, run_id)
        left = (await gather(client, run, _RESET, but=run_id)).left
        undone = {step async for step in _undone_inside(client, [run])}
        steps = tuple(step for step in left.steps if not (step.flow or step.step in undone))
        return self._filled(run, replace(left, steps=steps), _RESET)

    async def _left(self, client: Client, run: RunHistory) -> TakenOver:
        """Give the steps that a run left in place, those that it had taken over itself first."""
        return self._filled(run, (await gather(client, run, _WHO)).left)

    def _filled(self, run: RunHistory, left: Left, who: str = _WHO) -> TakenOver:
        taken = TakenOver(
            steps=tuple(self._whole(run, step, step.step in left.tried, who) for step in left.steps)
        )
        if size(taken.model_dump(mode="json")) > PAYLOAD_LIMIT:
            raise InvalidInput(
                f"{who}: run {run.run_id} of {run.workflow_id} left more than one run can take over; "
                f"{'start without resume_from' if who == _WHO else 'undo it'}"
            )
        return taken

    def _whole(self, run: RunHistory, taken: Taken, tried: bool, who: str) -> Taken:
        """Fill in what a registered operation says; one whose undo was tried is neither done nor undone."""
        if taken.flow:
            return self._child(run, taken)
        update: dict[str, Any] = {"status": Status.UNKNOWN, "output": (), "given": None} if tried else {}
        if taken.undo is None:
            try:
                operation: Op[Any, Any] = self._registry.retrieve(taken.definition)
            except OperationNotFound as error:
                raise InvalidInput(
                    f"{who}: step {taken.step} of {run.workflow_id}: {error.message}"
                ) from None
            undo = None if taken.header.no_undo else UndoSpec.of(operation)
            update |= {"description": operation.definition.description, "undo": undo}
        return taken.model_copy(update=update)

    def _child(self, run: RunHistory, taken: Taken) -> Taken:
        """Give a child back; one that left something must be able to go on from there, as only plain sequences are."""
        who = f"{_WHO}: child {taken.step} ({taken.definition}) of {run.workflow_id}"
        try:
            anew = taken.run is not None and not resumable(self._flows.retrieve(taken.definition))
        except OperationNotFound as error:
            raise InvalidInput(f"{who}: {error.message}") from None
        if anew:
            left = "failed and left something, and only a plain sequence can go on from where it was"
            raise InvalidInput(f"{who} {left}; undo {run.workflow_id}, and start without resume_from")
        return taken


def _one_input(workflow_type: str, inputs: list[dict[str, Any]]) -> Any:
    if len(inputs) != 1:
        raise wrong_count(len(inputs), workflow_type)
    if "error" in inputs[0]:
        raise InvalidInput(inputs[0]["error"])
    return inputs[0]["json"]


async def _my_root(client: Client, me: Owner) -> Owner | None:
    """Give the root of the run that asks, if it is a child flow."""
    root = (await lookup.read_history(client, me.workflow_id, activity.info().workflow_run_id)).root
    return None if root is None else Owner(workflow_id=root["workflow_id"], origin=root["origin"])


async def _undone_inside(client: Client, runs: Iterable[RunHistory]) -> AsyncIterator[str]:
    """Give the steps of child flows that were undone, by whomever; one that is open may be about to."""
    children = {c.run_id: c for run in runs for c in run.child_runs if c.flow_of(run.workflow_id)}
    for id, child in children.items():
        if id is None:
            continue
        own = await lookup.runs_of_flow(client, child.workflow_id, id, id, whole=True)
        undoing = await lookup.undoing_runs(client, child.workflow_id, id)
        for step in (step for run in (*own, *undoing) for step in run.steps if step.is_undo):
            yield f"{child.step}/{step.step}"
        async for inner in _undone_inside(client, own):
            yield f"{child.step}/{inner}"
        if any(run.status == "running" for run in own):
            yield f"{child.step} (still open)"


async def _target(client: Client, ref: RunRef, me: Owner) -> RunRef:
    """Say which run is meant: of one's own workflow id, the newest chain before one's own."""
    if ref.run_id is not None or ref.workflow_id != me.workflow_id:
        return ref
    mine = activity.info().workflow_run_id
    own = (await lookup.read_history(client, me.workflow_id, mine)).chain
    async for run in lookup.newest_first(client, ref.workflow_id):
        if run.run_id != mine and (await lookup.read_history(client, run.id, run.run_id)).chain != own:
            return RunRef(workflow_id=run.id, run_id=run.run_id)
    raise InvalidInput(f"{_WHO}: {ref.workflow_id!r} has no run before this one")
