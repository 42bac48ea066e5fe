"""The runs of one long-running operation belong together: undo, reset, dispatch, what callers sent along."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.client import Client, Interceptor, OutboundInterceptor, StartWorkflowInput, WorkflowHandle

from activities import EmptyInput
from flows import start, undo
from tests.conftest import Serve
from tests.longrunning.operations import Heavy, Journey, Legs, LegsChanged, Parent, Short, a, b, keyed
from tests.support import World, causes, events_of, eventually, failure_of, new_id, reset


async def _in_leg(client: Client, id: str, point: str, step: str, state: str) -> WorkflowHandle[Any, Any]:
    """Wait until the newest run is at a point, with a step in a state."""
    last = client.get_workflow_handle(id)
    while (await last.query("metadata"))["resume_point"] != point:
        await asyncio.sleep(0.05)
    while (await last.query("status"))["steps"].get(step) != state:
        await asyncio.sleep(0.05)
    return client.get_workflow_handle(id, run_id=(await last.describe()).run_id)


async def test_undo_of_a_closed_chain(serve: Serve, world: World, task_queue: str) -> None:
    """Terminated in its third leg: `undo` undoes the steps of all legs under their keys, newest first; again is a no-op."""
    async with serve(keyed, Legs) as client:
        handle = await start(client, Legs, 3, id=new_id(), task_queue=task_queue)
        await (await _in_leg(client, handle.id, "p2", "long", "waiting")).terminate()
        done = await undo(client, handle.id, task_queue=task_queue)
        again = await undo(client, handle.id, task_queue=task_queue)
    names = ("leg:2/same", "leg:1/same", "leg:0/same")
    assert (done.undone, done.not_undone) == (names, ())
    assert (again.undone, set(again.already_undone)) == ((), set(names))
    keys = [key for _, key in world.calls]
    assert [step for step, _ in world.calls] == ["same"] * 3 + ["undo same"] * 3
    assert keys[3:] == [keys[2], keys[1], keys[0]]


async def test_undo_after_a_run_that_unwound_in_part(serve: Serve, world: World, task_queue: str) -> None:
    """One undo failed, so that the run is stuck: `undo` undoes that step alone, though each leg's has the same name."""
    for switch in ("fail-leg-2", "fail-undo-leg-0"):
        world.switch(switch)
    async with serve(keyed, Legs) as client:
        handle = await start(client, Legs, 3, id=new_id(), task_queue=task_queue)
        assert causes(await failure_of(handle))[0][0] == "Stuck"
        world.switch("fail-undo-leg-0", on=False)
        before = len(world.calls)
        done = await undo(client, handle.id, task_queue=task_queue)
    assert done.undone == ("leg:0/same",)
    assert [step for step, _ in world.calls[before:]] == ["undo same"]


async def test_a_child_of_several_legs(serve: Serve, world: World, task_queue: str) -> None:
    """As a child its result reaches the parent; when that fails, it undoes the steps of all legs, under their keys."""
    async with serve(keyed, Short, Parent) as client:
        handle = await start(client, Parent, 2, id=new_id(), task_queue=task_queue)
        assert await handle.result() == "over"
        world.switch("fail-after")
        before = len(world.calls)
        failing = await start(client, Parent, 2, id=new_id(), task_queue=task_queue)
        assert causes(await failure_of(failing))[0][0] == "RolledBack"
    calls = world.calls[before:]
    keys = [key for _, key in calls]
    assert [step.rpartition("/")[2] for step, _ in calls] == ["same", "same", "after", "same", "same"]
    assert [step.startswith("undo ") for step, _ in calls] == [False] * 3 + [True] * 2
    assert keys[3:] == [keys[1], keys[0]]


async def test_reset_after_undo_is_refused(serve: Serve, world: World, task_queue: str) -> None:
    """The last leg failed and everything was undone: reset, the run ends with `ResetAfterUndo`, and calls nothing."""
    world.switch("fail-leg-1")
    async with serve(keyed, Legs) as client:
        handle = await start(client, Legs, 2, id=new_id(), task_queue=task_queue)
        await failure_of(handle)
        last = client.get_workflow_handle(handle.id)
        before = len(world.calls)
        again = await reset(client, last, 4)
        found = causes(await failure_of(again))
    assert found[0] == (
        "ResetAfterUndo",
        "this run was reset after leg:0/same was undone; start a new run instead",
    )
    assert len(world.calls) == before


async def test_reset_of_a_leg_goes_on_in_it(serve: Serve, world: World, task_queue: str) -> None:
    """Reset to the beginning of its second leg, nothing having been undone: that leg runs again, under its old key."""
    async with serve(keyed, Legs) as client:
        handle = await start(client, Legs, 2, id=new_id(), task_queue=task_queue)
        last = await _in_leg(client, handle.id, "p1", "long", "waiting")
        again = await reset(client, last, 4)
        await eventually(lambda: len(world.calls) == 3)
        await again.cancel()
        await failure_of(again)
    keys = [key for _, key in world.calls]
    assert keys[1] == keys[2] and keys[0] != keys[1]
    assert [step for step, _ in world.calls[3:]] == ["undo same"] * 2


