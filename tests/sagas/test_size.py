"""Ten thousand steps, undo included, at a cost that grows linearly (issue 3, Size). Takes half an hour."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from flows import start
from tests.sagas.large import Size, line_of, row_of
from tests.support import World, causes, failure_of, new_id
from tests.worker.support import ROOT, running

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(6000)]
HOUR = 3600.0


class Served:
    """A worker process of its own for one size, and what happened in it."""

    def __init__(self, client: Client, queue: str, world: World) -> None:
        self.client, self.queue, self.world = client, queue, world

    async def run(self, flow: Any, size: Size) -> list[int]:
        """Run to the end; give the events of each run of the chain."""
        began = time.monotonic()
        handle = await start(self.client, flow, size, id=new_id(), task_queue=self.queue)
        if size.fails:
            found = causes(await failure_of(handle, HOUR))
            assert found[0][0] == "RolledBack" and found[-1] == ("RuntimeError", "the last one")
        else:
            await asyncio.wait_for(handle.result(), HOUR)
        took = time.monotonic() - began
        await asyncio.sleep(1)
        runs = [r async for r in self.client.list_workflows(f"WorkflowId = '{handle.id}'")]
        events = [r.history_length for r in runs]
        print(
            f"{size}: {took:.0f} s, {1000 * took / size.steps:.1f} ms a step, events {events}",
            file=sys.stderr,
        )
        return events

    def peak(self) -> float:
        """Give the most megabytes that the process had, once it has ended."""
        (kilobytes,) = self.world.lines("peak")
        return int(kilobytes) / 1024


@asynccontextmanager
async def served(tmp_path: Path, address: str, name: str) -> AsyncIterator[Served]:
    """Run a worker process."""
    world, queue = World(tmp_path / name), new_id(name)
    command = [sys.executable, "-m", "tests.sagas.large", address, queue, str(world.folder)]
    with running(command, tmp_path, {"PYTHONPATH": str(ROOT)}) as process:
        process.until("Serving")
        yield Served(await Client.connect(address), queue, world)
        process.signal(signal.SIGTERM)
        assert process.ends() == 0, process.text
        assert "deadlock" not in process.text


async def test_a_thousand_steps_beside_each_other(tmp_path: Path, dev_address: str) -> None:
    """Every step once; with a failure in the last one every undo once; no run over 10,000 events."""
    steps = sorted(str(n) for n in range(1, 1001))
    async with served(tmp_path, dev_address, "row") as worker:
        events = await worker.run(row_of, Size(steps=1000))
        assert sorted(worker.world.lines("ticks")) == steps and max(events) <= 10_000
        events = await worker.run(row_of, Size(steps=1000, fails=True))
        assert sorted(worker.world.lines("ticks")) == sorted(steps * 2) and max(events) <= 10_000
    assert sorted(worker.world.lines("unticks")) == sorted(str(n) for n in range(1, 1000))


async def test_ten_thousand_steps_in_a_line(tmp_path: Path, dev_address: str) -> None:
    """Every step once, in order; with a failure in the last one every undo once, newest first; no run over 10,000 events.

    The worker's memory is never more than 100 MB above what it is at 1,000 steps.
    """
    peaks: dict[int, float] = {}
    for count in (1000, 10_000):
        steps = [str(n) for n in range(1, count + 1)]
        async with served(tmp_path, dev_address, f"line-{count}") as worker:
            events = await worker.run(line_of, Size(steps=count))
            assert worker.world.lines("ticks") == steps and max(events) <= 10_000
            events = await worker.run(line_of, Size(steps=count, fails=True))
            assert worker.world.lines("ticks") == steps * 2 and max(events) <= 10_000
        assert worker.world.lines("unticks") == steps[-2::-1]
        peaks[count] = worker.peak()
    print(f"memory: {peaks}", file=sys.stderr)
    assert peaks[10_000] <= peaks[1000] + 100
