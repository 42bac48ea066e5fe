"""What is left of inner flows and of earlier runs when nobody decides, or the run ends at the gate."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHandle

from activities import Context, EmptyInput, Outcome, OutcomeUnknown, operation
from flows import Policy, Sequence, SequenceFailed, start
from tests.conftest import Serve
from tests.support import World, causes, failure_of, new_id

with workflow.unsafe.imports_passed_through():
    from tests.sagas.operations import Given, work

AT_ONCE = timedelta(milliseconds=10)


class Held(
    Sequence[Given, None], id="held", version="1.0.0", policy=Policy(on_failure="hold", hold_timeout=AT_ONCE)
):
    """Two steps; a failure is held, and unwound when nobody comes."""

    async def run(self, input: Given) -> None:
        await self.execute(work, input, step="one")
        await self.execute(work, Given(number=2), step="two")


class HeldThenKept(
    Sequence[Given, None],
    id="held-then-kept",
    version="1.0.0",
    policy=Policy(on_failure="hold", hold_timeout=AT_ONCE, then="keep"),
):
    """The same; a failure leaves everything when nobody comes."""

    async def run(self, input: Given) -> None:
        await self.execute(work, input, step="one")
        await self.execute(work, Given(number=2), step="two")


class Catches(Sequence[Given, str], id="catches", version="1.0.0"):
    """Go on after a held flow failed."""

    async def run(self, input: Given) -> str:
        try:
            await self.execute(Held, input)
        except SequenceFailed:
            return "went on"
        return "went well"


class Passes(Sequence[Given, None], id="passes", version="1.0.0"):
    """Let the failure of a flow that keeps pass."""

    async def run(self, input: Given) -> None:
        await self.execute(work, Given(number=3), step="first")
        await self.execute(HeldThenKept, input)


def undone(world: World) -> list[str]:
    return [call.removeprefix("undone ") for call in world.calls if str(call).startswith("undone ")]


async def test_an_inner_hold_that_nobody_decides_unwinds(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """Section 5: its time is over, `then` is unwind: the inner flow is undone before its parent goes on."""
    world.switch("fail-held/two")
    async with serve(work, Held, Catches, cache=cache) as client:
        handle = await start(client, Catches, Given(), id=new_id(), task_queue=task_queue)
        assert await asyncio.wait_for(handle.result(), 60) == "went on"
    assert undone(world) == ["held/one"]


async def test_what_an_inner_hold_keeps_is_its_parents(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """Section 4: an inner `then="keep"` decides for the inner flow alone; the parent unwinds by its own policy."""
    world.switch("fail-held-then-kept/two")
    async with serve(work, HeldThenKept, Passes, cache=cache) as client:
        handle = await start(client, Passes, Given(), id=new_id(), task_queue=task_queue)
        assert causes(await failure_of(handle))[0][0] == "RolledBack"
    assert undone(world) == ["held-then-kept/one", "first"]


@operation(id="unsure", version="1.0.0")
async def unsure(ctx: Context[World], input: EmptyInput) -> None:
    """Have an effect, perhaps."""
    ctx.deps.record("unsure")
    raise OutcomeUnknown("who knows")


@unsure.undo
async def undo_unsure(ctx: Context[World], input: EmptyInput, outcome: Outcome[None]) -> None:
    ctx.deps.record("undo unsure", str(outcome.status))


class Gated(Sequence[EmptyInput, None], id="gated", version="1.0.0", policy=Policy(on_failure="keep")):
    """An approval, then a step whose outcome is unknown."""

    async def run(self, input: EmptyInput) -> None:
        await self.approval("go")
        await self.execute(unsure, input)


async def _waits(handle: WorkflowHandle[Any, Any]) -> None:
    """Wait until a run waits for its approval."""
    for _ in range(600):
        if "waiting for approval" in (await handle.query("status"))["steps"].values():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it never waited")


@pytest.mark.parametrize("paused", [True, False])
async def test_a_taken_over_effect_is_undone_though_its_step_never_began(
    serve: Serve, world: World, task_queue: str, cache: int, paused: bool
) -> None:
    """Section 4: resumed, and cancelled at the gate or before it: what the earlier run may have left is undone."""
    async with serve(unsure, Gated, cache=cache) as client:
        earlier = await start(client, Gated, EmptyInput(), id=new_id(), task_queue=task_queue)
        await _waits(earlier)
        await earlier.execute_update("approve", {"name": "go"})
        assert causes(await failure_of(earlier))[0][0] == "Kept"
        memo = {"resume_from": earlier.id}
        handle = await start(client, Gated, EmptyInput(), id=new_id(), task_queue=task_queue, memo=memo)
        await _waits(handle)
        if paused:
            await handle.execute_update("pause")
            await handle.execute_update("approve", {"name": "go"})
        await handle.cancel()
        assert causes(await failure_of(handle))[0][0] == "CancelledError"
    assert world.calls == ["unsure", ("undo unsure", "unknown")]
