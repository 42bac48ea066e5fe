"""Resume points: a leg ends, `run` is entered again as new, and everything it left is there."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.client import WorkflowExecutionStatus

from activities import EmptyInput
from flows import start
from tests.conftest import Serve
from tests.longrunning.operations import (
    Forgiving,
    Held,
    Journey,
    Kinder,
    Legs,
    Many,
    Polite,
    Timely,
    a,
    b,
    keyed,
)
from tests.longrunning.waiting import took
from tests.support import World, causes, events_of, eventually, failure_of, new_id


async def test_code_before_a_point_runs_once(
    skipping: Serve, world: World, task_queue: str, cache: int
) -> None:
    """LRO-7, LRO-35: four legs, the state grows, the code of each runs once, and none goes on after its wait."""
    async with skipping(a, b, Journey, cache=cache) as client:
        handle = await start(client, Journey, 7, id=new_id(), task_queue=task_queue)
        assert await handle.result() == ["start", "x", "y", "z"]
        last = client.get_workflow_handle(handle.id)
        memo = await (await last.describe()).memo()
        assert memo == {
            "counterstep.metadata": {"percent": 100},
            "counterstep.progress": {"resume_point": "z", "leg": 3, "steps_done": 4},
        }
        assert (await last.query("status"))["steps"] == {"b": "done", "a": "done"}
        assert await last.query("metadata") == {
            "flow": "journey@1.0.0",
            "state": "completed",
            "steps_done": 6,
            "steps_total": None,
            "current": [],
            "resume_point": "z",
        }
    assert world.calls == [("a", 0), ("a", 1), ("a", 2), ("b", 7), ("a", 3)]


async def test_a_failure_unwinds_the_steps_of_all_legs(
    skipping: Serve, world: World, task_queue: str, cache: int
) -> None:
    """The last leg fails: the steps of all four are undone, newest first, each once."""
    world.switch("fail-b")
    async with skipping(a, b, Journey, cache=cache) as client:
        handle = await start(client, Journey, 7, id=new_id(), task_queue=task_queue)
        down = "step b (b@1.0.0) failed after 1 attempt: RuntimeError: b down"
        assert causes(await failure_of(handle)) == [
            ("RolledBack", f"journey@1.0.0 rolled back: {down}"),
            ("OperationFailed", down),
            ("RuntimeError", "b down"),
        ]
        steps = (await client.get_workflow_handle(handle.id).query("status"))["steps"]
        assert steps == {"b": "failed", "leg:0/a": "undone", "leg:1/a": "undone", "leg:2/a": "undone"}
    undos = [("undo a", 2, "done", 4), ("undo a", 1, "done", 2), ("undo a", 0, "done", 0)]
    assert world.calls[-4:] == [("b", 7), *undos]


async def test_names_begin_anew_and_keys_differ(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """Each leg names its step alike, under a key of its own; the undo has the key of its step, in whichever leg."""
    world.switch("fail-leg-2")
    async with serve(keyed, Legs, cache=cache) as client:
        handle = await start(client, Legs, 3, id=new_id(), task_queue=task_queue)
        await failure_of(handle)
    names = [step for step, _ in world.calls]
    keys = [key for _, key in world.calls]
    assert names == ["same", "same", "same", "undo same", "undo same"]
    assert len(set(keys[:3])) == 3
    assert keys[3:] == [keys[1], keys[0]]


async def test_undos_that_fail_are_named_with_their_leg(serve: Serve, world: World, task_queue: str) -> None:
    """The undo of the first leg's step fails: `Stuck` names it with its leg, and the other one is undone."""
    for switch in ("fail-leg-2", "fail-undo-leg-0"):
        world.switch(switch)
    async with serve(keyed, Legs) as client:
        handle = await start(client, Legs, 3, id=new_id(), task_queue=task_queue)
        found = causes(await failure_of(handle))
        memo = await (await client.get_workflow_handle(handle.id).describe()).memo()
    assert found[0][0] == "Stuck"
    assert found[0][1].split("\n")[1:] == [
        "not undone: leg:0/same (keyed@1.0.0): RuntimeError: undo of leg-0 is down"
    ]
    assert memo["counterstep"]["not_undone"] == "leg:0/same"


