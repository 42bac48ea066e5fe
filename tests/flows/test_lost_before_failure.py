"""Local steps that were done in a workflow task that Temporal didn't take: a failure that is told of before they are done again.

The task fails here by a bug that is there until it is mended, as at a deployment. Meanwhile a step elsewhere fails: the task that
is done again then knows of that from its beginning.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from activities import Context, EmptyInput, Retry, operation
from flows import Dag, Policy, Sequence, no_undo, saga, start
from flows import _lookup as lookup
from flows._interpreter import Interpreter
from flows._lost import LOST_TASK
from tests.conftest import Serve
from tests.flows.test_lost_local_steps import undo
from tests.support import World, causes, events_of, eventually, failure_of, new_id

TWICE = Retry(max_attempts=2)


async def act(ctx: Context[World], input: EmptyInput) -> None:
    """Record it; it may have to wait for a switch."""
    ctx.deps.record(ctx.step)
    if ctx.deps.is_on(f"wait-{ctx.step}"):
        await ctx.deps.wait(f"end-{ctx.step}", 60)


here = operation(id="here", version="1.0.0", placement="local")(act)
here.undo(undo)
there = operation(id="there", version="1.0.0")(act)
there.undo(undo)


@operation(id="fails", version="1.0.0")
async def fails(ctx: Context[World], input: EmptyInput) -> None:
    """Fail, once it is to."""
    await ctx.deps.wait("fail", 60)
    raise RuntimeError("down")


def built(dag: Dag, params: EmptyInput) -> None:
    """Local steps after one elsewhere, beside one that fails."""
    last = dag.step("x0", there, {}, after=[])
    for name, op in {"x1": here, "x2": here, "x3": there, "x4": here}.items():
        last = dag.step(name, op, {}, after=[last])
    dag.step("c", fails, {}, after=[], undo=no_undo)


waits = saga(id="waits", version="1.0.0")(built)
holds = saga(id="holds", version="1.0.0", policy=Policy(on_failure="hold"))(built)
cancels = saga(id="cancels", version="1.0.0", policy=Policy(settle="cancel"))(built)


@saga(id="lone", version="1.0.0")
def lone(dag: Dag, params: EmptyInput) -> None:
    """Local steps between two elsewhere."""
    for name, op in {"x0": there, "x1": here, "x2": here, "x3": there}.items():
        dag.append(name, op, {})


class Around(Sequence[EmptyInput, None], id="around", version="1.0.0"):
    """The plan, inline."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(waits, input)


class Told(Sequence[EmptyInput, None], id="told", version="1.0.0"):
    """The plan without a failure, inline; it may be told to fail."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(lone, input)

    @workflow.signal
    def refuse(self) -> None:
        raise ApplicationError("no more")


class Above(Sequence[EmptyInput, None], id="above", version="1.0.0"):
    """The plan, as a child."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(waits, input, child=True)


PATHS: dict[Any, str] = {waits: "", cancels: "", Around: "waits/", Above: ""}


