"""The command ``counterstep replay``: recorded histories against today's code, and recording them."""

from __future__ import annotations

import asyncio
from copy import deepcopy
from pathlib import Path
from typing import Annotated

import typer
from temporalio.client import Client, WorkflowExecution, WorkflowHistory
from temporalio.service import RPCError, RPCStatusCode

from activities import DefinitionError
from counterstep._connection import Connection, Refused, command, unreadable
from counterstep.reports import decode_events
from counterstep.serving import CodecError, decoding
from flows import load_modules
from flows._resolved import PLAN
from flows.testing import HistoriesDiffer, Replayed, way_to_end
from flows.testing import replay as replay_all


@command
def replay(
    connection: Connection,
    folder: Annotated[Path, typer.Argument(help="Where the histories are: JSON files, also in folders.")],
    record: Annotated[
        bool,
        typer.Option(
            "--record",
            help="First keep a history of each way to end, and of each leg, of each definition's version.",
        ),
    ] = False,
    limit: Annotated[int, typer.Option(help="Closed runs to look at, the newest.", min=1)] = 1000,
) -> None:
    """Replay recorded histories on the code of --module; a changed body under an unchanged version is found."""
    modules = connection.modules
    if not modules:
        raise Refused("say with --module where the flows are")
    if not folder.is_dir() and (folder.exists() or not record):
        raise Refused(f"{folder} is no folder" if folder.exists() else f"there is no folder {folder}")
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
    types = {name.rpartition("@")[0] for name in known} | {PLAN}
    _writable(folder)
    made = []
    async for run in client.list_workflows("ExecutionStatus != 'Running'", limit=limit):
        found = await _found(client, run) if run.workflow_type.partition("@")[0] in types else None
        if found is None:
            continue
        history, definition, state = found
        file = folder / f"{definition}-{state}.json"
        if definition in known and state != "running" and not file.exists():
            _write(file, history.to_json())
            made.append(file)
    return made


def _write(file: Path, text: str) -> None:
    _writable(file.parent)  # an action's name may hold a folder
    try:
        file.write_text(text)
    except OSError as error:
        raise Refused(f"can't write {file}: {error.strerror}") from None


def _writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(f"can't make folder {folder}: {error.strerror}") from None


async def _found(client: Client, run: WorkflowExecution) -> tuple[WorkflowHistory, str, str] | None:
    """Give a run's history, of which definition it is, and how it ended; nothing where that can't be read."""
    try:
        history = await client.get_workflow_handle(run.id, run_id=run.run_id).fetch_history()
        return history, *await _end(client, history)
    except CodecError:
        raise
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:  # deleted meanwhile
            raise
    except DefinitionError as error:
        typer.echo(f"left out {run.id}: {error.message}", err=True)
    except Exception as error:  # whatever one history holds, the next one is kept
        typer.echo(f"left out {unreadable(run.id, run.run_id, error)}", err=True)
    return None


async def _end(client: Client, history: WorkflowHistory) -> tuple[str, str]:
    """Say of which definition a run is, and how it ended; it is kept as it is, and read decoded."""
    events = deepcopy(list(history.events))
    await decode_events(events, client.data_converter)
    return way_to_end(WorkflowHistory(history.workflow_id, events))
