"""Long-running operations as children: whatever leg they are in, they are reached."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.client import WorkflowExecutionStatus

from flows import start
from tests.conftest import Serve
from tests.longrunning.operations import Legs, Waits, keyed
from tests.support import World, failure_of, new_id


@pytest.mark.parametrize("how", ["cancel", "stop"])
async def test_an_end_reaches_a_later_leg_of_a_child(
    serve: Serve, world: World, task_queue: str, how: str
) -> None:
    """The parent is cancelled or stopped while its child waits an hour in its second leg: it ends, all undone."""
    async with serve(keyed, Legs, Waits) as client:
        handle = await start(client, Waits, 2, id=new_id(), task_queue=task_queue)
        child = client.get_workflow_handle(f"{handle.id}/legs")
        while len(world.calls) < 2 or (await child.query("status"))["steps"].get("long") != "waiting":
            await asyncio.sleep(0.05)
        await (handle.cancel() if how == "cancel" else handle.execute_update("stop", {"by": "ann"}))
        await failure_of(handle, 30)
        ended = (await handle.describe()).status, (await child.describe()).status
    cancelled, failed = WorkflowExecutionStatus.CANCELED, WorkflowExecutionStatus.FAILED
    assert ended == (cancelled if how == "cancel" else failed, cancelled)
    assert [step for step, _ in world.calls] == ["same", "same", "undo same", "undo same"]
