"""What a step shows once nobody waits for an operator any more."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow

from flows import Policy, Sequence, start
from tests.conftest import Serve
from tests.support import World, failure_of, new_id

with workflow.unsafe.imports_passed_through():
    from tests.flows.operating import Run, operate
    from tests.sagas.operations import Given, work

__all__ = ["operate"]


class Kid(Sequence[Given, None], id="kid", version="1.0.0"):
    """One step."""

    async def run(self, input: Given) -> None:
        await self.execute(work, input, step="only")


class Outer(Sequence[Given, None], id="outer", version="1.0.0", policy=Policy(on_failure="hold")):
    """A step, then a flow inside that has a child."""

    async def run(self, input: Given) -> None:
        await self.execute(work, input, step="first")
        await self.execute(Inner, input)


class Inner(Sequence[Given, None], id="inner", version="1.0.0", policy=Policy(on_failure="hold")):
    """A child."""

    async def run(self, input: Given) -> None:
        await self.execute(Kid, input, child=True)


class Short(
    Sequence[Given, None],
    id="short",
    version="1.0.0",
    policy=Policy(on_failure="hold", hold_timeout=timedelta(milliseconds=10)),
):
    """A step that nobody decides in time."""

    async def run(self, input: Given) -> None:
        await self.execute(work, input, step="one")


@pytest.mark.parametrize("how", ["unwind", "cancel", "stop"])
async def test_what_was_held_shows_how_it_had_ended(
    serve: Serve, operate: Run, world: World, how: str, cache: int
) -> None:
    """Section 7: a run that is over holds nothing, whoever ended the hold."""
    world.switch("fail-only")
    async with serve(work, Kid, Outer, cache=cache) as client:
        operator = await operate(client, Outer, Given())
        await operator.shows("held", "inner/kid")
        if how == "cancel":
            await operator.handle.cancel()
        else:
            await operator.handle.execute_update(how, {"step": "inner/kid"} if how == "unwind" else {})
        await failure_of(operator.handle)
        status: Any = await operator.status()
    ended = "cancelled" if how == "cancel" else "rolled_back"
    assert status == {
        "flow": "outer@1.0.0",
        "state": ended,
        "steps": {"first": "undone", "inner/kid": "failed"},
    }


async def test_a_hold_whose_time_is_over(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """Nobody came: the step shows that it failed."""
    world.switch("fail-one")
    async with serve(work, Short, cache=cache) as client:
        handle = await start(client, Short, Given(), id=new_id(), task_queue=task_queue)
        await failure_of(handle)
        status: Any = await handle.query("status")
    assert status["steps"] == {"one": "failed"}
