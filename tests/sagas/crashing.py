"""A worker that kills itself at a chosen moment, once; forked by :mod:`tests.spawning`."""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import timedelta
from pathlib import Path

from temporalio.client import Client
from temporalio.worker import Worker

from activities import Context, EmptyInput, Outcome, OutcomeUnknown, Registry, operation
from flows import CounterstepPlugin, Dag, Policy, Step, saga
from tests.sample import FAST
from tests.support import World


def _die(world: World, moment: str) -> None:
    """Kill this process if the test wants it to die here, once."""
    if world.is_on(f"die-{moment}"):
        world.switch(f"die-{moment}", on=False)
        os.kill(os.getpid(), signal.SIGKILL)


@operation(id="risky", version="1.0.0")
async def risky(ctx: Context[World], input: EmptyInput) -> str:
    """Have an effect, with a chance to die before and after it."""
    world, step = ctx.deps, ctx.step
    _die(world, f"before-{step}")
    if world.is_on(f"slow-{step}"):
        await asyncio.sleep(0.3)
    if world.is_on(f"hang-{step}"):
        await asyncio.sleep(60)
    if world.is_on(f"fail-{step}"):
        raise RuntimeError(f"{step} down")
    world.effect(step, ctx.idempotency_key)
    _die(world, f"after-{step}")
    if world.is_on(f"unknown-{step}"):
        raise OutcomeUnknown("who knows")
    return step


@risky.undo(retry=FAST)
async def undo_risky(ctx: Context[World], input: EmptyInput, outcome: Outcome[str]) -> None:
    world, step = ctx.deps, ctx.step
    _die(world, f"before-undo-{step}")
    if world.is_on(f"fail-undo-{step}"):
        raise RuntimeError(f"undo of {step} down")
    world.effect(f"undo {step}", ctx.idempotency_key)
    _die(world, f"after-undo-{step}")


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


@saga(id="risky-settling", version="1.0.0", policy=Policy(settle="cancel"))
def risky_settling(dag: Dag, params: EmptyInput) -> None:
    """The same; a failure cancels what is in flight."""
    risky_diamond.build(dag, params)


@saga(id="risky-stopping", version="1.0.0", policy=Policy(on_undo_failure="stop"))
def risky_stopping(dag: Dag, params: EmptyInput) -> None:
    """a, b, c in a line; a failed undo ends unwinding."""
    risky_line.build(dag, params)


@saga(id="risky-inner", version="1.0.0")
def risky_inner(dag: Dag, params: EmptyInput) -> Step[str]:
    """x, then y."""
    dag.append("x", risky, {})
    return dag.append("y", risky, {})


@saga(id="risky-nest", version="1.0.0")
def risky_nest(dag: Dag, params: EmptyInput) -> None:
    """x, the same subsaga twice beside each other, then z."""
    dag.append("x", risky, {})
    dag.append_parallel(dag.step("s", risky_inner, {}), dag.step("t", risky_inner, {}))
    dag.append("z", risky, {})


@saga(id="risky-pair", version="1.0.0")
def risky_pair(dag: Dag, params: EmptyInput) -> None:
    """p, then q."""
    dag.append("p", risky, {})
    dag.append("q", risky, {})


@saga(id="risky-family", version="1.0.0")
def risky_family(dag: Dag, params: EmptyInput) -> None:
    """a, then two child flows beside each other, then z."""
    first = dag.append("a", risky, {})
    dag.flow("s", risky_inner, {}, after=[first])
    dag.flow("t", risky_pair, {}, after=[first])
    dag.append("z", risky, {})


SAGAS = (
    risky_line,
    risky_diamond,
    risky_settling,
    risky_stopping,
    risky_inner,
    risky_nest,
    risky_pair,
    risky_family,
)


async def main(address: str, queue: str, folder: str) -> None:
    """Serve until killed."""
    plugin = CounterstepPlugin(
        Registry(risky, *SAGAS), deps=World(Path(folder)), heartbeat_timeout=timedelta(seconds=1)
    )
    client = await Client.connect(address, plugins=[plugin])
    soon = timedelta(seconds=0.2)
    async with Worker(client, task_queue=queue, sticky_queue_schedule_to_start_timeout=soon):
        await asyncio.Event().wait()
