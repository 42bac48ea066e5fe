"""Operations for sagas: each records its calls, waits for gates and fails on demand."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic import BaseModel

from activities import Context, Operation, Outcome, operation
from tests.sample import FAST
from tests.support import World


class Given(BaseModel):
    """What a step gets: a number, and what others gave."""

    number: int = 0
    others: list[int] = []


class Made(BaseModel):
    """What a step gives."""

    id: int
    name: str


async def _switches(world: World, step: str) -> None:
    """Wait, fail or hang, as the test wants."""
    if world.is_on(f"hold-{step}"):
        await world.wait(f"go-{step}")
    if world.is_on(f"fail-{step}"):
        raise RuntimeError(f"{step} down")
    if world.is_on(f"hang-{step}"):
        await world.wait("never", 60)


def make(name: str, timeout: timedelta = timedelta(seconds=2), **options: Any) -> Operation[Given, Made]:
    """Make an operation whose calls, gates and failures carry its name; ``hang-NAME`` runs into the timeout."""

    @operation(id=name, version="1.0.0", timeout=timeout, **options)
    async def op(ctx: Context[World], input: Given) -> Made:
        world = ctx.deps
        world.record(ctx.step)
        await _switches(world, ctx.step)
        return Made(id=input.number + sum(input.others), name=ctx.step)

    @op.undo(retry=FAST)
    async def undo(ctx: Context[World], input: Given, outcome: Outcome[Made]) -> None:
        world = ctx.deps
        world.record(f"undo {ctx.step}", str(outcome.status))
        if world.is_on(f"hold-undo-{ctx.step}"):
            await world.wait(f"go-undo-{ctx.step}")
        if world.is_on(f"fail-undo-{ctx.step}"):
            raise RuntimeError(f"undo of {ctx.step} down")
        world.record(f"undone {ctx.step}")

    return op


work = make("work")
patient = make("patient", timeout=timedelta(minutes=1))


@operation(id="check", version="1.0.0")
async def check(ctx: Context[World], input: Given) -> Made:
    """Look at something; there is nothing to undo."""
    ctx.deps.record(ctx.step)
    if ctx.deps.is_on(f"fail-{ctx.step}"):
        raise RuntimeError(f"{ctx.step} down")
    return Made(id=input.number, name=ctx.step)
