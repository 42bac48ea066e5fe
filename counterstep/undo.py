"""The command ``counterstep undo``: undoes what a closed run left in place."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from temporalio.client import WorkflowFailureError

from activities import Failure
from counterstep._connection import Connection, Refused, command
from flows import TASK_QUEUE, Undone
from flows import undo as undo_run


@command
def undo(
    connection: Connection,
    workflow_id: Annotated[str, typer.Argument(help="The closed run's workflow id.")],
    run_id: Annotated[
        str | None, typer.Option("--run-id", "-r", help="Its run id; the newest run unless given.")
    ] = None,
    task_queue: Annotated[str, typer.Option(help="Of a worker that serves its operations.")] = TASK_QUEUE,
) -> None:
    """Undo what a closed run left in place, once; the work is done by a worker."""
    typer.echo(_told(asyncio.run(_undo(connection, workflow_id, run_id, task_queue))))


async def _undo(connection: Connection, workflow_id: str, run_id: str | None, task_queue: str) -> Undone:
    client = await connection.client()
    try:
        return await undo_run(client, workflow_id, run_id=run_id, task_queue=task_queue)
    except WorkflowFailureError as error:
        raise Refused(Failure.of(error.cause).message) from None


def _told(undone: Undone) -> str:
    """Give the lines that say what became of the run."""
    by = f" by {undone.undone_by}" if undone.undone_by else ""
    lines = [f"undone: {', '.join(undone.undone)}" if undone.undone else "nothing was left to undo"]
    lines += [f"undone before{by}: {', '.join(undone.already_undone)}"] if undone.already_undone else []
    return "\n".join(lines)