@pytest.mark.parametrize("repaired", [False, True])
async def test_an_undo_that_failed_in_an_earlier_leg_is_tried_again(
    serve: Serve, world: World, task_queue: str, repaired: bool
) -> None:
    """The body undoes its step, in vain, and goes on; a later leg fails: the step is undone, or named."""
    for switch in ("fail-undo-a", "fail-b", "hold-b"):
        world.switch(switch)
    async with serve(a, b, Forgiving) as client:
        handle = await start(client, Forgiving, 1, id=new_id(), task_queue=task_queue)
        await world.until("b", 1)
        world.switch("fail-undo-a", on=not repaired)
        world.switch("go-b")
        end, *left = causes(await failure_of(handle))[0][1].split("\n")
    undo_a = ("undo a", 1, "done", 2)
    assert world.calls == [("a", 1), *[undo_a] * 3, ("b", 1), *[undo_a] * (1 if repaired else 3)]
    assert left == ([] if repaired else ["not undone: leg:0/a (a@1.0.0): RuntimeError: undo of a down"])
    assert end.startswith(f"forgiving@1.0.0 {'rolled back' if repaired else 'is stuck'}: ")


async def test_cancelled_in_a_wait_of_a_later_leg(
    skipping: Serve, world: World, task_queue: str, cache: int
) -> None:
    """LRO-31: cancelled while the third leg waits: the steps of all legs are undone at once; the run is cancelled."""
    async with skipping(keyed, Legs, cache=cache) as client:
        handle = await start(client, Legs, 3, id=new_id(), task_queue=task_queue)
        await eventually(lambda: len(world.calls) == 3)
        last = client.get_workflow_handle(handle.id)
        while (await last.query("status"))["steps"].get("long") != "waiting":
            await asyncio.sleep(0.05)
        await last.cancel()
        await failure_of(handle)
        assert (await last.describe()).status == WorkflowExecutionStatus.CANCELED
    assert [step for step, _ in world.calls] == ["same"] * 3 + ["undo same"] * 3


async def test_stopped_in_a_wait_of_a_later_leg(serve: Serve, world: World, task_queue: str) -> None:
    """Stopped while the second leg waits: everything is undone, and the run fails as stopped."""
    async with serve(keyed, Legs) as client:
        handle = await start(client, Legs, 2, id=new_id(), task_queue=task_queue)
        await eventually(lambda: len(world.calls) == 2)
        last = client.get_workflow_handle(handle.id)
        await last.execute_update("stop", {"by": "ann"})
        assert causes(await failure_of(handle)) == [
            ("RolledBack", "legs@1.0.0 rolled back: legs@1.0.0 was stopped by ann"),
            ("ExecutionStopped", "legs@1.0.0 was stopped by ann"),
        ]
    assert [step for step, _ in world.calls] == ["same"] * 2 + ["undo same"] * 2


