"""Sagas of steps around which their worker dies; forked by :mod:`tests.spawning`."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from activities import Context, EmptyInput, Outcome, OutcomeUnknown, operation
from flows import Dag, Policy, Step, saga
from tests.dying import Mortal, serve
from tests.sample import FAST
from tests.support import World


@operation(id="risky", version="1.0.0")
async def risky(ctx: Context[Mortal], input: EmptyInput) -> str:
    """Have an effect, or fail without one, with a chance to die before and after it."""
    world, step = ctx.deps.world, ctx.step
    await ctx.deps.before(step, ctx.idempotency_key)
    if world.is_on(f"slow-{step}"):
        await asyncio.sleep(0.3)
    if world.is_on(f"fail-{step}"):
        await _hangs(world)
        await ctx.deps.after(step, ctx.idempotency_key)
        raise RuntimeError(f"{step} down")
    world.effect(step, ctx.idempotency_key)
    await ctx.deps.after(step, ctx.idempotency_key)
    if world.is_on(f"unknown-{step}"):
        raise OutcomeUnknown("who knows")
    if world.is_on(f"hang-{step}"):
        world.switch("hangs")
        await asyncio.sleep(60)
    return step


async def _hangs(world: World) -> None:
    """Wait until the step that is to hang does, if one is."""
    if world.is_on("hang-c"):
        await world.wait("hangs", 60)


@risky.undo(retry=FAST)
async def undo_risky(ctx: Context[Mortal], input: EmptyInput, outcome: Outcome[str]) -> None:
    world, undo = ctx.deps.world, f"undo {ctx.step}"
    await ctx.deps.before(undo, ctx.idempotency_key)
    fails = world.is_on(f"fail-undo-{ctx.step}")
    if not fails:
        world.effect(undo, ctx.idempotency_key)
    await ctx.deps.after(undo, ctx.idempotency_key)
    if fails:
        raise RuntimeError(f"undo of {ctx.step} down")


@saga(id="risky-line", version="1.0.0")
def risky_line(dag: Dag, params: EmptyInput) -> None:
    """a, b, c in a line."""
    for name in "abc":
        dag.append(name, risky, {})


@saga(id="risky-always", version="1.0.0", policy=Policy(undo_failed_step="always"))
def risky_always(dag: Dag, params: EmptyInput) -> None:
    """The same; the failed step is undone too."""
    risky_line.build(dag, params)


@saga(id="risky-stopping", version="1.0.0", policy=Policy(on_undo_failure="stop"))
def risky_stopping(dag: Dag, params: EmptyInput) -> None:
    """The same; a failed undo ends unwinding."""
    risky_line.build(dag, params)


@saga(id="risky-parking", version="1.0.0", policy=Policy(on_undo_failure="park"))
def risky_parking(dag: Dag, params: EmptyInput) -> None:
    """The same; a failed undo waits for an operator."""
    risky_line.build(dag, params)


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


@saga(id="risky-diamond-stopping", version="1.0.0", policy=Policy(on_undo_failure="stop"))
def risky_diamond_stopping(dag: Dag, params: EmptyInput) -> None:
    """The same; a failed undo ends unwinding."""
    risky_diamond.build(dag, params)


@saga(id="risky-diamond-parking", version="1.0.0", policy=Policy(on_undo_failure="park"))
def risky_diamond_parking(dag: Dag, params: EmptyInput) -> None:
    """The same; a failed undo waits for an operator."""
    risky_diamond.build(dag, params)


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


@saga(id="risky-after", version="1.0.0")
def risky_after(dag: Dag, params: EmptyInput) -> Step[str]:
    """a, then a subsaga."""
    dag.append("a", risky, {})
    return dag.subsaga("s", risky_inner, {})


@saga(id="risky-deep", version="1.0.0")
def risky_deep(dag: Dag, params: EmptyInput) -> None:
    """x, then a subsaga with a subsaga in it, then z."""
    dag.append("x", risky, {})
    dag.subsaga("t", risky_after, {})
    dag.append("z", risky, {})


@saga(id="risky-start", version="1.0.0")
def risky_start(dag: Dag, params: EmptyInput) -> Step[str]:
    """p beside q, then r."""
    dag.append_parallel(dag.step("p", risky, {}), dag.step("q", risky, {}))
    return dag.append("r", risky, {})


@saga(id="risky-stage", version="1.0.0")
def risky_stage(dag: Dag, params: EmptyInput) -> None:
    """a, then a subsaga that begins with a parallel stage, then z."""
    dag.append("a", risky, {})
    dag.subsaga("s", risky_start, {})
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


@saga(id="risky-building", version="1.0.0")
def risky_building(dag: Dag, params: str) -> None:
    """The line; its builder dies in the folder of the params, once."""
    world = World(Path(params))
    world.append("builds", "begun")
    risky_line.build(dag, EmptyInput())
    if len(world.lines("builds")) == 1:
        os.kill(os.getpid(), signal.SIGKILL)


SAGAS = (
    risky_line,
    risky_always,
    risky_stopping,
    risky_parking,
    risky_diamond,
    risky_settling,
    risky_diamond_stopping,
    risky_diamond_parking,
    risky_inner,
    risky_nest,
    risky_after,
    risky_deep,
    risky_start,
    risky_stage,
    risky_pair,
    risky_family,
    risky_building,
)


async def main(address: str, queue: str, folder: str) -> None:
    """Serve until killed."""
    await serve(address, queue, folder, risky, *SAGAS)
