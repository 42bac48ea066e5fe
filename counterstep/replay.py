"""The command ``counterstep replay``: recorded histories against today's code, and recording them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from temporalio.client import Client, WorkflowHistory

from activities import DefinitionError
from counterstep._connection import Connection, Refused, command
from counterstep.reports import fetch_events
from counterstep.serving import decoding
from flows import load_modules
from flows.testing import HistoriesDiffer, Replayed, way_to_end
from flows.testing import replay as replay_all

OPEN = ("running", "continued_as_new")


@command
def replay(
    connection: Connection,
    folder: Annotated[Path, typer.Argument(help="Where the histories are: JSON files, also in folders.")],
    record: Annotated[
        bool,
        typer.Option(
            "--record", help="First keep a history of each way to end of each definition's version."
        ),
    ] = False,
    limit: Annotated[int, typer.Option(help="Closed runs to look at, the newest.", min=1)] = 1000,
) -> None:
    """Replay recorded histories on the code of --module; a changed body under an unchanged version is found."""
    modules = connection.modules
    if not modules:
        raise Refused("say with --module where the flows are")
    if not (record or folder.is_dir()):
        raise Refused(f"there is no folder {folder}")
    replayed = asyncio.run(_run(connection, modules, folder, limit if record else None))
    for one in replayed:
        typer.echo(str(one), err=one.difference is not None)
    if any(one.difference is not None for one in replayed):
        raise typer.Exit(1)


async def _run(
    connection: Connection, modules: tuple[str, ...], folder: Path, limit: int | None
) -> list[Replayed]:
    module = load_modules(modules)
    converter = decoding(connection.flags, module.data_converter)
    if limit is not None:
        known = {str(flow.definition) for flow in module.registry.flows()}
        for file in await _recorded(await connection.client(), known, folder, limit):
            typer.echo(f"recorded {file}")
    try:
        return await replay_all(folder, *modules, **({"data_converter": converter} if converter else {}))
    except HistoriesDiffer as error:
        return list(error.replayed)
    except DefinitionError as error:
        raise Refused(error.message) from None


async def _recorded(client: Client, known: set[str], folder: Path, limit: int) -> list[Path]:
    """Keep the histories that aren't there yet; those that are there are never replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    async for run in client.list_workflows("ExecutionStatus != 'Running'", limit=limit):
        history = await client.get_workflow_handle(run.id, run_id=run.run_id).fetch_history()
        definition, state = await _end(client, history)
        file = folder / f"{definition}-{state}.json"
        if definition in known and state not in OPEN and not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)  # an action's name may hold a folder
            file.write_text(history.to_json())
            made.append(file)
    return made


async def _end(client: Client, history: WorkflowHistory) -> tuple[str, str]:
    """Say of which definition a run is, and how it ended; of none, where another module's codec is needed."""
    readable = WorkflowHistory(
        history.workflow_id, await fetch_events(client, history.workflow_id, history.run_id)
    )
    try:
        return way_to_end(readable)
    except DefinitionError as error:
        typer.echo(f"left out {history.workflow_id}: {error.message}", err=True)
        return "", ""