async def test_held_in_a_later_leg(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """Under a policy of hold a step of the second leg waits for an operator, who has it run again."""
    world.switch("fail-b")
    async with serve(a, b, Held, cache=cache) as client:
        handle = await start(client, Held, 5, id=new_id(), task_queue=task_queue)
        await world.until("b", 10)
        last = client.get_workflow_handle(handle.id)
        while (await last.query("status"))["steps"].get("b") != "held":
            await asyncio.sleep(0.05)
        world.switch("fail-b", on=False)
        await last.execute_update("retry", {"step": "b", "by": "ann"})
        assert await handle.result() == 20
    assert world.calls == [("a", 5), ("b", 10), ("b", 10)]


async def test_paused_between_legs(serve: Serve, world: World, task_queue: str) -> None:
    """A leg that ends while the run is paused leaves the next one paused: its step begins after `unpause`."""
    world.switch("hold-a")
    async with serve(a, b, Held) as client:
        handle = await start(client, Held, 5, id=new_id(), task_queue=task_queue)
        await world.until("a", 5)
        await client.get_workflow_handle(handle.id).execute_update("pause", {})
        world.switch("go-a")
        last = client.get_workflow_handle(handle.id)
        while (await last.query("metadata"))["resume_point"] != "second":
            await asyncio.sleep(0.05)
        assert (await last.query("status"))["state"] == "running, paused"
        assert world.calls == [("a", 5)]
        await last.execute_update("unpause", {})
        assert await handle.result() == 20
    assert world.calls == [("a", 5), ("b", 10)]


async def test_where_a_leg_can_not_end(serve: Serve, task_queue: str, cache: int) -> None:
    """A point must have a name, nothing else may be at work, and no handler may end a leg; none is run inline."""
    async with serve(Kinder, Many, cache=cache) as client:
        handle = await start(client, Kinder, EmptyInput(), id=new_id(), task_queue=task_queue)
        while (await handle.query("status"))["steps"].get("go") != "waiting for approval":
            await asyncio.sleep(0.05)
        refusal = await handle.execute_update("leave", result_type=str)
        await handle.execute_update("approve", {"name": "go"})
        found = await handle.result()
    assert refusal == "resume point 'out': only run() may end a leg, no handler"
    assert found == [
        "resume point name 'no name!' must be letters, digits, '-' and '_', at most 100 of them",
        "resume point 'beside': side is at work beside it; let it end first",
        "many@1.0.0 is a long-running operation, which is a run of its own and can't be inline; "
        "say child=True, or start it and wait for it by its name",
    ]


async def test_long_unwinding_goes_on_as_new(
    serve: Serve, world: World, task_queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight legs, the last one fails, and a run takes three undos: they go on in further runs, each once, newest first."""
    monkeypatch.setattr("flows._full.CONTINUE_AT", 25)
    world.switch("fail-leg-7")
    async with serve(keyed, Legs) as client:
        handle = await start(client, Legs, 8, id=new_id(), task_queue=task_queue)
        found = causes(await failure_of(handle, 60))
        last = client.get_workflow_handle(handle.id)
        status, progress = await last.query("status"), await last.query("metadata")
    down = "step same (keyed@1.0.0) failed after 1 attempt: RuntimeError: leg-7 is down"
    assert found[0] == ("RolledBack", f"legs@1.0.0 rolled back: {down}")
    keys = [key for _, key in world.calls]
    assert keys[8:] == keys[6::-1]
    assert status["steps"] == {"same": "failed", **{f"leg:{n}/same": "undone" for n in range(6, -1, -1)}}
    assert (progress["state"], progress["resume_point"]) == ("rolled_back", "p7")


async def test_the_deadline_counts_from_the_first_start(
    skipping: Serve, world: World, task_queue: str
) -> None:
    """A deadline of an hour and a half ends the second leg, an hour each, in its middle; both steps are undone."""
    async with skipping(a, Timely) as client:
        handle = await start(client, Timely, EmptyInput(), id=new_id(), task_queue=task_queue)
        assert causes(await failure_of(handle))[1] == (
            "DeadlineExceeded",
            "timely@1.0.0 didn't end within 1:30:00",
        )
        assert 5400 <= await took(client, handle) < 5410
    assert world.calls == [("a", 1)] * 2 + [("undo a", 1, "done", 2)] * 2


async def test_handlers_end_before_a_leg_does(serve: Serve, task_queue: str, cache: int) -> None:
    """A leg ends while an update is at work: the update is answered, and what it did to the state is in the next leg."""
    async with serve(Polite, cache=cache) as client:
        handle = await start(client, Polite, EmptyInput(), id=new_id(), task_queue=task_queue)
        while (await handle.query("status"))["steps"].get("go") != "waiting for approval":
            await asyncio.sleep(0.05)
        lingering = asyncio.create_task(handle.execute_update("linger", result_type=int))
        await asyncio.sleep(0.3)
        await handle.execute_update("approve", {"name": "go"})
        assert await handle.result() == 1
        assert await lingering == 1


@pytest.mark.parametrize(
    "count", [6, pytest.param(1000, marks=[pytest.mark.nightly, pytest.mark.timeout(3600)])]
)
async def test_many_legs_stay_small(serve: Serve, task_queue: str, count: int) -> None:
    """Six resumes, and a thousand, one a second: the state is counted on, and no run has more than six events."""
    async with serve(Many) as client:
        handle = await start(client, Many, count, id=new_id(), task_queue=task_queue)
        assert await handle.result() == count
        last = client.get_workflow_handle(handle.id)
        assert len(await events_of(last)) <= 6
        assert (await last.query("metadata"))["resume_point"] == "again"
