"""Asking the server about runs, their histories and who owns their undoing. Used by our local activities."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any

from temporalio.api.common import v1 as common
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryReverseRequest
from temporalio.client import (
    Client,
    WorkflowExecution,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowHistoryEventFilterType,
)
from temporalio.service import RPCError, RPCStatusCode

from activities import Failure, InvalidInput
from activities._wire import Verdict, mark_of
from counterstep.reports import UNDOING, RunHistory, fetch_events, read_run
from flows._left import flow_origin, undos_in
from flows._resume import Owner, RunRef, claim_id
from flows._root import Root

FAILED = frozenset(
    {
        WorkflowExecutionStatus.FAILED,
        WorkflowExecutionStatus.CANCELED,
        WorkflowExecutionStatus.TERMINATED,
        WorkflowExecutionStatus.TIMED_OUT,
    }
)

_LOST = (EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED, EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT)


async def read_history(client: Client, workflow_id: str, run_id: str | None) -> RunHistory:
    """Read a run; what its open steps saved is known to the server alone.

    Raises:
        InvalidInput: when this client has no codec for what is in it, or it holds what nobody can read.
    """
    run = _read(workflow_id, run_id, await fetch_events(client, workflow_id, run_id))
    if run.unreadable:
        raise InvalidInput(
            f"run {run.run_id} of {workflow_id}: its values are encoded; this worker needs the data_converter that wrote them"
        )
    if run.status == "running" or not any(step.open for step in run.steps):
        return run
    marks = await _marks(client, workflow_id, run.run_id)
    told = (
        replace(step, carried=Verdict.from_json({**step.verdict.to_json(), **marks.get(step.step, {})}))
        if step.open and not step.is_undo
        else step
        for step in run.steps
    )
    return replace(run, steps=tuple(told))


def _read(workflow_id: str, run_id: str | None, events: list[HistoryEvent]) -> RunHistory:
    try:
        return read_run(workflow_id, events)
    except Exception as error:  # it would be the same each time it is asked, and it is asked without end
        run = f"run {run_id}" if run_id else "the newest run"
        raise InvalidInput(f"{run} of {workflow_id} can't be read: {Failure.of(error)}") from error


async def _marks(client: Client, workflow_id: str, run_id: str) -> dict[str, dict[str, Any]]:
    """Give the heartbeat details of the activities that were open when a run was closed."""
    described = await client.get_workflow_handle(workflow_id, run_id=run_id).describe()
    found = {}
    for pending in described.raw_description.pending_activities:
        details = await client.data_converter.decode(list(pending.heartbeat_details.payloads))
        found[pending.activity_id] = mark_of(details)
    return found


async def lost_a_task(client: Client, workflow_id: str, run_id: str, until: int) -> bool:
    """Say whether a workflow task of an open run failed, or timed out, since the last one that was completed.

    Args:
        client: to ask with.
        workflow_id: of the run.
        run_id: of the run.
        until: the last event that counts: the SDK completes a task in which a local activity takes long, this one too.
    """
    async for event in _backwards(client, workflow_id, run_id):
        if event.event_id > until:
            continue
        if event.event_type in _LOST:
            return True
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
            return False
    return False


async def _backwards(client: Client, workflow_id: str, run_id: str) -> AsyncIterator[HistoryEvent]:
    """Give a run's events, the newest first; the time-skipping test server can only give all, the oldest first."""
    asked = GetWorkflowExecutionHistoryReverseRequest(
        namespace=client.namespace,
        execution=common.WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
        maximum_page_size=100,
    )
    while True:
        try:
            page = await client.workflow_service.get_workflow_execution_history_reverse(asked, retry=True)
        except RPCError as error:
            if error.status != RPCStatusCode.UNIMPLEMENTED:
                raise
            for event in reversed(await fetch_events(client, workflow_id, run_id)):
                yield event
            return
        for event in page.history.events:
            yield event
        if not page.next_page_token:
            return
        asked.next_page_token = page.next_page_token


