"""The pivot of a saga that runs inline is the run's: before it the saga unwinds, after it nothing does."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import Client, WorkflowHandle

from activities import EmptyInput
from flows import Dag, Policy, Sequence, SequenceFailed, Step, saga, start
from tests.conftest import Serve
from tests.support import World, causes, events_of, failure_of, new_id

with workflow.unsafe.imports_passed_through():
    from tests.sagas.operations import Given, Made, make, work
    from tests.sample import FAST
    from tests.undoing import undo

    retried = make("retried", retry=FAST)

AT_ONCE = Policy(hold_timeout=timedelta(milliseconds=10))


def _turn(dag: Dag) -> Step[Made]:
    dag.append("a", work, {})
    dag.append("p", work, {}, pivot=True)
    return dag.append("c", retried, {})


@saga(id="turn", version="1.0.0", policy=AT_ONCE)
def turn(dag: Dag, params: EmptyInput) -> Step[Made]:
    """A step, the pivot, a step; a hold is over at once."""
    return _turn(dag)


@saga(id="slow-turn", version="1.0.0")
def slow_turn(dag: Dag, params: EmptyInput) -> Step[Made]:
    """The same; a hold waits for days."""
    return _turn(dag)


class Turning(Sequence[EmptyInput, int], id="turning", version="1.0.0", policy=AT_ONCE):
    """A step, the saga, a step; all of it unwinds when it fails before the pivot."""

    async def run(self, input: EmptyInput) -> int:
        await self.execute(work, Given(), step="first")
        await self.execute(turn, input)
        return (await self.execute(work, Given(number=9), step="last")).output.id


class ChildTurning(
    Sequence[EmptyInput, None], id="child-turning", version="1.0.0", policy=Policy(on_failure="keep")
):
    """The same with the saga as a child."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(work, Given(), step="first")
        await self.execute(turn, input, child=True)
        await self.execute(work, Given(number=9), step="last", hold=False)


class Waiting(Sequence[EmptyInput, None], id="waiting", version="1.0.0"):
    """The saga whose holds wait."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(work, Given(), step="first")
        await self.execute(slow_turn, input, step="turn")


class Unheld(Sequence[EmptyInput, str], id="unheld", version="1.0.0"):
    """The saga whose holds wait, without a hold."""

    async def run(self, input: EmptyInput) -> str:
        try:
            await self.execute(slow_turn, input, step="turn", hold=False)
        except SequenceFailed as failed:
            return failed.message
        return "went well"


class Beside(Sequence[EmptyInput, None], id="beside-turns", version="1.0.0", policy=AT_ONCE):
    """Two of them at once."""

    async def run(self, input: EmptyInput) -> None:
        await self.gather(
            self.execute(turn, input, step="x", key="x"), self.execute(turn, input, step="y", key="y")
        )


FLOWS = (work, retried, turn, slow_turn, Turning, ChildTurning, Waiting, Unheld, Beside)


async def began(client: Client, flow: Any, queue: str, **options: Any) -> WorkflowHandle[Any, Any]:
    return await start(client, flow, EmptyInput(), id=new_id(), task_queue=queue, **options)


def undone(world: World) -> list[str]:
    return [call.removeprefix("undone ") for call in world.calls if str(call).startswith("undone ")]


def forward(world: World) -> list[str]:
    return [call for call in world.calls if isinstance(call, str) and not call.startswith("undone ")]


async def test_before_its_pivot_it_unwinds(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """The step before the pivot fails: what there is is undone, the sequence's step too."""
    world.switch("fail-turn/a")
    async with serve(*FLOWS, cache=cache) as client:
        found = causes(await failure_of(await began(client, Turning, task_queue)))
    assert [kind for kind, _ in found][:2] == ["RolledBack", "SequenceFailed"]
    assert (forward(world), undone(world)) == (["first", "turn/a"], ["first"])


@pytest.mark.parametrize(
    ("failing", "open_"), [("turn/p", "turn/p, turn/c"), ("turn/c", "turn/c"), ("last", "last")]
)
async def test_after_its_pivot_everything_is_kept(
    serve: Serve, world: World, task_queue: str, cache: int, failing: str, open_: str
) -> None:
    """The pivot, a step after it, or a step of the sequence fails: held, then all kept, and what is open named."""
    world.switch(f"fail-{failing}")
    async with serve(*FLOWS, cache=cache) as client:
        kind, message = causes(await failure_of(await began(client, Turning, task_queue)))[0]
    assert (kind, undone(world)) == ("Kept", [])
    assert message.endswith(f"; open steps: {open_}")


