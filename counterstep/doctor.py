"""The command ``counterstep doctor``: what needs a human, with the command that helps; without a worker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text
from temporalio.service import RPCError, RPCStatusCode

from counterstep._connection import Connection, Refused, command
from counterstep._findings import Bounds, Finding, find

FOUND = 3
"""The exit code that ``--exit-code`` asks for when something was found."""

_WORDS = {
    "problem": "runs that can't go on",
    "retrying": "steps that retry again and again",
    "held": "held runs",
    "parked": "parked undos",
    "stuck": "stuck runs",
    "left": "runs that were cut off, with something left to undo",
    "unpolled": "task queues that nobody polls",
}


@command
def doctor(
    connection: Connection,
    days: Annotated[float, typer.Option(help="Look at closed runs of so many days.", min=0)] = 7,
    attempts: Annotated[int, typer.Option(help="From so many attempts on a step is listed.", min=2)] = 5,
    limit: Annotated[int, typer.Option(help="Runs of each kind to look at, the newest.", min=1)] = 200,
    as_json: Annotated[bool, typer.Option("--json", help="A list of findings, as JSON.")] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="End with 3 when something was found.")
    ] = False,
) -> None:
    """List what needs a human in a namespace, with the command that helps."""
    found = asyncio.run(_found(connection, Bounds(timedelta(days=days), attempts, limit)))
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in found], indent=2, ensure_ascii=False))
    else:
        _show(found)
    if found and exit_code:
        raise typer.Exit(FOUND)


async def _found(connection: Connection, bounds: Bounds) -> list[Finding]:
    client = await connection.client()
    try:
        return [finding async for finding in find(client, bounds, _left_out)]
    except RPCError as error:
        if error.status == RPCStatusCode.UNIMPLEMENTED:
            raise Refused("this server can't list runs") from None
        raise


def _left_out(line: str) -> None:
    typer.echo(f"counterstep doctor: left out {line}", err=True)


def _show(found: Iterable[Finding]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    by_kind: dict[str, list[Finding]] = {}
    for finding in found:
        by_kind.setdefault(finding.kind, []).append(finding)
    if not by_kind:
        console.print("nothing needs a human", style="green")
    for kind, title in _WORDS.items():
        if kind in by_kind:
            console.print(Text(f"{title}: {len(by_kind[kind])}", style="bold"))
        for finding in by_kind.get(kind, ()):
            console.print(Text.assemble(("  ✗ ", "red"), (finding.workflow_id, "bold"), f"  {finding.what}"))
            for line in finding.commands:
                console.print(Text(f"      $ {line}", style="cyan"))
