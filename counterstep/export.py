"""The command ``counterstep export``: the spans of runs, from their history, to wherever OpenTelemetry's variables say."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from temporalio.service import RPCError, RPCStatusCode

from counterstep._connection import Connection, Refused, command, missing, told
from counterstep._exporting import Exporting
from counterstep._spans_out import Sink, sink_for
from counterstep._window import Window
from counterstep.reports import options_for
from counterstep.serving import CodecError

_TOLD = 3
"""How many of the runs that were left out are named."""


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
    exporting = Exporting(client, sink, options_for(client, payloads=payloads))
    if workflow_id is None:
        matching = _followed(exporting, query or "", interval) if follow else _all(exporting, query or "")
        return await matching
    try:
        await exporting.one(workflow_id, run_id, follow=follow)
    except RPCError as error:
        raise missing(error, workflow_id, run_id) from None


async def _all(exporting: Exporting, query: str) -> None:
    await exporting.matching(query)
    if left_out := exporting.left_out:
        more = f"; and {len(left_out) - _TOLD} more" if len(left_out) > _TOLD else ""
        raise Refused(f"not all were exported: {'; '.join(left_out[:_TOLD])}{more}")


async def _followed(exporting: Exporting, query: str, interval: float) -> None:
    """Look again and again. What passes is told, and the same is looked at again; what doesn't, is told and left out."""
    window = Window(query)
    while True:
        try:
            await exporting.matching(window.begin(), window.see)
        except (Refused, RPCError, CodecError) as error:
            if getattr(error, "status", None) is RPCStatusCode.INVALID_ARGUMENT:  # the query is wrong
                raise
            _tell(told(error))
        else:
            exporting.forget(window.end())
        while exporting.left_out:
            _tell(exporting.left_out.pop(0))
        await asyncio.sleep(interval)


def _tell(line: str) -> None:
    typer.echo(f"counterstep export: {line}", err=True)