async def newest_of_chain(client: Client, workflow_id: str, run_id: str | None) -> RunHistory:
    """Read the run that a run went on as in the end, or itself."""
    run = await read_history(client, workflow_id, run_id)
    while run.status == "continued_as_new":
        run = await read_history(client, workflow_id, run.next_run)
    return run


async def describe(client: Client, ref: RunRef, who: str) -> WorkflowExecutionDescription:
    """Describe a run.

    Raises:
        InvalidInput: when there is none.
    """
    try:
        return await client.get_workflow_handle(ref.workflow_id, run_id=ref.run_id).describe()
    except RPCError as error:
        if error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT):
            run = f"run {ref.run_id}" if ref.run_id else "run"
            raise InvalidInput(f"{who}: there is no {run} of {ref.workflow_id!r}") from None
        raise


async def newest_first(client: Client, workflow_id: str) -> AsyncIterator[WorkflowExecution]:
    """Give the runs of a workflow id that visibility knows; a server without visibility knows none."""
    quoted = workflow_id.replace('"', '\\"')
    try:
        runs = [run async for run in client.list_workflows(f'WorkflowId = "{quoted}"')]
    except RPCError as error:
        if error.status != RPCStatusCode.UNIMPLEMENTED:
            raise
        runs = []
    for run in sorted(runs, key=lambda r: r.start_time, reverse=True):
        yield run


async def runs_of_flow(
    client: Client, workflow_id: str, run_id: str, origin: str, *, whole: bool = False
) -> list[RunHistory]:
    """Give the runs of a flow, oldest first: along its resets and continuations, and what visibility knows.

    Of runs that went on as new, which carried all that counts, only with ``whole``.
    """

    async def read(begun: RunHistory) -> RunHistory | None:
        if flow_origin(begun) != origin:
            return None
        after = None if whole else await _next_run(client, workflow_id, begun.run_id)
        if after is not None:
            return replace(begun, status="continued_as_new", next_run=after)
        return await read_history(client, workflow_id, begun.run_id)

    runs = await _walk(client, workflow_id, [run_id, origin], lambda run: [run.base, run.previous], read)
    known = {run.run_id for run in runs}
    left = [run for run in runs if whole or run.status != "continued_as_new" or run.next_run not in known]
    return sorted(left, key=lambda run: (run.started, run.run_id != origin))


async def reset_of(client: Client, workflow_id: str, origin: str) -> RunHistory | None:
    """Read the newest run of a flow that was reset, if it was."""
    if await newest(client, workflow_id) in (None, origin):
        return None
    runs = await runs_of_flow(client, workflow_id, origin, origin)
    return runs[-1] if len(runs) > 1 or any(run.base for run in runs) else None


async def undoing_runs(
    client: Client, workflow_id: str, origin: str, known: str | None = None, but: str | None = None
) -> list[RunHistory]:
    """Give the runs of the workflow that undoes a run, oldest first; ones that failed are followed by others.

    Args:
        client: asks.
        workflow_id: of the run that is undone.
        origin: of its flow.
        known: run id of one of them.
        but: those of this chain are left out.
    """
    id = claim_id(workflow_id, origin)

    async def read(begun: RunHistory) -> RunHistory | None:
        return None if begun.chain == but else await read_history(client, id, begun.run_id)

    def before(run: RunHistory) -> list[str | None]:
        given = run.input if isinstance(run.input, dict) else {}
        return [run.base, run.previous, given.get("previous")]

    runs = await _walk(client, id, [known], before, read)
    return [run for run in sorted(runs, key=lambda run: run.started) if run.workflow_type == UNDOING]


