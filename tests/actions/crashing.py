"""A worker that kills itself in a job, once; forked by :mod:`tests.spawning`."""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio.client import Client
from temporalio.worker import Worker

from activities import Context, Registry
from flows import Action, CounterstepPlugin, Job, NoData
from tests.support import World


def _part(name: str) -> Any:
    def run(ctx: Context[World], value: Any) -> Any:
        ctx.deps.record(f"{ctx.step}.{name}", value)
        if ctx.deps.is_on(f"die-{ctx.step}.{name}"):
            ctx.deps.switch(f"die-{ctx.step}.{name}", on=False)
            os.kill(os.getpid(), signal.SIGKILL)
        if ctx.deps.is_on(f"fail-{ctx.step}.{name}"):
            raise RuntimeError(f"{ctx.step}.{name} down")
        return NoData if value is None else value + 1

    return run


def _rollback(ctx: Context[World], data: Any, error: Exception) -> None:
    ctx.deps.record(f"rollback {ctx.step}", data)


async def _save(ctx: Context[World], value: Any) -> Any:
    ctx.deps.record(f"{ctx.step}.save", ctx.saved)
    await ctx.save({"attempt": ctx.attempt})
    return value


JOB = Job("a", _part("execute"), [_save, _part("pre1")], [_part("post1")], _rollback)
RISKY = Action("risky", [JOB, JOB.rename("b")])


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
