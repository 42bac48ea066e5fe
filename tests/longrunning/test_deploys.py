"""New code under an open operation: each leg begins on the deployment's current build; a build without it loses nothing."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowHandle,
    WorkflowQueryFailedError,
)
from temporalio.service import RPCError

from flows import start
from tests.support import events_of, new_id
from tests.worker.conftest import Launch, folder, launch, served
from tests.worker.test_versioning import make_current

Temporal = Callable[..., subprocess.CompletedProcess[str]]

SAYS = '''
from flows import LongRunning

BUILD = "{build}"


class Says(LongRunning[int, list[str], list[str], None], id="says", version="1.0.0"):
    """Say which build runs each leg, before and after an approval."""

    async def run(self, input: int) -> list[str]:
        self.state.append(BUILD)
        await self.approval("go")
        self.state.append(BUILD)
        if self.resume_point:
            return self.state
        return await self.wait(resume_point="next")
'''


OTHER = '''
from flows import Sequence


class Other(Sequence[int, int], id="other", version="1.0.0"):
    """Know nothing of the operation."""

    async def run(self, input: int) -> int:
        return input
'''


async def _asks(handle: WorkflowHandle[Any, Any], point: str) -> None:
    """Wait until a leg asks for its approval; a leg whose worker doesn't know it refuses queries."""
    while True:
        with suppress(RPCError, WorkflowQueryFailedError):
            found = await handle.query("metadata")
            if (found["resume_point"], found["current"]) == (point, ["go"]):
                return
        await asyncio.sleep(0.05)


async def test_each_leg_begins_on_the_current_build(
    served: Launch, folder: Path, dev_address: str, task_queue: str, make_current: Callable[[str], None]
) -> None:
    """A leg stays on its build; the next one meets a build that lacks the operation, waits, and goes on in the one after."""
    client = await Client.connect(dev_address)

    def deploy(build: str, source: str) -> None:
        (folder / f"build_{build}.py").write_text(source)
        served("--deployment-name", task_queue, "--build-id", build, modules=(f"build_{build}",))
        make_current(build)

    await asyncio.to_thread(deploy, "1", SAYS.format(build="1"))
    handle = await start(client, "says@1.0.0", 0, id=new_id(), task_queue=task_queue)
    newest = client.get_workflow_handle(handle.id)
    await _asks(newest, "")
    await asyncio.to_thread(deploy, "2", OTHER)
    await newest.execute_update("approve", {"name": "go"})
    while "WORKFLOW_TASK_FAILED" not in (await events_of(newest)):
        await asyncio.sleep(0.05)
    assert (await newest.describe()).status == WorkflowExecutionStatus.RUNNING
    await asyncio.to_thread(deploy, "3", SAYS.format(build="3"))
    await _asks(newest, "next")
    await newest.execute_update("approve", {"name": "go"})
    assert await handle.result() == ["1", "1", "3", "3"]


__all__ = ["folder", "launch", "make_current", "served"]
