"""A worker that kills itself at a chosen moment, once: ``python -m tests.sagas.crashing ADDRESS QUEUE FOLDER``."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

from temporalio.client import Client
from temporalio.worker import Worker

from activities import Context, EmptyInput, Outcome, Registry, operation
from flows import CounterstepPlugin, Dag, saga
from tests.sample import FAST
from tests.support import World


def _die(world: World, moment: str) -> None:
    """Kill this process if the test wants it to die here, once."""
    if world.is_on(f"die-{moment}"):
        world.switch(f"die-{moment}", on=False)
        os.kill(os.getpid(), signal.SIGKILL)


def _effect(world: World, name: str, key: str) -> None:
    """Do something once for each key, in an order that is kept."""
    if not world.is_on(f"effect-{name}-{key}"):
        world.switch(f"effect-{name}-{key}")
        world.record(name)


@operation(id="risky", version="1.0.0")
async def risky(ctx: Context[World], input: EmptyInput) -> str:
    """Have an effect, with a chance to die before and after it."""
    _die(ctx.deps, f"before-{ctx.step}")
    if ctx.deps.is_on(f"fail-{ctx.step}"):
        raise RuntimeError(f"{ctx.step} down")
    _effect(ctx.deps, ctx.step, ctx.idempotency_key)
    _die(ctx.deps, f"after-{ctx.step}")
    return ctx.step


@risky.undo(retry=FAST)
async def undo_risky(ctx: Context[World], input: EmptyInput, outcome: Outcome[str]) -> None:
    _die(ctx.deps, f"before-undo-{ctx.step}")
    _effect(ctx.deps, f"undo {ctx.step}", ctx.idempotency_key)
    _die(ctx.deps, f"after-undo-{ctx.step}")


@saga(id="risky-line", version="1.0.0")
def risky_line(dag: Dag, params: EmptyInput) -> None:
    """a, b, c in a line."""
    for name in "abc":
        dag.append(name, risky, {})


@saga(id="risky-diamond", version="1.0.0")
def risky_diamond(dag: Dag, params: EmptyInput) -> None:
    """a, then b beside c, then d."""
    dag.append("a", risky, {})
    dag.append_parallel(dag.step("b", risky, {}), dag.step("c", risky, {}))
    dag.append("d", risky, {})


async def main(address: str, queue: str, folder: str) -> None:
    """Serve until killed."""
    plugin = CounterstepPlugin(
        Registry(risky, risky_line, risky_diamond),
        deps=World(Path(folder)),
        heartbeat_timeout=timedelta(seconds=1),
    )
    client = await Client.connect(address, plugins=[plugin])
    async with Worker(
        client, task_queue=queue, sticky_queue_schedule_to_start_timeout=timedelta(seconds=0.2)
    ):
        print("Serving", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
