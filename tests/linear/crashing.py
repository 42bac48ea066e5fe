"""A worker that kills itself in a step, once; forked by :mod:`tests.spawning`."""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import timedelta
from pathlib import Path

from temporalio.client import Client
from temporalio.worker import Worker

from activities import Context, Registry
from flows import CounterstepPlugin
from flows.linear import Step, Workflow
from tests.support import World


def run(ctx: Context[World]) -> None:
    """Record the key; die on demand."""
    ctx.deps.record(ctx.step, ctx.idempotency_key)
    if ctx.deps.is_on(f"die-{ctx.step}"):
        ctx.deps.switch(f"die-{ctx.step}", on=False)
        os.kill(os.getpid(), signal.SIGKILL)


RISKY = Workflow("risky-steps", [Step(name, run) for name in "abc"])


async def main(address: str, queue: str, folder: str) -> None:
    """Serve until killed."""
    plugin = CounterstepPlugin(
        Registry(*RISKY.definitions), deps=World(Path(folder)), heartbeat_timeout=timedelta(seconds=1)
    )
    client = await Client.connect(address, plugins=[plugin])
    async with Worker(
        client, task_queue=queue, sticky_queue_schedule_to_start_timeout=timedelta(seconds=0.2)
    ):
        await asyncio.Event().wait()
