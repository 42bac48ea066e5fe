"""A worker that tests kill; forked by :mod:`tests.spawning`."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import Worker

from activities import Context, Outcome, Retry, operation
from flows import CounterstepPlugin, Sequence

with workflow.unsafe.imports_passed_through():
    from activities import Registry
    from tests.support import World


@operation(id="effect", version="1.0.0")
async def effect(ctx: Context[World], input: int) -> int:
    """Have an effect that is there once for each idempotency key."""
    ctx.deps.record(ctx.step, ctx.attempt, ctx.idempotency_key)
    (ctx.deps.folder / f"effect-{ctx.step}-{ctx.idempotency_key}").touch()
    if ctx.deps.is_on(f"hold-{ctx.step}"):
        await ctx.deps.wait(f"go-{ctx.step}")
    return input + 1


@effect.undo
async def take_back(ctx: Context[World], input: int, outcome: Outcome[int]) -> None:
    """Take the effect of the key back."""
    ctx.deps.record(f"{ctx.step}.undo", ctx.attempt, ctx.idempotency_key)
    (ctx.deps.folder / f"effect-{ctx.step}-{ctx.idempotency_key}").unlink(missing_ok=True)
    if ctx.deps.is_on(f"hold-{ctx.step}.undo"):
        await ctx.deps.wait(f"go-{ctx.step}.undo")


@operation(id="local-effect", version="1.0.0", placement="local")
async def local_effect(ctx: Context[World], input: int) -> int:
    """Have an effect from a local step."""
    ctx.deps.record(ctx.step, ctx.attempt, ctx.idempotency_key)
    (ctx.deps.folder / f"effect-{ctx.step}-{ctx.idempotency_key}").touch()
    if ctx.deps.is_on(f"hold-{ctx.step}"):
        await ctx.deps.wait(f"go-{ctx.step}")
    return input + 1


@operation(id="flaky", version="1.0.0", retry=Retry(max_attempts=4, initial=timedelta(milliseconds=10)))
async def flaky(ctx: Context[World], input: int) -> int:
    """Raise three times."""
    ctx.deps.record(ctx.step, ctx.attempt, ctx.idempotency_key)
    if ctx.attempt < 4:
        raise RuntimeError("not yet")
    return input + 1


@operation(id="down", version="1.0.0")
async def down(ctx: Context[World], input: int) -> int:
    """Fail."""
    raise RuntimeError("down")


class Crash(Sequence[int, int], id="crash", version="1.0.0"):
    """Have four effects, with a wait in the middle."""

    async def run(self, input: int) -> int:
        one = await self.execute(effect, input, step="one")
        local = await self.execute(local_effect, one.output, step="local")
        await self.wait(timedelta(milliseconds=300))
        two = await self.execute(effect, local.output, step="two")
        return (await self.execute(effect, two.output, step="three")).output


class CrashUnwinding(Sequence[int, int], id="crash-unwinding", version="1.0.0"):
    """Have two effects, then fail."""

    async def run(self, input: int) -> int:
        one = await self.execute(effect, input, step="one")
        await self.execute(effect, one.output, step="two")
        return (await self.execute(down, 1)).output


class Keys(Sequence[int, int], id="keys", version="1.0.0"):
    """Retry, then have an effect."""

    async def run(self, input: int) -> int:
        tried = await self.execute(flaky, input)
        return (await self.execute(effect, tried.output, step="one")).output


DEFINITIONS = (effect, local_effect, flaky, down, Crash, CrashUnwinding, Keys)


async def main(address: str, task_queue: str, world: str) -> None:
    """Serve until killed."""
    registry, two_seconds = Registry(*DEFINITIONS), timedelta(seconds=2)
    plugin = CounterstepPlugin(registry, deps=World(Path(world)), heartbeat_timeout=two_seconds)
    client = await Client.connect(address, plugins=[plugin])
    soon = timedelta(milliseconds=200)
    async with Worker(client, task_queue=task_queue, sticky_queue_schedule_to_start_timeout=soon):
        await asyncio.Event().wait()
