"""Operations for scripts (``tests.flows.script``): each records its calls, and its keys apart from them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from activities import (
    Context,
    Failure,
    Operation,
    Outcome,
    OutcomeUnknown,
    Retry,
    Skip,
    Unrecoverable,
    operation,
)
from tests.sample import FAST, a, b, c, local_a, local_b
from tests.support import World

BIG = 16015286601757825753


def keys(world: World, name: str) -> list[str]:
    """Give the idempotency keys that an operation was called with, in order."""
    return [key for op, key in World(world.folder / "keys").calls if op == name]


def _called(ctx: Context[World], name: str, *values: Any) -> int:
    """Record a call; give how many there were of this operation."""
    World(ctx.deps.folder / "keys").record(name, ctx.idempotency_key)
    ctx.deps.record(name, *values)
    return sum(1 for call in ctx.deps.calls if call[0] == name)


def _count(version: str, text: str) -> Operation[Any, float]:
    """Make an operation that gives how often it was called; switches make its n-th call fail, or give NaN."""

    @operation(id="count", version=version, description=text)
    async def count(ctx: Context[World], input: Any) -> float:
        calls = _called(ctx, "count", input)
        if ctx.deps.is_on(f"fail-count-{calls}"):
            raise RuntimeError(f"call {calls} is down")
        return float("nan") if ctx.deps.is_on(f"nan-count-{calls}") else calls

    @count.undo(retry=FAST)
    async def undo(ctx: Context[World], input: Any, outcome: Outcome[float]) -> None:
        _called(ctx, "undo count", input, str(outcome.status), outcome.output)

    return count


class Pair(BaseModel):
    a: int
    b: str


@operation(id="pair", version="1.0.0")
async def pair(ctx: Context[World], input: Pair) -> int:
    return _called(ctx, "pair", input.a, input.b)


@operation(id="slow", version="1.0.0")
async def slow(ctx: Context[World], input: int) -> int:
    """Take 20 ms."""
    calls = _called(ctx, "slow", input)
    await asyncio.sleep(0.02)
    return calls


@operation(id="tries", version="1.0.0")
async def tries(ctx: Context[World], input: list[str]) -> float:
    """Do in each attempt what the input says, such as ``ok``, ``nan``, ``fatal``; else raise the text."""
    _called(ctx, "tries", ctx.attempt)
    return _act(ctx, input[min(ctx.attempt, len(input)) - 1])


@tries.undo(retry=FAST)
async def undo_tries(ctx: Context[World], input: list[str], outcome: Outcome[float]) -> None:
    _called(ctx, "undo tries", str(outcome.status))


def _act(ctx: Context[World], word: str) -> float:
    if word in _RAISED:
        raise _RAISED[word]
    if word == "caused":
        raise RuntimeError("outer") from Unrecoverable("fatal")
    if word not in ("ok", "nan"):
        raise RuntimeError(word)
    return float("nan") if word == "nan" else ctx.attempt


_RAISED: dict[str, Exception] = {
    "skip": Skip("nothing to do"),
    "fatal": Unrecoverable("fatal"),
    "unknown": OutcomeUnknown("who knows"),
}


@operation(id="grow", version="1.0.0", retry=Retry(5, initial=FAST.initial))
async def grow(ctx: Context[World], input: int) -> int:
    """Succeed once the input has grown to 10000."""
    _called(ctx, "grow", input)
    if ctx.deps.is_on("fail-grow") or input < 10_000:
        raise RuntimeError(f"{input} is too small")
    return input


@grow.retry_input
def ten_times(attempt: int, error: Failure, input: int, deps: World) -> int:
    deps.record("grow hook", attempt, error.message)
    return input * 10


class Gas(BaseModel):
    gas: int = 0


@operation(id="gas", version="1.0.0", retry=Retry(5, initial=FAST.initial))
async def gas(ctx: Context[World], input: Gas) -> int:
    """Need 1,100,000 gas; fail for another reason first where the switch says so."""
    if _called(ctx, "gas", input.gas) == 2 and ctx.deps.is_on("fail-gas"):
        raise RuntimeError("nonce too low")
    if input.gas < 1_100_000:
        raise RuntimeError("out of gas")
    return input.gas


@gas.retry_input
def more_gas(attempt: int, error: Failure, input: Gas, deps: World) -> Any:
    if deps.is_on("wrong-gas"):
        return "str"
    if "out of gas" not in error.message:
        return input
    return Gas(gas=input.gas + 100_000 if input.gas else 1_000_000)


@operation(id="hooked", version="1.0.0", retry=Retry(5, initial=FAST.initial))
async def hooked(ctx: Context[World], input: list[str]) -> float:
    """Do what ``tries`` does, with a hook."""
    _called(ctx, "hooked", ctx.attempt)
    return _act(ctx, input[min(ctx.attempt, len(input)) - 1])


@hooked.retry_input
def same(attempt: int, error: Failure, input: list[str], deps: World) -> list[str]:
    deps.record("hook", attempt, error.message)
    return input


class Values(BaseModel):
    number: int
    at: datetime


@operation(id="values", version="1.0.0")
async def values(ctx: Context[World], input: int) -> Values:
    """Give a number of 64 bits and an aware time."""
    _called(ctx, "values", input)
    return Values(number=BIG, at=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC))


@operation(id="shape", version="1.0.0")
async def shape_before(ctx: Context[World], input: int) -> int:
    """Give a number, as it was once."""
    _called(ctx, "shape", input)
    return input


@operation(id="shape", version="1.0.0")
async def shape_after(ctx: Context[World], input: int) -> Pair:
    """Give a model, under the same version."""
    _called(ctx, "shape", input)
    if ctx.deps.is_on("fail-shape"):
        raise RuntimeError("shape down")
    return Pair(a=input, b="x")


@shape_after.undo
async def undo_shape(ctx: Context[World], input: int, outcome: Outcome[Pair]) -> None:
    _called(ctx, "undo shape", str(outcome.status))


count, count_edited = _count("1.0.0", "Count calls."), _count("1.0.0", "Count calls, well.")
count_patch, count_build = _count("1.0.1", "Count calls."), _count("1.0.0+abc", "Count calls.")
SERVED: list[Operation[Any, Any]] = [
    a,
    b,
    c,
    local_a,
    local_b,
    count,
    count_patch,
    count_build,
    pair,
    slow,
    tries,
    grow,
    gas,
    hooked,
    values,
]
NAMED: dict[str, Operation[Any, Any]] = {
    **{op.definition.id: op for op in SERVED},
    "count": count,
    "count-edited": count_edited,
    "count-patch": count_patch,
    "count-build": count_build,
    "shape-before": shape_before,
    "shape-after": shape_after,
}
