"""A worker that kills itself around resume points: ``python -m tests.longrunning.crashing ADDRESS QUEUE FOLDER``."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from pathlib import Path

from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import Worker

from activities import EmptyInput, Registry
from flows import CounterstepPlugin, LongRunning
from worker import leave

with workflow.unsafe.imports_passed_through():
    from tests.sagas.crashing import risky
    from tests.support import World

LEGS = 4


class Crashes(LongRunning[EmptyInput, list[str], list[str], int], id="crashes", version="1.0.0"):
    """A step in each of four legs, with a state that grows."""

    async def run(self, input: EmptyInput) -> list[str]:
        number = len(self.state)
        report = await self.execute(risky, input, step=f"s{number}")
        self.state.append(report.output)
        self.metadata = number
        if len(self.state) == LEGS:
            return self.state
        return await self.wait(timedelta(milliseconds=50), resume_point=f"p{number + 1}")


async def main(address: str, queue: str, folder: str) -> None:
    """Serve until killed."""
    plugin = CounterstepPlugin(
        Registry(risky, Crashes), deps=World(Path(folder)), heartbeat_timeout=timedelta(seconds=1)
    )
    client = await Client.connect(address, plugins=[plugin])
    async with Worker(
        client, task_queue=queue, sticky_queue_schedule_to_start_timeout=timedelta(seconds=0.2)
    ):
        print("Serving", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
    leave(0)
