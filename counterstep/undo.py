"""The command ``counterstep undo``: undoes what a closed run left in place."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from temporalio.client import WorkflowFailureError

from activities import CounterstepError, Failure, Registry
from counterstep.serving import StartError
from flows import TASK_QUEUE, Module, Undone, load_modules
from flows import undo as undo_run
from worker import Settings, connect


def undo(
    workflow_id: Annotated[str, typer.Argument(help="The closed run's workflow id.")],
    run_id: Annotated[str | None, typer.Option(help="Its run id; the newest run unless given.")] = None,
    task_queue: Annotated[str, typer.Option(help="Of a worker that serves its operations.")] = TASK_QUEUE,
    address: Annotated[str | None, typer.Option(help="Temporal's host and port.")] = None,
    namespace: Annotated[str | None, typer.Option(help="Temporal's namespace.")] = None,
    profile: Annotated[str | None, typer.Option(help="A profile of temporal.toml.")] = None,
    module: Annotated[
        list[str] | None, typer.Option(help="A module with a data_converter; repeatable.")
    ] = None,
) -> None:
    """Undo what a closed run left in place, once; the work is done by a worker."""
    settings = Settings(tuple(module or ()), task_queue, address, namespace, profile)
    try:
        undone = asyncio.run(_undo(settings, workflow_id, run_id))
    except (StartError, CounterstepError) as error:
        raise _failed(getattr(error, "message", str(error))) from None
    except WorkflowFailureError as error:
        raise _failed(Failure.of(error.cause).message) from None
    typer.echo(_told(undone))


async def _undo(settings: Settings, workflow_id: str, run_id: str | None) -> Undone:
    module = load_modules(settings.modules) if settings.modules else Module(Registry())
    client = await connect(settings, module)
    return await undo_run(client, workflow_id, run_id=run_id, task_queue=settings.task_queue)


def _failed(message: str) -> typer.Exit:
    typer.echo(f"counterstep undo: {message}", err=True)
    return typer.Exit(1)


def _told(undone: Undone) -> str:
    """Give the lines that say what became of the run."""
    by = f" by {undone.undone_by}" if undone.undone_by else ""
    lines = [f"undone: {', '.join(undone.undone)}" if undone.undone else "nothing was left to undo"]
    lines += [f"undone before{by}: {', '.join(undone.already_undone)}"] if undone.already_undone else []
    return "\n".join(lines)
