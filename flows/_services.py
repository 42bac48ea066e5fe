"""Local activities of ours: what flows must ask the world, beside running operations."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import pydantic_core
from pydantic import ValidationError
from temporalio import activity
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from activities import EmptyInput, InvalidInput, OperationNotFound, Registry, Status, UnknownFlow
from activities import Operation as Op
from activities._failure import describe
from activities._json import PAYLOAD_LIMIT, size
from activities._settled import Settled
from counterstep.reports import RunHistory, StepHistory, fetch_events, read_run
from flows._calls import call_digest
from flows._dispatcher import PLAN, RESOLVE, Resolved
from flows._errors import InvalidPlan
from flows._flow import CANCEL
from flows._interceptor import wrong_count
from flows._operated import CHECK
from flows._plan import Plan
from flows._plan_checks import complete
from flows._reset import UNDONE_IN_ORIGIN
from flows._resume import FIND, READ, Found, Owner, RunRef, Taken, TakenOver, claim_id
from flows._saga import Saga
from flows._undo import UndoSpec

_FAILED = frozenset(
    {
        WorkflowExecutionStatus.FAILED,
        WorkflowExecutionStatus.CANCELED,
        WorkflowExecutionStatus.TERMINATED,
        WorkflowExecutionStatus.TIMED_OUT,
    }
)


class Services:
    """The local activities, with the worker's registry."""

    def __init__(self, registry: Registry) -> None:
        """Take the registry that names are resolved in."""
        self._registry = registry
        self._flows = Registry(*registry.flows())

    def activities(self) -> list[Callable[..., Any]]:
        """Give them for a worker."""
        return [self.resolve, self.fits, self.cancel, self.undone, self.find, self.read]

    @activity.defn(name=RESOLVE)
    async def resolve(self, workflow_type: str, inputs: list[dict[str, Any]]) -> Resolved:
        """Say what a workflow type stands for; a saga's plan is built here, from its params.

        Raises:
            UnknownFlow: listing near names.
            InvalidInput: when the input of a saga doesn't fit.
            InvalidPlan: listing every mistake.
        """
        if workflow_type == PLAN:
            return self._given(_one_input(workflow_type, inputs))
        try:
            found = self._flows.retrieve(workflow_type)
        except OperationNotFound as error:
            raise UnknownFlow(self._operation(workflow_type) or f"flow {error.message}") from None
        if not isinstance(found, Saga):
            return Resolved(flow=str(found.definition))
        none = not inputs and found.input.type is EmptyInput
        params = found.input.load_value({} if none else _one_input(workflow_type, inputs), f"{found.definition}: input")
        return Resolved.of(found.plan(params, self._registry))

    def _given(self, value: Any) -> Resolved:
        try:
            plan = Plan.model_validate_json(pydantic_core.to_json(value))
        except ValidationError as error:
            raise InvalidPlan(f"the input is no plan: {describe(error)}") from None
        return Resolved.of(complete(plan, self._registry, []))

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
    async def undone(self, workflow_id: str, run_id: str, origin: str) -> list[str]:
        """List the steps that were undone in any run with this origin: by themselves, or by another flow."""
        client = activity.client()
        steps: dict[str, None] = {}
        async for run in _runs_of_origin(client, workflow_id, run_id, origin):
            steps.update(dict.fromkeys(step.step for step in run.steps if step.is_undo))
        owner = await _owner(client, workflow_id, origin)
        if owner is not None:
            steps[f"everything (taken over by {owner.workflow_id})"] = None
        return list(steps)

    @activity.defn(name=FIND)
    async def find(self, ref: RunRef, me: Owner, workflow_type: str) -> Found:
        """Find the run that another one wants to go on from.

        Raises:
            InvalidInput: when it is open, gone, of another definition, or taken over.
        """
        client = activity.client()
        described = await _describe(client, await _target(client, ref, me))
        name = f"resume_from: run {described.run_id} of {described.id}"
        if described.status == WorkflowExecutionStatus.RUNNING:
            raise InvalidInput(f"{name} is still open; let it end, or end it, first")
        if described.workflow_type != workflow_type:
            raise InvalidInput(f"{name} is of {described.workflow_type}, not of {workflow_type}")
        run = await _read(client, described.id, described.run_id)
        owner = await _owner(client, described.id, run.origin)
        if owner not in (None, me):
            raise _owned(name, owner)
        await self._left(client, run)  # what would fail after the claim fails before it
        return Found(ref=RunRef(workflow_id=described.id, run_id=described.run_id), origin=run.origin)

    @activity.defn(name=READ)
    async def read(self, found: Found, me: Owner) -> TakenOver:
        """Read what a claimed run left.

        Raises:
            InvalidInput: when somebody else has claimed it, or an operation of it isn't registered.
        """
        client, ref = activity.client(), found.ref
        name = f"resume_from: run {ref.run_id} of {ref.workflow_id}"
        owner = await _owner(client, ref.workflow_id, found.origin)
        if owner != me:
            raise _owned(name, owner)
        return await self._left(client, await _read(client, ref.workflow_id, ref.run_id))

    async def _left(self, client: Client, run: RunHistory) -> TakenOver:
        """Give the steps that a run left in place, those that it had taken over itself first."""
        if run.earlier:
            earlier = TakenOver.model_validate(run.earlier)
        else:
            earlier = await self._unread(client, run)
        left = TakenOver(steps=tuple(self._steps(run, earlier)))
        if size(left.model_dump(mode="json")) > PAYLOAD_LIMIT:
            raise InvalidInput(
                f"resume_from: run {run.run_id} of {run.workflow_id} left more than one run can take over; "
                "start without resume_from"
            )
        return left

    async def _unread(self, client: Client, run: RunHistory) -> TakenOver:
        """Give what a run took over that ended between its claim and its reading."""
        found = Found.model_validate(run.found) if run.found else None
        me = Owner(workflow_id=run.workflow_id, origin=run.origin)
        if found is None or await _owner(client, found.ref.workflow_id, found.origin) != me:
            return TakenOver()
        return await self._left(client, await _read(client, found.ref.workflow_id, found.ref.run_id))

    def _steps(self, run: RunHistory, earlier: TakenOver) -> Iterable[Taken]:
        steps = {taken.step: taken for taken in earlier.steps}
        for step in run.forward():
            steps.pop(step.step, None)
            if step.args and (settled := step.settled).verdict.called:
                steps[step.step] = self._taken(run, step, settled)
        for undo in (step for step in run.steps if step.is_undo):
            known = steps.get(undo.step)
            if known is not None and undo.settled.status in (Status.DONE, Status.SKIPPED):
                del steps[undo.step]
            elif known is not None:
                steps[undo.step] = known.model_copy(update={"status": Status.UNKNOWN, "output": ()})
        return steps.values()

    def _taken(self, run: RunHistory, step: StepHistory, settled: Settled) -> Taken:
        try:
            operation: Op[Any, Any] = self._registry.retrieve(step.type)
        except OperationNotFound as error:
            raise InvalidInput(f"resume_from: step {step.step} of {run.workflow_id}: {error.message}") from None
        header = step.header
        whose = {"workflow": header.workflow or run.workflow_id, "origin": header.origin or run.origin}
        return Taken(
            step=step.step,
            digest=call_digest("operation", step.type, step.args[0], header.key),
            definition=step.type,
            description=operation.definition.description,
            input=step.args[0],
            key=header.key,
            status=settled.status,
            output=settled.output,
            skipped=settled.skipped,
            verdict=settled.verdict.to_json(),
            header=header.model_copy(update=whose),
            timestamp=step.finished.isoformat() if step.finished else None,
            undo=UndoSpec.of(operation),
        )


