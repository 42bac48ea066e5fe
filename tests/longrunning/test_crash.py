"""`kill -9` of the worker at each resume point: the code before a point has its effect once, and the state is there."""

from __future__ import annotations

import asyncio
import sys
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.client import Client, WorkflowFailureError

from activities import EmptyInput
from flows import start
from tests.longrunning.crashing import LEGS, Crashes
from tests.support import World, new_id
from tests.worker.support import ROOT, Process, running

STEPS = [f"s{number}" for number in range(LEGS)]


@pytest.mark.parametrize(
    "fails", [pytest.param(False, marks=pytest.mark.nightly), True], ids=["completes", "unwinds"]
)
async def test_killed_at_each_resume_point(
    tmp_path: Path, world: World, dev_address: str, task_queue: str, fails: bool
) -> None:
    """LRO-35: killed at the end of each leg and at the beginning of the next, five times: each effect once, the state whole.

    Where the last leg fails, each effect is undone once too, newest first.
    """
    for number in range(LEGS - 1):
        world.append("die", f"after s{number} 1")
    for number in (1, 2):
        world.append("die", f"before s{number} 1")
    world.switch("fail-s3", on=fails)
    command = [sys.executable, "-m", "tests.longrunning.crashing", dev_address, task_queue, str(world.folder)]
    with ExitStack() as stack:

        def serve() -> Process:
            process = stack.enter_context(running(command, tmp_path, {"PYTHONPATH": str(ROOT)}))
            process.until("Serving", timeout=90)
            return process

        worker, deaths = serve(), 0
        client = await Client.connect(dev_address)
        handle = await start(
            client,
            Crashes,
            EmptyInput(),
            id=new_id(),
            task_queue=task_queue,
            task_timeout=timedelta(seconds=1),
        )
        result = asyncio.ensure_future(handle.result())
        while not result.done():
            await asyncio.wait([result], timeout=0.1)
            if worker.popen.poll() is not None:
                deaths, worker = deaths + 1, serve()
    assert deaths == 5
    if fails:
        assert isinstance(result.exception(), WorkflowFailureError)
        assert world.effects == [*STEPS[:3], "undo s2", "undo s1", "undo s0"]
    else:
        assert (result.result(), world.effects) == (STEPS, STEPS)