@pytest.fixture
def bug(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """After x2 a workflow task fails, until it is mended."""
    ended = Interpreter._ended

    def broken(self: Interpreter, name: str, task: asyncio.Task[None]) -> None:
        if name == "x2" and not world.is_on("mended"):
            raise LookupError("a bug")
        ended(self, name, task)

    monkeypatch.setattr(Interpreter, "_ended", broken)


@saga(id="busy", version="1.0.0")
def busy(dag: Dag, params: EmptyInput) -> None:
    """A local step that keeps the run busy, while one step elsewhere fails and another ends, after which comes a local one."""
    first = dag.step("first", there, {}, after=[])
    dag.step("w", here, {}, after=[first])
    dag.step("x1", here, {}, after=[dag.step("x0", there, {}, after=[])])
    dag.step("c", fails, {}, after=[], undo=no_undo)


def build_busy_pivot(dag: Dag, params: EmptyInput) -> None:
    """A local step that keeps the run busy, while one step elsewhere fails and another ends, after which comes the pivot."""
    first = dag.step("first", there, {}, after=[])
    dag.step("w", here, {}, after=[first])
    dag.step("pivot", there, {}, after=[dag.step("x0", there, {}, after=[])], pivot=True)
    dag.step("c", fails, {}, after=[], undo=no_undo)


busy_holds = saga(id="busy-holds", version="1.0.0", policy=Policy(on_failure="hold"))(build_busy_pivot)


@saga(id="late", version="1.0.0", policy=Policy(deadline=timedelta(seconds=2)))
def late(dag: Dag, params: EmptyInput) -> None:
    """The pivot beside a local step that keeps the run busy until the deadline has passed, and a step after both."""
    pivot = dag.step("pivot", there, {}, after=[], pivot=True)
    w = dag.step("w", here, {}, after=[dag.step("x0", there, {}, after=[])])
    dag.step("last", there, {}, after=[pivot, w], retry=TWICE)


async def failed_meanwhile(world: World, handle: WorkflowHandle[Any, Any], path: str) -> None:
    """Let the other step fail while the task is lost again and again, and then mend the bug."""
    await world.until(f"{path}x2")
    world.switch("fail")
    while "ACTIVITY_TASK_FAILED" not in await events_of(handle):
        await asyncio.sleep(0.1)
    world.switch("mended")


@pytest.mark.parametrize("flow", PATHS)
@pytest.mark.usefixtures("bug")
async def test_done_again(serve: Serve, world: World, task_queue: str, cache: int, flow: Any) -> None:
    """What the lost task did is done again under its keys, and undone; nothing else begins after the failure."""
    async with serve(here, there, fails, waits, cancels, Around, Above, cache=cache) as client:
        handle: Any = await start(client, flow, EmptyInput(), id=new_id(), task_queue=task_queue)
        child = client.get_workflow_handle(f"{handle.id}/waits") if flow is Above else handle
        await failed_meanwhile(world, child, PATHS[flow])
        await failure_of(handle, 60)
        assert "WORKFLOW_TASK_FAILED" in await events_of(child)
    names = [call for call in world.calls if isinstance(call, str)]
    again = [f"{PATHS[flow]}x{n}" for n in (1, 2)]
    times = len(names) // 2
    assert times > 1 and names == [f"{PATHS[flow]}x0", *(again * times)]
    assert world.calls == [*names, *(("undo", f"{PATHS[flow]}x{n}", "done") for n in (2, 1, 0))]


@pytest.mark.usefixtures("bug")
async def test_before_a_hold(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """Where the failure is held, what the lost task did is done again before, and undone once an operator unwinds."""
    async with serve(here, there, fails, holds, cache=cache) as client:
        handle = await start(client, holds, EmptyInput(), id=new_id(), task_queue=task_queue)
        await failed_meanwhile(world, handle, "")
        await eventually_held(handle, "c")
        await handle.execute_update("unwind", {"step": "c"})
        await failure_of(handle, 60)
    undone = [call for call in world.calls if not isinstance(call, str)]
    assert undone[-3:] == [("undo", name, "done") for name in ("x2", "x1", "x0")]
    assert set(world.calls[: -len(undone)]) - {"x3", "x4"} == {"x0", "x1", "x2"}


async def told_together(world: World) -> None:
    """Let a step fail, and another one end, while a local step keeps the run busy: the next task tells of both."""
    for switch in ("fail", "end-x0"):
        world.switch(switch)
        await asyncio.sleep(0.5)
    world.switch("end-w")


async def tried_twice(world: World) -> None:
    """Wait until a task was begun, and lost, that knows of all that was asked before."""
    before = world.calls.count("x2")
    await eventually(lambda: world.calls.count("x2") >= before + 2, 60)


async def eventually_held(handle: WorkflowHandle[Any, Any], step: str) -> None:
    """Wait until a step is held."""
    while (await handle.query("status"))["steps"].get(step) != "held":
        await asyncio.sleep(0.1)


async def test_nothing_was_lost(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """Where no task was lost, nothing new begins, though it is asked: the failure and the end before x1 are told together."""
    for step in ("w", "x0"):
        world.switch(f"wait-{step}")
    async with serve(here, there, fails, busy, cache=cache) as client:
        handle = await start(client, busy, EmptyInput(), id=new_id(), task_queue=task_queue)
        await world.until("w")
        await told_together(world)
        await failure_of(handle, 60)
        asked = [e async for e in handle.fetch_history_events() if LOST_TASK in str(e)]
    assert len(asked) == 1
    assert "x1" not in world.calls
    assert {call for call in world.calls if isinstance(call, str)} == {"first", "x0", "w"}
    assert world.calls[-1] == ("undo", "first", "done")


async def test_nothing_begins_before_a_hold(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """The failure and the end before the pivot are told together: the failed step is held, and the pivot not passed."""
    for step in ("w", "x0"):
        world.switch(f"wait-{step}")
    async with serve(here, there, fails, busy_holds, cache=cache) as client:
        handle = await start(client, busy_holds, EmptyInput(), id=new_id(), task_queue=task_queue)
        await world.until("w")
        await told_together(world)
        await eventually_held(handle, "c")
        await handle.execute_update("unwind", {"step": "c"})
        await failure_of(handle, 60)
    assert {call for call in world.calls if isinstance(call, str)} == {"first", "x0", "w"}
    undone = [call for call in world.calls if not isinstance(call, str)]
    assert sorted(undone) == [("undo", name, "done") for name in ("first", "w", "x0")]


async def test_a_deadline_beside_the_last_result(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """After the pivot the deadline holds the run, though it is told together with all that was at work; then the rest runs."""
    for step in ("w", "pivot"):
        world.switch(f"wait-{step}")
    async with serve(here, there, late, cache=cache) as client:
        handle = await start(client, late, EmptyInput(), id=new_id(), task_queue=task_queue)
        await world.until("w")
        await asyncio.sleep(2.5)  # the deadline
        world.switch("end-pivot")
        await asyncio.sleep(0.5)
        world.switch("end-w")
        await eventually_held(handle, "deadline")
        assert sorted(world.calls) == ["pivot", "w", "x0"]
        await handle.execute_update("retry", {"step": "deadline"})
        await handle.result()
    assert world.calls[3:] == ["last"]


@pytest.mark.parametrize("flow", [waits, holds])
@pytest.mark.usefixtures("bug")
async def test_before_a_cancel(serve: Serve, world: World, task_queue: str, cache: int, flow: Any) -> None:
    """A cancel that is told of together with the failure waits for what is done again because of that."""
    async with serve(here, there, fails, flow, cache=cache) as client:
        handle = await start(client, flow, EmptyInput(), id=new_id(), task_queue=task_queue)
        await world.until("x2")
        world.switch("fail")
        while "ACTIVITY_TASK_FAILED" not in await events_of(handle):
            await asyncio.sleep(0.1)
        await handle.cancel()
        await tried_twice(world)
        world.switch("mended")
        await failure_of(handle, 60)
        assert (await handle.describe()).status == WorkflowExecutionStatus.CANCELED
    assert world.calls[-3:] == [("undo", name, "done") for name in ("x2", "x1", "x0")]
    assert set(world.calls[:-3]) == {"x0", "x1", "x2"}


@pytest.mark.usefixtures("bug")
async def test_before_a_stop(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """An update is heard before the result that the lost task began with: what that did is done again all the same."""
    async with serve(here, there, lone, cache=cache) as client:
        world.switch("wait-x2")
        handle = await start(client, lone, EmptyInput(), id=new_id(), task_queue=task_queue)
        await world.until("x2")
        stopping = asyncio.create_task(handle.execute_update("stop", {"by": "ann"}))
        await asyncio.sleep(1)  # the server has it, and tells of it with the next task
        world.switch("end-x2")
        while "WORKFLOW_TASK_FAILED" not in await events_of(handle):
            await asyncio.sleep(0.1)
        world.switch("mended")
        await failure_of(handle, 60)
        await stopping
    names = [call for call in world.calls if isinstance(call, str)]
    assert names == ["x0", *(["x1", "x2"] * (len(names) // 2))]
    assert world.calls[len(names) :] == [("undo", name, "done") for name in ("x2", "x1", "x0")]


@pytest.mark.usefixtures("bug")
async def test_before_a_pause(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """So is a pause: what the lost task did isn't new, and is done again in spite of it; what comes after that isn't begun."""
    async with serve(here, there, lone, cache=cache) as client:
        world.switch("wait-x2")
        handle = await start(client, lone, EmptyInput(), id=new_id(), task_queue=task_queue)
        await world.until("x2")
        pausing = asyncio.create_task(handle.execute_update("pause"))
        await asyncio.sleep(1)  # the server has it, and tells of it with the next task
        world.switch("end-x2")
        while "WORKFLOW_TASK_FAILED" not in await events_of(handle):
            await asyncio.sleep(0.1)
        world.switch("mended")
        await pausing
        await handle.cancel()
        await failure_of(handle, 60)
    names = [call for call in world.calls if isinstance(call, str)]
    assert names == ["x0", *(["x1", "x2"] * (len(names) // 2))]
    assert world.calls[len(names) :] == [("undo", name, "done") for name in ("x2", "x1", "x0")]


@pytest.mark.usefixtures("bug")
async def test_before_a_signal_that_fails(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """So is a signal: where the author's handler fails, what the lost task did is done again before the flow does."""
    async with serve(here, there, lone, Told, cache=cache) as client:
        world.switch("wait-lone/x2")
        handle = await start(client, Told, EmptyInput(), id=new_id(), task_queue=task_queue)
        await world.until("lone/x2")
        await handle.signal("refuse")  # the server tells of it with the next task
        world.switch("end-lone/x2")
        while "WORKFLOW_TASK_FAILED" not in await events_of(handle):
            await asyncio.sleep(0.1)
        world.switch("mended")
        told = causes(await failure_of(handle, 60))
    assert [kind for kind, _ in told] == ["RolledBack", "ApplicationError"]
    names = [call for call in world.calls if isinstance(call, str)]
    assert names == ["lone/x0", *(["lone/x1", "lone/x2"] * (len(names) // 2))]
    assert world.calls[len(names) :] == [("undo", f"lone/x{n}", "done") for n in (2, 1, 0)]


def _newest(events: list[str], *kinds: str) -> int:
    return max((n for n, kind in enumerate(events) if kind in kinds), default=-1)


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.usefixtures("bug")
async def test_a_question_that_takes_long(
    serve: Serve, world: World, task_queue: str, cache: int, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    """What is asked while the SDK keeps the task by heartbeats is told of the task before; also where it is asked again."""
    backwards = lookup._backwards
    asked: list[str] = []

    async def later(client: Client, workflow_id: str, run_id: str) -> AsyncIterator[HistoryEvent]:
        asked.append(run_id)
        if again and len(asked) == 1:
            raise RPCError("no answer", RPCStatusCode.UNAVAILABLE, b"")
        handle: Any = client.get_workflow_handle(workflow_id, run_id=run_id)
        while True:
            events = await events_of(handle)
            if _newest(events, "WORKFLOW_TASK_COMPLETED") > _newest(events, "WORKFLOW_TASK_FAILED"):
                break
            await asyncio.sleep(0.1)
        async for event in backwards(client, workflow_id, run_id):
            yield event

    monkeypatch.setattr(lookup, "_backwards", later)
    async with serve(here, there, fails, waits, cache=cache) as client:
        handle = await start(
            client,
            waits,
            EmptyInput(),
            id=new_id(),
            task_queue=task_queue,
            task_timeout=timedelta(seconds=2),
        )
        await failed_meanwhile(world, handle, "")
        await failure_of(handle, 60)
    assert asked
    names = [call for call in world.calls if isinstance(call, str)]
    assert names == ["x0", *(["x1", "x2"] * (len(names) // 2))]
    assert world.calls[len(names) :] == [("undo", f"x{n}", "done") for n in (2, 1, 0)]


async def test_where_time_is_skipped(skipping: Serve, world: World, task_queue: str) -> None:
    """That server can't be asked backwards."""
    world.switch("wait-x0")
    async with skipping(here, there, fails, waits) as client:
        handle = await start(client, waits, EmptyInput(), id=new_id(), task_queue=task_queue)
        world.switch("fail")
        while "ACTIVITY_TASK_FAILED" not in await events_of(handle):
            await asyncio.sleep(0.1)
        world.switch("end-x0")
        await failure_of(handle, 60)
    assert world.calls == ["x0", ("undo", "x0", "done")]
