"""An operator at the Temporal CLI, for tests."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHandle, WorkflowUpdateFailedError

from flows import start
from tests.support import new_id


class Operator:
    """One run, and the Temporal CLI."""

    def __init__(
        self, temporal: Callable[..., subprocess.CompletedProcess[str]], handle: WorkflowHandle[Any, Any]
    ) -> None:
        self._temporal, self.handle = temporal, handle

    async def __call__(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(self._temporal, "workflow", *args, "-w", self.handle.id, check=check)

    async def update(self, name: str, *inputs: str) -> str:
        """Send an update; give the CLI's error, empty if there is none.

        Without a cache a workflow task may be lost after it answered a query; the next one hears of the update before it
        comes to what waits. So a refusal that knows of nothing that waits is asked for a few times.
        """
        args = [part for input in inputs for part in ("--input", input)]
        for _ in range(5):
            said = (await self("update", "execute", "--name", name, *args, check=False)).stderr.strip()
            if "waiting now: none" not in said:
                break
            await asyncio.sleep(0.2)
        return said

    async def status(self) -> dict[str, Any]:
        """Ask the query ``status``."""
        answer = json.loads((await self("query", "--type", "status", "-o", "json")).stdout)
        return dict(answer["queryResult"][0])

    async def shows(self, state: str, step: str | None = None) -> None:
        """Wait until the run, or a step, is in a state."""
        for _ in range(600):
            status = await self.handle.query("status")
            if state == (status["steps"].get(step) if step else status["state"]):
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"it never came to {state}: {status}")


async def refused(handle: WorkflowHandle[Any, Any], update: str, given: Any) -> str:
    """Send an update that is refused; give why. One that knows of nothing that waits is sent again, see ``Operator.update``."""
    for _ in range(5):
        with pytest.raises(WorkflowUpdateFailedError) as caught:
            await handle.execute_update(update, given)
        said = str(caught.value.cause)
        if "waiting now: none" not in said:
            break
        await asyncio.sleep(0.2)
    return said


Run = Callable[[Client, Any, Any], Awaitable[Operator]]


@pytest.fixture
def operate(temporal: Any, task_queue: str) -> Run:
    """Start a flow, and give its operator."""

    async def operate(client: Client, flow: Any, input: Any) -> Operator:
        return Operator(temporal, await start(client, flow, input, id=new_id(), task_queue=task_queue))

    return operate


async def completed(operator: Operator, activity_id: str) -> None:
    """Wait until an activity has completed."""
    for _ in range(200):
        events = [event async for event in operator.handle.fetch_history_events()]
        ids = {
            event.event_id: event.activity_task_scheduled_event_attributes.activity_id
            for event in events
            if event.HasField("activity_task_scheduled_event_attributes")
        }
        done = [
            ids[event.activity_task_completed_event_attributes.scheduled_event_id]
            for event in events
            if event.HasField("activity_task_completed_event_attributes")
        ]
        if (
            activity_id in done
            and (await operator.handle.describe()).raw_description.pending_workflow_task.state == 0
        ):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{activity_id} never completed")
