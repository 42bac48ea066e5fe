"""The command ``counterstep export``: the spans of runs, from their history, to wherever OpenTelemetry's variables say."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from counterstep._connection import Connection, Refused, command, missing
from counterstep._spans_out import Sink, sink_for
from counterstep.reports import (
    MARKS,
    Report,
    SpanOptions,
    fetch_events,
    fetch_report,
    options_for,
    read_run,
    report_of,
    spans_of,
)

AnyReport = Report[Any, Any]
_LAG = timedelta(minutes=2)
"""How far back each look goes: visibility lags behind, and clocks differ."""


@command
def export(
    connection: Connection,
    workflow_id: Annotated[str | None, typer.Argument(help="The run's workflow id.")] = None,
    run_id: Annotated[
        str | None, typer.Option("--run-id", "-r", help="Its run id; the newest run unless given.")
    ] = None,
    query: Annotated[
        str | None, typer.Option("--query", "-q", help="All runs that match, as in temporal workflow list.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on: with the run until its end, with a query for ever.")
    ] = False,
    interval: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.1)] = 10,
    payloads: Annotated[bool, typer.Option("--payloads", help="Tell inputs and outputs too.")] = False,
    cut: Annotated[int, typer.Option(help="At how many characters those are cut.", min=1)] = 4096,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write spans to standard output, a line each; send nothing.")
    ] = False,
) -> None:
    """Export what runs did as OpenTelemetry spans: the same ids and bytes, however often."""
    if (workflow_id is None) == (query is None) or (query is not None and run_id is not None):
        raise Refused("give a workflow id, or --query")
    sink = sink_for(as_json)
    asyncio.run(_export(connection, (workflow_id, run_id, query), follow, interval, cut * payloads, sink))
    sink.done()


async def _export(
    connection: Connection,
    what: tuple[str | None, str | None, str | None],
    follow: bool,
    interval: float,
    payloads: int,
    sink: Sink,
) -> None:
    client = await connection.client()
    workflow_id, run_id, query = what
    exporting = _Exporting(client, sink, options_for(client, payloads=payloads))
    if workflow_id is not None:
        try:
            await exporting.one(workflow_id, run_id, follow=follow)
        except RPCError as error:
            raise missing(error, workflow_id, run_id) from None
        return
    if not follow:
        await exporting.matching(query or "")
        return
    wanted = query or ""
    while True:
        looking = datetime.now(UTC)
        try:
            await exporting.matching(wanted)
        except (
            Refused,
            RPCError,
        ) as error:  # a collector, or Temporal, that is down: the same is looked at again
            typer.echo(f"counterstep export: {error}", err=True)
        else:
            wanted = _newer(query or "", looking - _LAG)
        await asyncio.sleep(interval)


@dataclass
class _Exporting:
    """Runs on their way to a sink.

    Attributes:
        known: run ids that were exported, as far as the next look can find them again.
        announced: run ids of open runs, the same.
    """

    client: Client
    sink: Sink
    options: SpanOptions
    known: set[str] = field(default_factory=set)
    announced: set[str] = field(default_factory=set)

    async def one(self, workflow_id: str, run_id: str | None, *, follow: bool) -> None:
        """Export a run; wait for its end first, if it is to be followed."""
        report = await fetch_report(self.client, workflow_id, run_id)
        await self._send(report)
        while follow and report.outcome is None:
            newest = report.run.run_id if report.run else run_id
            await fetch_events(self.client, workflow_id, newest, to_its_end=True)
            report = await fetch_report(self.client, workflow_id, newest)
            if report.outcome is not None:
                await self._send(report)

    async def matching(self, query: str) -> None:
        """Export the closed runs that match, and announce the open ones."""
        found = set()
        async for run in self.client.list_workflows(query):
            found.add(run.run_id)
            if run.workflow_type in MARKS or run.run_id in self.known:
                continue
            try:
                await self._listed(run)
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND:  # it was deleted meanwhile
                    raise
        self.known &= found
        self.announced &= found

    async def _listed(self, run: WorkflowExecution) -> None:
        if run.status is WorkflowExecutionStatus.CONTINUED_AS_NEW:
            return
        if run.status is not WorkflowExecutionStatus.RUNNING:
            await self._send(await fetch_report(self.client, run.id, run.run_id))
            self.known.add(run.run_id)
        elif run.run_id not in self.announced:
            events = await fetch_events(self.client, run.id, run.run_id, only_start=True)
            begun = report_of(read_run(run.id, events), self.client.namespace)
            if begun.run and begun.run.run_id == begun.run.origin:
                await self._send(begun)
            self.announced.add(run.run_id)

    async def _send(self, report: AnyReport) -> None:
        """Send a flow with its children, and remember which runs those were."""
        await asyncio.to_thread(self.sink.send, spans_of(report, self.options))
        self.known |= {id for one in report.walk() if one.run and one.outcome for id in one.run.runs}


def _newer(query: str, since: datetime) -> str:
    moment = since.isoformat()
    new = f"(StartTime >= '{moment}' OR CloseTime >= '{moment}')"
    return f"({query}) AND {new}" if query.strip() else new