async def _walk(
    client: Client,
    workflow_id: str,
    first: Iterable[str | None],
    before: Callable[[RunHistory], list[str | None]],
    read: Callable[[RunHistory], Awaitable[RunHistory | None]],
) -> list[RunHistory]:
    """Read runs of a workflow id: the newest, those visibility knows, and those that these name.

    ``read`` sees how a run began.
    """
    waiting = [*first, await newest(client, workflow_id)]
    waiting += [run.run_id async for run in newest_first(client, workflow_id)]
    seen: dict[str, RunHistory | None] = {}
    while waiting:
        next_id = waiting.pop()
        if next_id is None or next_id in seen:
            continue
        begun = await _begun(client, workflow_id, next_id)
        seen[next_id] = run = await read(begun) if begun else None
        if run is not None:
            waiting += before(run)
    return [run for run in seen.values() if run is not None]


async def _begun(client: Client, workflow_id: str, run_id: str) -> RunHistory | None:
    """Read how a run began, if it is still there."""
    try:
        events = await fetch_events(client, workflow_id, run_id, only_start=True)
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            return None
        raise
    return replace(_read(workflow_id, run_id, events), run_id=run_id)


async def _next_run(client: Client, workflow_id: str, run_id: str) -> str | None:
    """Give the run that a run went on as, if it did."""
    handle = client.get_workflow_handle(workflow_id, run_id=run_id)
    if (await handle.describe()).status != WorkflowExecutionStatus.CONTINUED_AS_NEW:
        return None
    close = WorkflowHistoryEventFilterType.CLOSE_EVENT
    async for event in handle.fetch_history_events(event_filter_type=close):
        return event.workflow_execution_continued_as_new_event_attributes.new_execution_run_id
    return None


async def newest(client: Client, workflow_id: str) -> str | None:
    """Give the newest run of a workflow id, if there is one."""
    try:
        return (await client.get_workflow_handle(workflow_id).describe()).run_id
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            return None
        raise


async def owner_of(client: Client, workflow_id: str, origin: str) -> Owner | None:
    """Say who has claimed the undoing of a run, if anybody has."""
    try:
        handle = client.get_workflow_handle(claim_id(workflow_id, origin))
        described = await handle.describe()
        if described.status in FAILED:
            return None
        claim = _read(handle.id, described.run_id, await fetch_events(client, handle.id, described.run_id))
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            return None
        raise
    undoes = claim.workflow_type == UNDOING
    owner = Owner.model_validate(claim.input["owner"] if undoes else claim.input)
    return owner.model_copy(update={"undoes": undoes})


async def refuse_part(client: Client, run: RunHistory, name: str, mine: Owner | None = None) -> None:
    """Refuse a child flow whose root is open, has undone it, or was taken over.

    Args:
        client: asks.
        run: of the child flow; any other run passes.
        name: names it in the message.
        mine: who may have taken the root over.

    Raises:
        InvalidInput: naming the root.
    """
    if run.root is None:
        return
    root = Root.model_validate(run.root)
    part = f"{name}, a part of {root.workflow_id},"
    owner = await owner_of(client, root.workflow_id, root.origin)
    if owner not in (None, mine):
        raise owned(part, owner, f"look at {root.workflow_id} instead")
    runs = await runs_of_flow(client, root.workflow_id, root.origin, root.origin, whole=True)
    if any(each.status == "running" for each in runs):
        raise InvalidInput(f"{part} can't be: {root.workflow_id} is still open; let it end, or end it, first")
    undos = (undo for each in runs for undo in undos_in(each))
    undone = [undo.step for undo in undos if root.holds(undo.path)]
    if undone:
        raise InvalidInput(
            f"{part} was undone by {root.workflow_id} ({', '.join(undone[:5])}); start a new run instead"
        )


def owned(name: str, owner: Owner | None, instead: str) -> InvalidInput:
    """Make the error of who comes too late, saying what to do ``instead`` of a run that somebody took over."""
    who = f"workflow {owner.workflow_id} (run {owner.origin})" if owner else "nobody knows whom"
    if owner is not None and owner.undoes:
        return InvalidInput(f"{name} is undone by {who}; start a new run instead")
    return InvalidInput(f"{name} was taken over by {who}; {instead}")