def _one_input(workflow_type: str, inputs: list[dict[str, Any]]) -> Any:
    if len(inputs) != 1:
        raise wrong_count(len(inputs), workflow_type)
    if "error" in inputs[0]:
        raise InvalidInput(inputs[0]["error"])
    return inputs[0]["json"]


async def _read(client: Client, workflow_id: str, run_id: str | None) -> RunHistory:
    return read_run(workflow_id, await fetch_events(client, workflow_id, run_id))


async def _describe(client: Client, ref: RunRef) -> WorkflowExecutionDescription:
    try:
        return await client.get_workflow_handle(ref.workflow_id, run_id=ref.run_id).describe()
    except RPCError as error:
        if error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT):
            run = f"run {ref.run_id}" if ref.run_id else "run"
            raise InvalidInput(f"resume_from: there is no {run} of {ref.workflow_id!r}") from None
        raise


async def _target(client: Client, ref: RunRef, me: Owner) -> RunRef:
    """Say which run is meant: of one's own workflow id, the newest chain before one's own."""
    if ref.run_id is not None or ref.workflow_id != me.workflow_id:
        return ref
    mine = activity.info().workflow_run_id
    own = (await _read(client, me.workflow_id, mine)).chain
    async for run in _newest_first(client, ref.workflow_id):
        if run.run_id != mine and (await _read(client, run.id, run.run_id)).chain != own:
            return RunRef(workflow_id=run.id, run_id=run.run_id)
    raise InvalidInput(f"resume_from: {ref.workflow_id!r} has no run before this one")


async def _newest_first(client: Client, workflow_id: str) -> AsyncIterator[WorkflowExecution]:
    quoted = workflow_id.replace('"', '\\"')
    runs = [run async for run in client.list_workflows(f'WorkflowId = "{quoted}"')]
    for run in sorted(runs, key=lambda r: r.start_time, reverse=True):
        yield run


async def _runs_of_origin(client: Client, workflow_id: str, run_id: str, origin: str) -> AsyncIterator[RunHistory]:
    """Give every run that shares an origin: along the resets, and what visibility knows beside them."""
    seen: set[str] = set()
    waiting: list[str | None] = [run_id, origin]
    waiting += [run.run_id async for run in _newest_first(client, workflow_id)]
    while waiting:
        next_id = waiting.pop()
        if next_id is None or next_id in seen:
            continue
        seen.add(next_id)
        run = await _read_if_there(client, workflow_id, next_id)
        if run is not None and run.origin == origin:
            waiting.append(run.base)
            yield run


async def _read_if_there(client: Client, workflow_id: str, run_id: str) -> RunHistory | None:
    try:
        return await _read(client, workflow_id, run_id)
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            return None
        raise


async def _owner(client: Client, workflow_id: str, origin: str) -> Owner | None:
    """Say who has claimed the undoing of a run, if anybody has."""
    try:
        handle = client.get_workflow_handle(claim_id(workflow_id, origin))
        described = await handle.describe()
        if described.status in _FAILED:
            return None
        claim = await _read(client, handle.id, described.run_id)
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            return None
        raise
    return Owner.model_validate(claim.input)


def _owned(name: str, owner: Owner | None) -> InvalidInput:
    who = f"workflow {owner.workflow_id} (run {owner.origin})" if owner else "nobody knows whom"
    return InvalidInput(f"{name} was taken over by {who}; go on from that one")