async def test_a_state_that_fits_no_more_is_a_bug(serve: Serve, world: World, task_queue: str) -> None:
    """New code can't read the state of an open run: its task is tried until better code arrives; nothing ends, or is undone."""
    async with serve(keyed, Legs) as client:
        handle = await start(client, Legs, 2, id=new_id(), task_queue=task_queue)
        last = await _in_leg(client, handle.id, "p1", "long", "waiting")
    async with serve(keyed, LegsChanged):
        again = await reset(client, last, 4)
        while (await events_of(again)).count("WORKFLOW_TASK_FAILED") < 2:
            await asyncio.sleep(0.05)
        failed = [
            e
            async for e in again.fetch_history_events()
            if e.HasField("workflow_task_failed_event_attributes")
        ]
        message = failed[-1].workflow_task_failed_event_attributes.failure.message
        await again.terminate()
    assert message.startswith(
        "what the leg before left doesn't fit any more: legs@1.0.0: state doesn't fit dict"
    )
    assert len(world.calls) == 2


async def test_a_state_that_is_too_large(serve: Serve, world: World, task_queue: str) -> None:
    """What can't be handed to the next leg ends the run in this one, and unwinds it."""
    async with serve(a, Heavy) as client:
        handle = await start(client, Heavy, EmptyInput(), id=new_id(), task_queue=task_queue)
        kind, message = causes(await failure_of(handle))[1]
    assert kind == "HistoryLimit"
    assert re.fullmatch(
        r"what this flow carries into its next run has \d+ bytes packed, 1887436 are allowed; "
        "keep large values elsewhere and pass references",
        message,
    )
    assert world.calls == [("a", 1), ("undo a", 1, "done", 2)]


async def test_started_by_range(skipping: Serve, world: World, task_queue: str) -> None:
    """Started as `journey@^1`, it runs under its exact type, through all its legs."""
    async with skipping(a, b, Journey) as client:
        handle = await start(client, "journey@^1", 7, id=new_id(), task_queue=task_queue)
        assert await handle.result() == ["start", "x", "y", "z"]
        last = await client.get_workflow_handle(handle.id).describe()
    assert last.workflow_type == "journey@1.0.0"


async def test_bad_starts(serve: Serve, task_queue: str) -> None:
    """Input that doesn't fit, input that pretends to be a later leg, and `resume_from` end the run at its first task."""
    async with serve(keyed, Legs) as client:
        for value, memo, message in (
            ("x", {}, "legs@1.0.0: input doesn't fit int: "),
            ({"$counterstep": "eJw="}, {}, "legs@1.0.0: input doesn't fit int: "),
            (1, {"resume_from": "other"}, "memo resume_from: legs@1.0.0 goes on at its resume points"),
        ):
            handle = await start(client, "legs@1.0.0", value, id=new_id(), task_queue=task_queue, memo=memo)
            (kind, found), *_ = causes(await failure_of(handle))
            assert (kind, found[: len(message)]) == ("InvalidInput", message)
            assert "ACTIVITY_TASK_SCHEDULED" not in await events_of(handle)
        handle = await start(client, "legs", {"$counterstep": "eJw="}, id=new_id(), task_queue=task_queue)
        assert causes(await failure_of(handle))[0][0] == "InvalidInput"


class _Traced(Interceptor):
    """Starts runs with a header, as a tracer does."""

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        return _Tracing(next)


class _Tracing(OutboundInterceptor):
    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        input.headers = {**input.headers, "_tracer-data": Payload(data=b'{"traceparent":"00-1-2-01"}')}
        return await super().start_workflow(input)


async def test_headers_and_memo_go_on(serve: Serve, task_queue: str) -> None:
    """What the caller sent along, its trace parent and its memo, is there in the last leg too."""
    async with serve(keyed, Legs) as client:
        config = client.config()
        config["interceptors"] = [_Traced(), *config["interceptors"]]
        handle = await start(
            Client(**config), Legs, 3, id=new_id(), task_queue=task_queue, memo={"mine": [1]}
        )
        last = await _in_leg(client, handle.id, "p2", "long", "waiting")
        first = await anext(last.fetch_history_events())
        attributes = first.workflow_execution_started_event_attributes
        memo = await (await last.describe()).memo()
        await last.terminate()
    assert attributes.header.fields["_tracer-data"].data == b'{"traceparent":"00-1-2-01"}'
    assert memo == {"mine": [1], "counterstep.progress": {"resume_point": "p2", "leg": 2, "steps_done": 2}}
