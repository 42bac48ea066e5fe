"""Fetching histories: of a run, of all runs that its flow went on in, of its children, and of the undo of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.service import RPCError, RPCStatusCode

from counterstep.reports._events import read_run
from counterstep.reports._history import AnyReport, report_of
from counterstep.reports._internal import CLAIM, UNDOING
from counterstep.reports._joined import joined
from counterstep.reports._payloads import decode
from counterstep.reports._run_history import RunHistory

_DEPTH = 20


@dataclass(frozen=True)
class Family:
    """All histories of one flow.

    Attributes:
        runs: that it went on in, oldest first; those that Temporal still has.
        undoing: of the workflow that undoes it, oldest first.
        owner: workflow id and origin of the flow that took it over, if one did.
        children: of its child runs, by the run id that the parent knows.
    """

    runs: tuple[RunHistory, ...]
    undoing: tuple[RunHistory, ...] = ()
    owner: tuple[str, str] | None = None
    children: Mapping[str, Family] = field(default_factory=dict)

    def report(self, namespace: str) -> AnyReport:
        """Make the report of all of it. Pure: the same histories give the same report."""
        children = {run_id: child.report(namespace) for run_id, child in self.children.items()}
        report = report_of(joined(self.runs, self.undoing), namespace, children)
        assert report.run is not None, "a run's report tells of the run"
        undone_by = self.undoing[-1].workflow_id if self.undoing else None
        run = replace(report.run, undone_by=undone_by, taken_over_by=self.owner)
        return replace(report, run=run)


async def fetch_report(client: Client, workflow_id: str, run_id: str | None = None) -> AnyReport:
    """Make the report of a flow from its history; no worker is needed.

    Of a flow that went on as new any of its runs names it; its runs, its child runs and the ``undo`` of it are joined.

    Args:
        client: reads the histories; its codec decodes them.
        workflow_id: of the run.
        run_id: the newest run unless given.

    Returns:
        The report of the flow, its steps as children.

    Raises:
        temporalio.service.RPCError: NOT_FOUND when there is no such run.
    """
    return (await fetch_family(client, workflow_id, run_id)).report(client.namespace)


async def fetch_family(
    client: Client, workflow_id: str, run_id: str | None = None, *, depth: int = _DEPTH
) -> Family:
    """Fetch all histories of a flow.

    Raises:
        temporalio.service.RPCError: NOT_FOUND when there is no such run.
    """
    runs = await _chain(client, await fetch_run(client, workflow_id, run_id))
    claims = await _claims(client, runs[-1])
    undoing = tuple(claim for claim in claims if claim.workflow_type == UNDOING)
    children = {}
    for child in (child for run in (*runs, *undoing) for child in run.child_runs):
        if depth and child.run_id is not None and child.type != CLAIM:
            try:
                found = await fetch_family(client, child.workflow_id, child.run_id, depth=depth - 1)
            except RPCError as error:
                _only_gone(error)
            else:
                children[child.run_id] = found
    return Family(runs, undoing, _owner(claims), children)


async def fetch_ended(client: Client, workflow_id: str, run_id: str) -> AnyReport:
    """Make the report of a flow once a run of it has closed, without its child runs and the ``undo`` of it.

    Each run's history is read once, as it is written.

    Raises:
        temporalio.service.RPCError: NOT_FOUND when there is no such run.
    """
    events = await fetch_events(client, workflow_id, run_id, to_its_end=True)
    runs = await _chain(client, read_run(workflow_id, events))
    return report_of(joined(runs), client.namespace)


async def fetch_run(client: Client, workflow_id: str, run_id: str | None = None) -> RunHistory:
    """Fetch one run and read it.

    Raises:
        temporalio.service.RPCError: NOT_FOUND when there is no such run.
    """
    return read_run(workflow_id, await fetch_events(client, workflow_id, run_id))


async def fetch_events(
    client: Client,
    workflow_id: str,
    run_id: str | None = None,
    *,
    only_start: bool = False,
    to_its_end: bool = False,
) -> list[HistoryEvent]:
    """Fetch a run's events, decoded by the client's codec: all, only the first, or all as they come until it closes."""
    handle = client.get_workflow_handle(workflow_id, run_id=run_id)
    events = []
    async for event in handle.fetch_history_events(
        page_size=1 if only_start else None, wait_new_event=to_its_end
    ):
        events.append(event)
        if only_start:
            break
    await decode_events(events, client.data_converter)
    return events


async def decode_events(events: Iterable[HistoryEvent], converter: DataConverter) -> None:
    """Decode in place what the converter's codec encoded."""
    if converter.payload_codec is not None:
        await decode(events, converter.payload_codec.decode)


async def _chain(client: Client, run: RunHistory) -> tuple[RunHistory, ...]:
    """Give the runs that the flow of a run went on in, oldest first."""
    runs = [run]
    while runs[-1].status == "continued_as_new" and runs[-1].next_run:
        following = await _known(client, run.workflow_id, runs[-1].next_run)
        if following is None:
            break
        runs = [*runs, following] if _goes_on(following, runs[-1]) else [following]
    while runs[0].carried and runs[0].previous:
        before = await _known(client, run.workflow_id, runs[0].previous)
        if before is None or before.flow_origin != runs[0].flow_origin:
            break
        runs.insert(0, before)
    return tuple(runs)


def _goes_on(run: RunHistory, before: RunHistory) -> bool:
    """Whether a run is of the same flow as the one before it; a type that was looked up begins anew."""
    return run.carried is not None and run.flow_origin == before.flow_origin


async def _claims(client: Client, run: RunHistory) -> tuple[RunHistory, ...]:
    """Give the runs of whoever claimed the undoing of a flow, oldest first: each names the one before it."""
    id = f"undo:{run.workflow_id}:{run.flow_origin}"
    newest = await _known(client, id, None)
    runs: list[RunHistory] = []
    while newest is not None and newest.workflow_type in (CLAIM, UNDOING):
        runs.insert(0, newest)
        given = newest.input if isinstance(newest.input, dict) else {}
        before = newest.previous or given.get("previous")
        newest = await _known(client, id, before) if before else None
    return tuple(runs)


def _owner(claims: tuple[RunHistory, ...]) -> tuple[str, str] | None:
    """Give who went on from a flow, if somebody did; a claim that failed is nobody's."""
    newest = claims[-1] if claims else None
    if newest is None or newest.workflow_type != CLAIM or newest.status not in ("completed", "running"):
        return None
    asked = newest.input if isinstance(newest.input, dict) else {}
    return (asked["workflow_id"], asked["origin"]) if "origin" in asked else None


async def _known(client: Client, workflow_id: str, run_id: str | None) -> RunHistory | None:
    """Fetch a run, if it is still there."""
    try:
        return await fetch_run(client, workflow_id, run_id)
    except RPCError as error:
        _only_gone(error)
        return None


def _only_gone(error: RPCError) -> None:
    if error.status not in (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT):
        raise error
