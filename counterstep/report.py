"""The command ``counterstep report``: what happened in a run, from its history, without a worker."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from temporalio.service import RPCError

from counterstep._connection import Connection, Refused, command, missing
from counterstep.reports import (
    Report,
    fetch_report,
    mermaid,
    page,
    render_tree,
    saga_log,
    sequence_report_json,
    status_tree,
    tree_json,
    workflow_report,
)

AnyReport = Report[Any, Any]


class Format(StrEnum):
    """How a report is written."""

    tree = "tree"
    json = "json"
    seed = "seed"
    seed_duplicates = "seed-duplicates"
    workflow = "workflow"
    workflow_yaml = "workflow-yaml"
    log = "log"
    status = "status"
    mermaid = "mermaid"
    html = "html"


_BY_SUFFIX = {
    ".html": Format.html,
    ".htm": Format.html,
    ".json": Format.json,
    ".yaml": Format.workflow_yaml,
    ".yml": Format.workflow_yaml,
    ".mmd": Format.mermaid,
}


@command
def report(
    connection: Connection,
    workflow_id: Annotated[str, typer.Argument(help="The run's workflow id.")],
    run_id: Annotated[
        str | None, typer.Option("--run-id", "-r", help="Its run id; the newest run unless given.")
    ] = None,
    format: Annotated[
        Format | None,
        typer.Option("--format", "-f", help="What to write; the tree, or what the file's name says."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to; standard output unless given.")
    ] = None,
) -> None:
    """Show what happened in a run: from Temporal's history, also of runs that no worker serves any more."""
    chosen = Format.json if as_json else format or _by_name(output)
    found = asyncio.run(_fetch(connection, workflow_id, run_id))
    if output is None and chosen is Format.tree:
        Console(highlight=False).print(render_tree(found))
        return
    _write(written(found, chosen), output)


async def _fetch(connection: Connection, workflow_id: str, run_id: str | None) -> AnyReport:
    client = await connection.client()
    try:
        return await fetch_report(client, workflow_id, run_id)
    except RPCError as error:
        raise missing(error, workflow_id, run_id) from None


def _by_name(output: Path | None) -> Format:
    return _BY_SUFFIX.get(output.suffix, Format.tree) if output else Format.tree


def written(found: AnyReport, format: Format) -> str:
    """Write a report in a format."""
    return _WRITERS[format](found)


def _tree(found: AnyReport) -> str:
    console = Console(file=io.StringIO(), width=200, record=True, highlight=False)
    console.print(render_tree(found))
    return "\n".join(line.rstrip() for line in console.export_text().splitlines())


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


_WRITERS: dict[Format, Callable[[AnyReport], str]] = {
    Format.tree: _tree,
    Format.json: lambda found: _json(tree_json(found)),
    Format.seed: lambda found: _json(sequence_report_json(found)),
    Format.seed_duplicates: lambda found: _json(sequence_report_json(found, duplicates=True)),
    Format.workflow: lambda found: _json(workflow_report(found).to_json()),
    Format.workflow_yaml: lambda found: workflow_report(found).to_yaml().rstrip(),
    Format.log: saga_log,
    Format.status: status_tree,
    Format.mermaid: mermaid,
    Format.html: page,
}


def _write(text: str, output: Path | None) -> None:
    if output is None:
        typer.echo(text)
        return
    try:
        output.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise Refused(f"can't write {output}: {error.strerror}") from None
