"""Small operations that record what they do; many tests compose them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from activities import Context, EmptyInput, Operation, Outcome, Retry, operation
from tests.support import World

FAST = Retry(max_attempts=3, initial=timedelta(milliseconds=10))


def _double(name: str, **options: Any) -> Operation[int, int]:
    """Make an operation with an undo: it doubles its input, fails while the switch ``fail-NAME`` is on."""

    @operation(id=name, version="1.0.0", **options)
    async def double(ctx: Context[World], input: int) -> int:
        ctx.deps.record(name, input)
        if ctx.deps.is_on(f"hold-{name}"):
            await ctx.deps.wait(f"go-{name}")
        if ctx.deps.is_on(f"fail-{name}"):
            raise RuntimeError(f"{name} down")
        return input * 2

    @double.undo(retry=FAST)
    async def undo(ctx: Context[World], input: int, outcome: Outcome[int]) -> None:
        ctx.deps.record(f"undo {name}", input, str(outcome.status), outcome.output)
        if ctx.deps.is_on(f"hold-undo-{name}"):
            await ctx.deps.wait(f"go-undo-{name}")
        if ctx.deps.is_on(f"fail-undo-{name}"):
            raise RuntimeError(f"undo of {name} down")

    return double


a, b, c = _double("a"), _double("b"), _double("c")
local_a, local_b = _double("local-a", placement="local"), _double("local-b", placement="local")


@operation(id="count", version="1.0.0")
async def count(ctx: Context[World], input: int) -> int:
    """Give how often it was called."""
    ctx.deps.record("call of count")
    return ctx.deps.calls.count("call of count")


@operation(id="nothing", version="1.0.0")
async def nothing(ctx: Context[World], input: EmptyInput) -> None:
    """Do nothing, on record."""
    ctx.deps.record("nothing")
