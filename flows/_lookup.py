"""Asking the server about runs, their histories and who owns their undoing. Used by our local activities."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from typing import Any

from temporalio.client import Client, WorkflowExecution, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from activities import InvalidInput
from activities._wire import Verdict, mark_of
from counterstep.reports import RunHistory, fetch_events, read_run
from flows._left import flow_origin
from flows._resume import UNDOING, Owner, RunRef, claim_id

FAILED = frozenset(
    {
        WorkflowExecutionStatus.FAILED,
        WorkflowExecutionStatus.CANCELED,
        WorkflowExecutionStatus.TERMINATED,
        WorkflowExecutionStatus.TIMED_OUT,
    }
)


async def read_history(client: Client, workflow_id: str, run_id: str | None) -> RunHistory:
    """Read a run; what its open steps saved is known to the server alone."""
    run = read_run(workflow_id, await fetch_events(client, workflow_id, run_id))
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


async def _marks(client: Client, workflow_id: str, run_id: str) -> dict[str, dict[str, Any]]:
    """Give the heartbeat details of the activities that were open when a run was closed."""
    described = await client.get_workflow_handle(workflow_id, run_id=run_id).describe()
    found = {}
    for pending in described.raw_description.pending_activities:
        details = await client.data_converter.decode(list(pending.heartbeat_details.payloads))
        found[pending.activity_id] = mark_of(details)
    return found


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


async def runs_of_flow(client: Client, workflow_id: str, run_id: str, origin: str) -> list[RunHistory]:
    """Give every run of a flow, oldest first: along its resets and continuations, and what visibility knows beside them."""
    runs = await _walk(
        client,
        workflow_id,
        [run_id, origin],
        lambda run: [run.base, run.previous],
        lambda run: flow_origin(run) == origin,
    )
    return sorted(runs, key=lambda run: (run.started, run.run_id != origin))


async def undoing_runs(client: Client, workflow_id: str, origin: str, *known: str | None) -> list[RunHistory]:
    """Give every run of the workflow that undoes a run; one whose work stayed undone may be followed by others."""

    def before(run: RunHistory) -> list[str | None]:
        given = run.input if isinstance(run.input, dict) else {}
        return [run.base, run.previous, given.get("previous")]

    runs = await _walk(client, claim_id(workflow_id, origin), known, before, lambda _: True)
    return [run for run in sorted(runs, key=lambda run: run.started) if run.workflow_type == UNDOING]


async def _walk(
    client: Client,
    workflow_id: str,
    first: Iterable[str | None],
    before: Callable[[RunHistory], list[str | None]],
    wanted: Callable[[RunHistory], bool],
) -> list[RunHistory]:
    """Give the wanted runs of a workflow id: the newest, those visibility knows, and those that these name."""
    waiting = [*first, await newest(client, workflow_id)]
    waiting += [run.run_id async for run in newest_first(client, workflow_id)]
    seen: dict[str, RunHistory | None] = {}
    while waiting:
        next_id = waiting.pop()
        if next_id is None or next_id in seen:
            continue
        seen[next_id] = run = await _if_wanted(client, workflow_id, next_id, wanted)
        if run is not None:
            waiting += before(run)
    return [run for run in seen.values() if run is not None]


async def _if_wanted(
    client: Client, workflow_id: str, run_id: str, wanted: Callable[[RunHistory], bool]
) -> RunHistory | None:
    try:
        begun = read_run(workflow_id, await fetch_events(client, workflow_id, run_id, only_start=True))
        return await read_history(client, workflow_id, run_id) if wanted(begun) else None
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            return None
        raise


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
        claim = read_run(handle.id, await fetch_events(client, handle.id, described.run_id))
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            return None
        raise
    undoes = claim.workflow_type == UNDOING
    owner = Owner.model_validate(claim.input["owner"] if undoes else claim.input)
    return owner.model_copy(update={"undoes": undoes})


def owned(name: str, owner: Owner | None, instead: str) -> InvalidInput:
    """Make the error of who comes too late, saying what to do ``instead`` of a run that somebody took over."""
    who = f"workflow {owner.workflow_id} (run {owner.origin})" if owner else "nobody knows whom"
    if owner is not None and owner.undoes:
        return InvalidInput(f"{name} is undone by {who}; start a new run instead")
    return InvalidInput(f"{name} was taken over by {who}; {instead}")
