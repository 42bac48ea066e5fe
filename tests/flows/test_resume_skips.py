"""Going on from a run in which an operator skipped something: that answers too."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError

from counterstep.reports import fetch_report
from flows import Policy, Sequence, start
from tests.conftest import Serve
from tests.support import World, causes, eventually, failure_of, new_id

with workflow.unsafe.imports_passed_through():
    from tests.sagas.operations import Given, Made, work


class Undoing(Sequence[Given, Made], id="undoing", version="1.0.0"):
    """Two steps, undone on failure."""

    async def run(self, input: Given) -> Made:
        await self.execute(work, input, step="k1")
        return (await self.execute(work, Given(number=1), step="k2")).output


class Keeping(Sequence[Given, Made], id="keeping", version="1.0.0", policy=Policy(on_failure="keep")):
    """The same, kept on failure."""

    async def run(self, input: Given) -> Made:
        return await Undoing._body(self, input)  # type: ignore[no-any-return]


class Parent(
    Sequence[str, list[int]], id="parent", version="1.0.0", policy=Policy(on_failure="hold", then="keep")
):
    """A child, a step, a step that isn't held."""

    async def run(self, input: str) -> list[int]:
        child = Keeping if input == "keeping" else Undoing
        one = (await self.execute(child, Given(), child=True, step="kid")).output.id
        two = (await self.execute(work, Given(number=2), step="two")).output.id
        last = await self.execute(work, Given(number=one + two), step="last", hold=False)
        return [one, two, last.output.id]


FLOWS = (work, Undoing, Keeping, Parent)
AGAIN = ("k1", "k2", "two")


async def skipped(handle: WorkflowHandle[Any, Any], step: str, id: int) -> None:
    """Skip a step, once it is held, with an output; a worker without a cache may hear of it before that is so again."""
    for _ in range(1000):
        if (await handle.query("status"))["steps"].get(step) == "held":
            made = {"id": id, "name": step}
            with contextlib.suppress(WorkflowUpdateFailedError):
                await handle.execute_update("skip", {"step": step, "output": made, "by": "ann"})
                return
        await asyncio.sleep(0.02)
    raise AssertionError(await handle.query("status"))


async def earlier(client: Any, world: World, task_queue: str, child: str) -> str:
    """Run it once: the child and the step are skipped, then all of it is kept.

    By a worker with a cache: without one, the SDK may give up a run whose update asks something of a local activity ("LA
    marker handling in invalid state"), and what is tried here is the run that goes on from this one.
    """
    for switch in ("fail-k2", "fail-last"):
        world.switch(switch)
    handle = await start(client, Parent, child, id=new_id(), task_queue=task_queue)
    await skipped(handle, "kid", 5)
    await skipped(handle, "two", 7)
    assert causes(await failure_of(handle))[0][0] == "Kept"
    return handle.id


@pytest.mark.parametrize("child", ["undoing", "keeping"])
async def test_what_was_skipped_answers(
    serve: Serve, world: World, task_queue: str, child: str, cache: int
) -> None:
    """Section 4: a step and a child that an operator skipped don't run again, whatever the child did by itself."""
    world.switch("fail-two")
    async with serve(*FLOWS) as client:
        memo = {"resume_from": await earlier(client, world, task_queue, child)}
    async with serve(*FLOWS, cache=cache) as client:
        before = len(world.calls)
        world.switch("fail-last", on=False)
        handle = await start(client, Parent, child, id=new_id(), task_queue=task_queue, memo=memo)
        assert await asyncio.wait_for(handle.result(), 60) == [5, 7, 12]
        status: Any = await handle.query("status")
        report = await fetch_report(client, handle.id)
    assert world.calls[before:] == ["last"]
    assert status["steps"] == {"kid": "skipped", "two": "skipped", "last": "done"}
    told = {r.step: (str(r.outcome), r.skipped) for r in report.children}
    assert told["two"] == told["kid"] == ("skipped", "skipped by ann")


@pytest.mark.parametrize(("switch", "told"), [("hang-two", [("undo two", "unknown")]), ("fail-two", [])])
async def test_what_was_skipped_is_undone_as_it_ended(
    serve: Serve, world: World, task_queue: str, switch: str, told: list[Any], cache: int
) -> None:
    """Section 5: for its undo a skipped step is what it was; what a skipped child left is undone too."""
    world.switch(switch)
    async with serve(*FLOWS) as client:
        memo = {"resume_from": await earlier(client, world, task_queue, "keeping")}
    async with serve(*FLOWS, cache=cache) as client:
        for name in ("fail-last", "fail-k2", switch):
            world.switch(name, on=False)
        world.switch("hold-last")
        before = len(world.calls)
        handle = await start(client, Parent, "keeping", id=new_id(), task_queue=task_queue, memo=memo)
        await eventually(lambda: "last" in world.calls[before:])
        await handle.execute_update("stop")
        await failure_of(handle)
    undone = [call for call in world.calls[before:] if isinstance(call, tuple) and call[0] != "undo last"]
    assert undone == [*told, ("undo kid/k1", "done")]
    assert [call for call in world.calls[before:] if call in AGAIN] == []
