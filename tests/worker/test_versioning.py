"""Workers as versions of a deployment: sequences stay on theirs, the dispatcher and new runs move on."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHandle

from flows import start
from tests.support import new_id
from tests.worker.conftest import Launch

Temporal = Callable[..., subprocess.CompletedProcess[str]]

VERSIONED = '''
import os
from temporalio import workflow
from flows import Sequence

BUILD = "{build}"


class Says(Sequence[int, list[str]], id="says", version="1.0.{build}"):
    """Say which build ran it, before and after an approval."""

    async def run(self, input: int) -> list[str]:
        if input:
            await self.approval("go")
        return [BUILD, str(input)]
'''


@pytest.fixture
def make_current(temporal: Temporal, task_queue: str) -> Callable[[str], None]:
    """Make a build the current version of the deployment that is named like the task queue."""

    def make_current(build: str) -> None:
        command = ("worker", "deployment", "set-current-version", "--yes")
        for _ in range(50):
            done = temporal(*command, "--deployment-name", task_queue, "--build-id", build, check=False)
            if done.returncode == 0:
                return
        raise AssertionError(done.stderr)

    return make_current


async def test_pinned_sequences_stay(
    served: Launch,
    folder: Path,
    dev_address: str,
    temporal: Temporal,
    task_queue: str,
    make_current: Callable[[str], None],
) -> None:
    """A run goes on in the build that it began in; new ones, exact or by range, begin in the current one."""
    client = await Client.connect(dev_address)

    def deploy(build: str) -> None:
        (folder / "versioned.py").write_text(VERSIONED.format(build=build))
        served("--deployment-name", task_queue, "--build-id", build, modules=("versioned",))
        make_current(build)

    async def run(type: str, input: int) -> WorkflowHandle[Any, Any]:
        return await start(client, type, input, id=new_id(), task_queue=task_queue)

    await asyncio.to_thread(deploy, "1")
    assert await (await run("says@1.0.1", 0)).result() == ["1", "0"]
    assert await (await run("says@^1", 0)).result() == ["1", "0"]
    old = await run("says", 7)
    while (await old.query("status"))["steps"].get("go") != "waiting for approval":
        await asyncio.sleep(0.05)
    await asyncio.to_thread(deploy, "2")
    assert await (await run("says", 0)).result() == ["2", "0"]
    assert await (await run("says@^1", 0)).result() == ["2", "0"]
    await old.execute_update("approve", {"name": "go"})
    assert await old.result() == ["1", "7"]
    described = json.loads(
        (await asyncio.to_thread(temporal, "workflow", "describe", "-w", old.id, "-o", "json")).stdout
    )
    versioning = described["workflowExecutionInfo"]["versioningInfo"]
    assert versioning["behavior"] == "VERSIONING_BEHAVIOR_PINNED"
    assert versioning["deploymentVersion"] == {"buildId": "1", "deploymentName": task_queue}
