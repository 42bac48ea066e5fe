"""Bugs in bodies: Temporal fails their workflow task for ever, and the run stays open; a test had better end."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

from temporalio.api.enums.v1 import WorkflowTaskFailedCause as Cause
from temporalio.api.history.v1 import HistoryEvent, WorkflowTaskFailedEventAttributes
from temporalio.client import Client, WorkflowHandle

from activities import CounterstepError

_FIRST_LOOK = 3.0
"""Seconds after which a run is looked at; each further look comes after twice the time."""
_BUGS = (
    Cause.WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_WORKER_UNHANDLED_FAILURE,
    Cause.WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR,
)
_SLOW = "[TMPRL1101]"
"""Begins what is said of a task that took two seconds: on a busy machine the next one may be faster."""

_UNSERVED = re.compile(r"Activity function (\S+) is not registered on this worker")


class BodyFailed(CounterstepError):
    """A body raised what no flow may raise, or differs from its history; its run was terminated."""


def body_failed(bug: str) -> BodyFailed:
    """Give the error that tells of a bug: mostly of the flow's, but a local operation may only not be served."""
    unserved = _UNSERVED.search(bug)
    if unserved:
        return BodyFailed(f"{unserved[1]} isn't served by this test: add it to what is, in serve=[...]")
    return BodyFailed(f"a bug in its body, or it differs from its history: {bug}")


async def bug_of(client: Client, handle: WorkflowHandle[Any, Any]) -> str:
    """Wait until the workflow task of a run, or of a child of it, fails by a bug, and say by which."""
    delay = _FIRST_LOOK
    while True:
        await asyncio.sleep(delay)
        delay *= 2
        async for run in _with_children(client, handle.id, handle.run_id):
            found = _bug(run)
            if found:
                return found


async def _with_children(client: Client, id: str, run_id: str | None) -> AsyncIterator[list[HistoryEvent]]:
    """Give the histories of a run and of its children."""
    handle = client.get_workflow_handle(id, run_id=run_id)
    events = [event async for event in handle.fetch_history_events()]
    yield events
    for event in events:
        child = event.child_workflow_execution_started_event_attributes.workflow_execution
        if child.workflow_id:
            async for more in _with_children(client, child.workflow_id, None):
                yield more


def _bug(events: list[HistoryEvent]) -> str | None:
    """Tell of the newest workflow task that failed, if none was completed since then."""
    for event in reversed(events):
        if event.HasField("workflow_task_completed_event_attributes"):
            return None
        if event.HasField("workflow_task_failed_event_attributes"):
            return _told(event.workflow_task_failed_event_attributes)
    return None


def _told(failed: WorkflowTaskFailedEventAttributes) -> str | None:
    if failed.cause not in _BUGS or failed.failure.message.startswith(_SLOW):
        return None
    kind = failed.failure.application_failure_info.type
    return ": ".join(filter(None, (kind, failed.failure.message.splitlines()[0])))
