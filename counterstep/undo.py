"""The command ``counterstep undo``: undoes what a closed run left in place."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from shlex import quote
from typing import Annotated

import typer
from temporalio.client import Client, WorkflowFailureError
from temporalio.service import RPCError

from activities import Failure
from counterstep._connection import Connection, Refused, command, missing, told
from counterstep._findings import parked, polled
from flows import Undone
from flows import undo as undo_run

PATIENCE = 3.0
"""Seconds between two looks whether anybody polls the task queue."""


@command
def undo(
    connection: Connection,
    workflow_id: Annotated[str, typer.Argument(help="The closed run's workflow id.")],
    run_id: Annotated[
        str | None, typer.Option("--run-id", "-r", help="Its run id; the newest run unless given.")
    ] = None,
    task_queue: Annotated[
        str | None, typer.Option(help="Of a worker that serves its operations; the run's own unless given.")
    ] = None,
) -> None:
    """Undo what a closed run left in place, once; the work is done by a worker."""
    typer.echo(_told(asyncio.run(_undo(connection, workflow_id, run_id, task_queue))))


async def _undo(connection: Connection, workflow_id: str, run_id: str | None, given: str | None) -> Undone:
    client = await connection.client()
    try:
        described = await client.get_workflow_handle(workflow_id, run_id=run_id).describe()
    except RPCError as error:
        raise missing(error, workflow_id, run_id) from None
    queue = given or described.task_queue
    undoing = asyncio.create_task(undo_run(client, workflow_id, run_id=run_id, task_queue=queue))
    waiting = asyncio.create_task(_say_what_it_waits_for(client, queue, workflow_id))
    try:
        return await undoing
    except WorkflowFailureError as error:
        raise Refused(Failure.of(error.cause).message) from None
    except RPCError as error:
        goes_on = "what was begun goes on without it: ask again, which undoes nothing twice"
        raise Refused(f"undo of {workflow_id}: the connection broke ({told(error)}); {goes_on}") from None
    finally:
        waiting.cancel()


async def _say_what_it_waits_for(client: Client, queue: str, workflow_id: str) -> None:
    """Say it, once, if nobody polls the task queue after a while, or an undo waits for an operator."""
    start = f"counterstep worker --task-queue {quote(queue)} --module …"
    unpolled = f"nobody polls task queue {queue}; waiting for a worker on it: {start}"
    said: set[str] = set()
    with suppress(RPCError):  # what is asked here isn't what was asked for
        while True:
            await asyncio.sleep(PATIENCE)
            lines = [] if await polled(client, queue, workflows=True) else [unpolled]
            lines += [f"{one.what}; decide: {one.commands[0]}" async for one in parked(client, workflow_id)]
            for line in [line for line in lines if line not in said]:
                typer.echo(f"counterstep undo: {line}", err=True)
                said.add(line)


def _told(undone: Undone) -> str:
    """Give the lines that say what became of the run."""
    by = f" by {undone.undone_by}" if undone.undone_by else ""
    lines = [f"undone: {', '.join(undone.undone)}" if undone.undone else "nothing was left to undo"]
    lines += [f"undone before{by}: {', '.join(undone.already_undone)}"] if undone.already_undone else []
    return "\n".join(lines)
