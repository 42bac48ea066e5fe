"""Large sagas, and a worker for them that says how much memory it had: ``python -m tests.sagas.large ADDRESS QUEUE FOLDER``."""

from __future__ import annotations

import asyncio
import resource
import signal
import sys
from pathlib import Path

from pydantic import BaseModel
from temporalio.client import Client
from temporalio.worker import Worker

from activities import Context, Outcome, Registry, operation
from flows import CounterstepPlugin, Dag, saga
from tests.sample import FAST
from tests.support import World
from worker import leave


class Size(BaseModel):
    """How many steps, and whether the last one fails."""

    steps: int
    fails: bool = False


@operation(id="tick", version="1.0.0")
async def tick(ctx: Context[World], input: int) -> int:
    """Count; a negative input fails."""
    ctx.deps.append("ticks", str(abs(input)))
    if input < 0:
        raise RuntimeError("the last one")
    return input


@tick.undo(retry=FAST)
async def untick(ctx: Context[World], input: int, outcome: Outcome[int]) -> None:
    ctx.deps.append("unticks", str(outcome.output))


@saga(id="line-of", version="1.0.0")
def line_of(dag: Dag, params: Size) -> None:
    """So many steps in a line."""
    for number in range(1, params.steps + 1):
        dag.append(f"n{number}", tick, -number if params.fails and number == params.steps else number)


@saga(id="row-of", version="1.0.0")
def row_of(dag: Dag, params: Size) -> None:
    """So many steps beside each other, then one that may fail."""
    dag.append_parallel(*(dag.step(f"n{number}", tick, number) for number in range(1, params.steps)))
    dag.append("last", tick, -params.steps if params.fails else params.steps)


async def main(address: str, queue: str, folder: str) -> None:
    """Serve until told to end; then write down the most memory that there ever was."""
    world = World(Path(folder))
    plugin = CounterstepPlugin(Registry(tick, line_of, row_of), deps=world)
    client = await Client.connect(address, plugins=[plugin])
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with Worker(client, task_queue=queue):
        print("Serving", flush=True)
        await ended.wait()
    world.append("peak", str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
    leave(0)
