"""Undoing closed runs, and looking at what came out."""

from __future__ import annotations

import asyncio
from typing import Any

from temporalio.client import Client, WorkflowHandle

from tests.support import causes, failure_of, new_id

UNDO = "undo"


async def start_undo(client: Client, task_queue: str, target: Any) -> WorkflowHandle[Any, Any]:
    """Start an ``undo`` of a run, by its handle, or of what the input names."""
    given = {"workflow_id": target.id} if isinstance(target, WorkflowHandle) else target
    return await client.start_workflow(UNDO, given, id=new_id("undoing"), task_queue=task_queue)


async def undo(client: Client, task_queue: str, target: Any) -> dict[str, Any]:
    """Undo a run; give the result, without its ids."""
    result = await asyncio.wait_for((await start_undo(client, task_queue, target)).result(), 60)
    return {k: v for k, v in result.items() if k not in ("workflow_id", "run_id")}


async def undo_fails(client: Client, task_queue: str, target: Any) -> tuple[str, str]:
    """Start an ``undo`` that fails; give type and message of its failure."""
    return causes(await failure_of(await start_undo(client, task_queue, target), 60))[0]


def done(*undone: str, already: tuple[str, ...] = (), by: str | None = None) -> dict[str, Any]:
    """Write a result."""
    return {"undone": list(undone), "already_undone": list(already), "not_undone": [], "undone_by": by}


async def started(handle: WorkflowHandle[Any, Any]) -> Any:
    """Give the attributes of a run's first event."""
    first = await anext(aiter(handle.fetch_history_events()))
    return first.workflow_execution_started_event_attributes


async def claim_of(handle: WorkflowHandle[Any, Any]) -> str:
    """Give the id of the workflow that owns a run's undoing."""
    return f"undo:{handle.id}:{(await started(handle)).original_execution_run_id}"
