"""A crash before and after every handler call, forward and while unwinding: the same effects as without (point 6)."""

from __future__ import annotations

import asyncio
import sys
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.client import Client, WorkflowFailureError

from activities import EmptyInput
from flows import Saga, start
from tests.sagas.crashing import risky_diamond, risky_line
from tests.support import World, new_id
from tests.worker.support import ROOT, Process, running


async def effects(
    tmp_path: Path,
    world: World,
    address: str,
    queue: str,
    flow: Saga[EmptyInput, object],
    die: str | None,
    fail: str | None,
) -> list[str]:
    """Run a saga with a worker that dies at a moment and is started again; give its effects in order."""
    for switch in (die and f"die-{die}", fail and f"fail-{fail}"):
        if switch:
            world.switch(switch)
    command = [sys.executable, "-m", "tests.sagas.crashing", address, queue, str(world.folder)]
    with ExitStack() as stack:

        def serve() -> Process:
            process = stack.enter_context(running(command, tmp_path, {"PYTHONPATH": str(ROOT)}))
            process.until("Serving")
            return process

        worker = serve()
        client = await Client.connect(address)
        handle = await start(
            client, flow, EmptyInput(), id=new_id(), task_queue=queue, task_timeout=timedelta(seconds=1)
        )
        result = asyncio.ensure_future(handle.result())
        deaths = 0
        while not result.done():
            await asyncio.wait([result], timeout=0.1)
            if worker.popen.poll() is not None:
                deaths, worker = deaths + 1, serve()
        assert isinstance(result.exception(), WorkflowFailureError) is bool(fail)
        assert deaths == (1 if die else 0), "the worker must have died where it should"
    return [call for call in world.calls if isinstance(call, str)]


FORWARD = [f"{when}-{step}" for step in "ab" for when in ("before", "after")]
BACKWARD = [f"{when}-undo-{step}" for step in "ba" for when in ("before", "after")]


@pytest.mark.parametrize("die", [*FORWARD, "before-c", *BACKWARD])
async def test_a_line_that_unwinds(
    tmp_path: Path, world: World, dev_address: str, task_queue: str, die: str
) -> None:
    """V3, S69: a, b, c! with a crash at any moment: each effect once, b and a undone once, in order.

    A crash in c, which then fails, leaves c unknown: it is undone too.
    """
    found = await effects(tmp_path, world, dev_address, task_queue, risky_line, die, "c")
    assert found == ["a", "b", *(["undo c"] if die == "before-c" else []), "undo b", "undo a"]


@pytest.mark.parametrize("die", ["after-a", "after-c"])
async def test_a_line_that_completes(
    tmp_path: Path, world: World, dev_address: str, task_queue: str, die: str
) -> None:
    """V1: a crash after an effect and before its record: it isn't there twice, and the saga completes."""
    assert await effects(tmp_path, world, dev_address, task_queue, risky_line, die, None) == ["a", "b", "c"]


@pytest.mark.parametrize("die", ["after-b", "after-undo-c"])
async def test_a_diamond_that_unwinds(
    tmp_path: Path, world: World, dev_address: str, task_queue: str, die: str
) -> None:
    """S75: a, (b ‖ c), d! with a crash in the stage, or in the middle of its unwinding: a is undone last, once."""
    found = await effects(tmp_path, world, dev_address, task_queue, risky_diamond, die, "d")
    assert found[0] == "a" and found[-1] == "undo a"
    assert sorted(found[1:3]) == ["b", "c"] and sorted(found[3:5]) == ["undo b", "undo c"]
    assert len(found) == 6
