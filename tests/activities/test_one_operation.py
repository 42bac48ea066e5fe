"""One operation in a flow on the dev server: what only Temporal itself can show."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, Field
from temporalio import workflow

from activities import Context, Operation, Outcome, OutcomeUnknown, Retry, Unrecoverable, operation
from flows import Sequence, start
from tests.conftest import Serve
from tests.support import World, causes, failure_of, new_id

with workflow.unsafe.imports_passed_through():
    from tests.sample import FAST


def with_undo(op: Operation[Any, Any]) -> Operation[Any, Any]:
    @op.undo
    async def undo(ctx: Context[World], input: Any, outcome: Outcome[Any]) -> None:
        ctx.deps.record("undo", str(outcome.status), outcome.saved)

    return op


async def _raise(error: BaseException) -> None:
    raise error


@operation(id="bad-text", version="1.0.0", retry=FAST)
async def bad_text(ctx: Context[World], input: int) -> int:
    ctx.deps.record("call")
    raise OSError("no file \udcff")


@operation(id="group", version="1.0.0", retry=Retry(2))
async def group(ctx: Context[World], input: int) -> int:
    ctx.deps.record("call")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_raise(OutcomeUnknown("maybe") if input == 1 else Unrecoverable("fatal")))
    return 1


@operation(id="cyclic", version="1.0.0", retry=FAST)
async def cyclic(ctx: Context[World], input: int) -> Any:
    ctx.deps.record("call")
    ring: list[Any] = []
    ring.append(ring)
    return ring


class Spec(BaseModel):
    """An input with an alias, whose validator breaks on one value."""

    cidr_block: str = Field(alias="cidrBlock")
    big: int


@operation(id="typed", version="1.0.0")
async def typed(ctx: Context[World], input: Spec) -> Spec:
    ctx.deps.record(input.cidr_block, input.big)
    return input


@operation(id="saves", version="1.0.0", retry=FAST)
async def saves(ctx: Context[World], input: int) -> str:
    ctx.deps.record("begun")
    await ctx.deps.wait("go")
    await ctx.save({"n": input})
    if input == 2:
        raise RuntimeError("down")
    return str(ctx.saved)


for declared in (bad_text, group, cyclic, saves):
    with_undo(declared)


class One(Sequence[tuple[str, int], Any], id="one", version="1.0.0"):
    """Execute one operation by its id."""

    async def run(self, input: tuple[str, int]) -> Any:
        found = {str(op.definition.id): op for op in (bad_text, group, cyclic, saves)}[input[0]]
        return (await self.execute(found, input[1])).output


class Typed(Sequence[Spec, Spec], id="typed-flow", version="1.0.0"):
    """Execute the typed operation."""

    async def run(self, input: Spec) -> Spec:
        return (await self.execute(typed, input)).output


SERVED = (bad_text, group, cyclic, saves, typed, One, Typed)


async def fails(serve: Serve, task_queue: str, *input: Any) -> list[tuple[str, str]]:
    async with serve(*SERVED) as client:
        handle = await start(client, One, input, id=new_id(), task_queue=task_queue)
        return causes(await failure_of(handle))


async def test_a_message_that_utf8_lacks(serve: Serve, world: World, task_queue: str) -> None:
    """It is recorded with ``?``; three raises are a failure, and nothing is undone."""
    found = await fails(serve, task_queue, "bad-text", 1)
    assert found[-1] == ("OSError", "no file ?")
    assert world.calls == ["call"] * 3


async def test_an_unknown_outcome_inside_a_group(serve: Serve, world: World, task_queue: str) -> None:
    """A ``TaskGroup`` doesn't hide it: retried, unknown, undone; its member is the root cause."""
    found = await fails(serve, task_queue, "group", 1)
    assert found[-1] == ("OutcomeUnknown", "maybe")
    assert (
        found[1][1]
        == "step group (group@1.0.0) has an unknown outcome after 2 attempts: OutcomeUnknown: maybe"
    )
    assert world.calls == ["call", "call", ("undo", "unknown", None)]


async def test_unrecoverable_inside_a_group(serve: Serve, world: World, task_queue: str) -> None:
    """It stops at once; a raise is a failure, so nothing is undone."""
    found = await fails(serve, task_queue, "group", 2)
    assert found[-1] == ("Unrecoverable", "fatal")
    assert world.calls == ["call"]


async def test_an_output_that_contains_itself(serve: Serve, world: World, task_queue: str) -> None:
    """One call, its effect undone, nothing repeats."""
    found = await fails(serve, task_queue, "cyclic", 1)
    assert found[-1] == (
        "NotSerializable",
        "cyclic (cyclic@1.0.0): output doesn't survive JSON: Circular reference detected (id repeated)",
    )
    assert world.calls == ["call", ("undo", "unknown", None)]


async def test_aliases_and_big_integers(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """By alias on the wire, all digits kept, typed on both sides."""
    sent = Spec(cidrBlock="10.0.0.0/8", big=16015286601757825753)
    async with serve(*SERVED, cache=cache) as client:
        handle = await start(client, Typed, sent, id=new_id(), task_queue=task_queue)
        assert await handle.result() == sent
    assert world.calls == [("10.0.0.0/8", 16015286601757825753)]


async def test_saving_while_paused(
    serve: Serve, world: World, task_queue: str, temporal: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """An attempt that an operator paused goes on to its end, also over ``save``."""
    async with serve(*SERVED) as client:
        handle = await start(client, One, ("saves", 1), id=new_id(), task_queue=task_queue)
        await world.until("begun")
        await asyncio.to_thread(temporal, "activity", "pause", "-w", handle.id, "-a", "saves")
        world.switch("go")
        assert await asyncio.wait_for(handle.result(), 30) == "{'n': 1}"
    assert world.calls == ["begun"]


async def test_raising_while_paused(
    serve: Serve, world: World, task_queue: str, temporal: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """A paused attempt's raise leaves its mark: all three raised, so the step is failed, not unknown."""
    async with serve(*SERVED) as client:
        handle = await start(client, One, ("saves", 2), id=new_id(), task_queue=task_queue)
        await world.until("begun")
        await asyncio.to_thread(temporal, "activity", "pause", "-w", handle.id, "-a", "saves")
        world.switch("go")
        await asyncio.sleep(1)
        await asyncio.to_thread(temporal, "activity", "unpause", "-w", handle.id, "-a", "saves")
        found = causes(await failure_of(handle))
    assert found[1][1] == "step saves (saves@1.0.0) failed after 3 attempts: RuntimeError: down"
    assert world.calls == ["begun"] * 3