async def test_an_operator_has_it_go_on(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """A step after the pivot is held, though the policy says unwind; unwinding is refused, retry ends it well."""
    world.switch("fail-turn/c")
    async with serve(*FLOWS, cache=cache) as client:
        handle = await began(client, Waiting, task_queue)
        while (await handle.query("status"))["steps"].get("turn/c") != "held":
            await asyncio.sleep(0.05)
        with pytest.raises(Exception, match="Workflow update failed"):
            await handle.execute_update("unwind", {"step": "turn/c"})
        world.switch("fail-turn/c", on=False)
        await handle.execute_update("retry", {"step": "turn/c"})
        await asyncio.wait_for(handle.result(), 60)
    assert forward(world) == ["first", "turn/a", "turn/p", *["turn/c"] * 4] and undone(world) == []


async def test_a_cancel_after_its_pivot_keeps_everything(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """Cancelled while the pivot runs: nothing is undone, the open steps are named, also that which never began."""
    world.switch("hold-turn/p")
    async with serve(*FLOWS, cache=cache) as client:
        handle = await began(client, Waiting, task_queue)
        await world.until("turn/p")
        await handle.cancel()
        assert causes(await failure_of(handle))[0][0] == "CancelledError"
        told = (await (await handle.describe()).memo())["counterstep"]
    assert undone(world) == []
    assert told["reason"] == "kept, since the pivot was passed; open: turn/p, turn/c"


async def test_without_a_hold_its_failure_arrives_at_once(
    serve: Serve, world: World, task_queue: str
) -> None:
    """hold=False: no step in it is held, also after the pivot; caught, what it did stays."""
    world.switch("fail-turn/c")
    async with serve(*FLOWS) as client:
        handle = await began(client, Unheld, task_queue)
        message = await asyncio.wait_for(handle.result(), 60)
        events = await events_of(handle)
    assert message.startswith("turn (slow-turn@1.0.0) failed: step turn/c (retried@1.0.0) failed")
    assert "TIMER_STARTED" not in events and undone(world) == []


async def test_one_pivot_holds_for_all(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """Two sagas at once, one past its pivot: the other fails before its own, and nothing is undone either."""
    world.switch("hold-x/a")
    async with serve(*FLOWS, cache=cache) as client:
        handle = await began(client, Beside, task_queue)
        await world.until("y/c")
        world.switch("fail-x/a")
        world.switch("go-x/a")
        found = causes(await failure_of(handle))
    assert (found[0][0], undone(world)) == ("Kept", [])


@pytest.mark.parametrize("when", ["answered", "at once"])
async def test_a_run_that_goes_on_after_a_pivot_has_no_way_back(
    serve: Serve, world: World, task_queue: str, cache: int, when: str
) -> None:
    """resume_from a run past its pivot, then cancelled, also before it comes to the saga: nothing is undone."""
    world.switch("fail-turn/c")
    async with serve(*FLOWS, cache=cache) as client:
        earlier = await began(client, Turning, task_queue)
        assert causes(await failure_of(earlier))[0][0] == "Kept"
        world.switch("fail-turn/c", on=False)
        world.switch("hold-last")
        handle = await began(client, Turning, task_queue, memo={"resume_from": earlier.id})
        if when == "answered":
            await world.until("last")
        await handle.cancel()
        assert causes(await failure_of(handle))[0][0] == "CancelledError"
        assert undone(world) == []
        assert forward(world).count("turn/p") == 1
        await undo(client, task_queue, handle)
    assert undone(world)[-3:] == ["turn/p", "turn/a", "first"]


async def test_a_childs_pivot_is_remembered_too(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """resume_from a run whose child passed its pivot, then cancelled: nothing is undone."""
    world.switch("fail-last")
    async with serve(*FLOWS, cache=cache) as client:
        earlier = await began(client, ChildTurning, task_queue)
        assert causes(await failure_of(earlier))[0][0] == "Kept"
        world.switch("fail-last", on=False)
        world.switch("hold-last")
        before = len(world.calls)
        handle = await began(client, ChildTurning, task_queue, memo={"resume_from": earlier.id})
        while "last" not in world.calls[before:]:
            await asyncio.sleep(0.05)
        await handle.cancel()
        assert causes(await failure_of(handle))[0][0] == "CancelledError"
    assert (world.calls[before:], undone(world)) == (["last"], [])
