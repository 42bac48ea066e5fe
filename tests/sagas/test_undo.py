"""`undo` of closed sagas: by the recorded plan's edges, whatever code there is now."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import sys
from asyncio.subprocess import PIPE
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError

from activities import EmptyInput
from flows import Dag, Policy, saga, start
from tests.conftest import Serve
from tests.sagas.operations import Given, check, make, work
from tests.sagas.test_running import (
    always_undone,
    diamond,
    diamond_stops,
    forward,
    inner,
    line,
    outer,
    undone,
)
from tests.support import World, causes, events_of, failure_of, new_id, reset
from tests.undoing import done, start_undo, undo, undo_fails

other = make("other")


@saga(id="kept-line", version="1.0.0", policy=Policy(on_failure="keep"))
def kept_line(dag: Dag, params: EmptyInput) -> None:
    """a, b, c; kept on failure."""
    for name in "abc":
        dag.append(name, work, {})


@saga(id="narrow", version="1.0.0", policy=Policy(max_parallel=1))
def narrow(dag: Dag, params: EmptyInput) -> None:
    """Three steps beside each other, one at a time."""
    dag.append_parallel(*(dag.step(name, work, {}) for name in "abc"))


@saga(id="two-operations", version="1.0.0")
def two_operations(dag: Dag, params: EmptyInput) -> None:
    """a, then b with another operation beside c, then d."""
    dag.append("a", work, {})
    dag.append_parallel(dag.step("b", other, {}), dag.step("c", work, {}))
    dag.append("d", work, {})


@saga(id="parked", version="1.0.0", policy=Policy(on_undo_failure="park"))
def parked(dag: Dag, params: EmptyInput) -> None:
    """a, b, c; a failed undo waits for an operator."""
    for name in "abc":
        dag.append(name, work, {})


SAGAS = (line, diamond, outer, inner, kept_line, always_undone, diamond_stops, narrow, two_operations, parked)


ALL = (work, check, other, *SAGAS)


async def _run(client: Any, flow: Any, task_queue: str, input: Any = EmptyInput()) -> Any:
    """Run a saga to its end, whatever that is."""
    handle = await start(client, flow, input, id=new_id(), task_queue=task_queue)
    with contextlib.suppress(WorkflowFailureError):
        await asyncio.wait_for(handle.result(), 60)
    return handle


def _told(world: World, before: int = 0) -> list[tuple[str, str]]:
    """Give what each undo was told, in order."""
    return [(c[0][len("undo ") :], c[1]) for c in world.calls[before:] if isinstance(c, tuple)]


async def test_a_diamond_is_undone_along_its_edges(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """S26: a, (b ‖ c), d completed, then undo → [d, then b ‖ c, then a]: a's undo begins after both have ended."""
    async with serve(*ALL, cache=cache) as client:
        handle = await _run(client, diamond, task_queue)
        world.switch("hold-undo-b")
        by = await start_undo(client, task_queue, handle)
        await world.until("undo b", "done")
        await world.until("undone c")
        assert ("undo a", "done") not in world.calls
        world.switch("go-undo-b")
        await by.result()
    assert undone(world) == ["d", "c", "b", "a"]
    assert sorted(_told(world)) == [(name, "done") for name in "abcd"]


async def test_the_cap_of_the_plan_holds(serve: Serve, world: World, task_queue: str) -> None:
    """With max_parallel=1 one undo runs at a time, newest first."""
    async with serve(*ALL) as client:
        handle = await _run(client, narrow, task_queue)
        assert await undo(client, task_queue, handle) == done("c", "b", "a")
    expected = [call for name in "cba" for call in [("undo " + name, "done"), "undone " + name]]
    assert world.calls[3:] == expected


async def test_a_kept_saga_is_undone(serve: Serve, world: World, task_queue: str) -> None:
    """a, b, c! under keep: [b, a]; c failed, and has nothing to undo."""
    world.switch("fail-c")
    async with serve(*ALL) as client:
        handle = await _run(client, kept_line, task_queue)
        assert await undo(client, task_queue, handle) == done("b", "a")
    assert undone(world) == ["b", "a"]


async def test_the_policy_of_the_plan_undoes_the_failed_step(
    serve: Serve, world: World, task_queue: str
) -> None:
    """undo_failed_step="always" stands in the plan: c, whose undo failed, is told `failed` again, and undone."""
    world.switch("fail-c")
    world.switch("fail-undo-c")
    async with serve(*ALL) as client:
        handle = await _run(client, always_undone, task_queue)
        world.switch("fail-undo-c", on=False)
        before = len(world.calls)
        assert await undo(client, task_queue, handle) == done("c", already=("b", "a"))
    assert world.calls[before:] == [("undo c", "failed"), "undone c"]


async def test_stop_leaves_the_rest(serve: Serve, world: World, task_queue: str) -> None:
    """on_undo_failure="stop" stands in the plan: d's undo fails, so c, b and a are named as not tried."""
    async with serve(*ALL) as client:
        handle = await _run(client, diamond_stops, task_queue)
        world.switch("fail-undo-d")
        _, message = await undo_fails(client, task_queue, handle)
        assert message.split("\n") == [
            f"undo of {handle.id} is stuck: 4 not undone",
            "not undone: d (work@1.0.0): RuntimeError: undo of d down",
            *(f"not undone: {name} (work@1.0.0): not tried, since d wasn't undone" for name in "cba"),
        ]
        world.switch("fail-undo-d", on=False)
        assert await undo(client, task_queue, handle) == done("d", "c", "b", "a")
    assert undone(world)[0] == "d" and undone(world)[-1] == "a"


async def test_a_stuck_saga_is_repaired(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """d!, the undos of b and c fail: after the repair both are undone, a is not again."""
    for switch in ("fail-d", "fail-undo-b", "fail-undo-c"):
        world.switch(switch)
    async with serve(*ALL, cache=cache) as client:
        handle = await _run(client, diamond, task_queue)
        for switch in ("fail-undo-b", "fail-undo-c"):
            world.switch(switch, on=False)
        result = await undo(client, task_queue, handle)
    assert sorted(result["undone"]) == ["b", "c"] and result["already_undone"] == ["a"]
    assert undone(world)[0] == "a" and sorted(undone(world)[1:]) == ["b", "c"]


async def test_a_parked_undo_that_was_skipped_is_not_tried_again(
    serve: Serve, world: World, task_queue: str
) -> None:
    """Section 5: an operator said that b is undone (skip of its parked undo): undo believes it; a, unwound away, is undone."""
    world.switch("fail-c")
    world.switch("fail-undo-b")
    world.switch("fail-undo-a")
    async with serve(*ALL) as client:
        handle = await start(client, parked, EmptyInput(), id=new_id(), task_queue=task_queue)
        for step, word in (("b", "skip"), ("a", "unwind")):
            while (await handle.query("status"))["steps"].get(step) != "parked":
                await asyncio.sleep(0.02)
            await handle.execute_update(word, {"step": step, "by": "ann"})
        assert causes(await failure_of(handle))[0][0] == "Stuck"
        world.switch("fail-undo-a", on=False)
        before = len(world.calls)
        assert await undo(client, task_queue, handle) == done("a", already=("b",))
    assert world.calls[before:] == [("undo a", "done"), "undone a"]


async def test_an_undo_may_be_parked_here_too(serve: Serve, world: World, task_queue: str) -> None:
    """Section 5: with on_undo_failure="park" a failed undo of the undoing waits for an operator, who retries it."""
    async with serve(*ALL) as client:
        handle = await _run(client, parked, task_queue)
        world.switch("fail-undo-b")
        by = await start_undo(client, task_queue, handle)
        await world.until("undo b", "done")
        work_id = (await by.query("status"))["undoing"]
        at_work = client.get_workflow_handle(work_id)
        while (await at_work.query("status"))["steps"].get("b") != "parked":
            await asyncio.sleep(0.02)
        world.switch("fail-undo-b", on=False)
        await at_work.execute_update("retry", {"step": "b", "by": "ann"})
        assert (await by.result())["undone"] == ["c", "b", "a"]
    assert undone(world) == ["c", "b", "a"]


async def test_our_command_tells_of_a_parked_undo(
    serve: Serve, world: World, task_queue: str, dev_address: str
) -> None:
    """`counterstep undo` says, once, what waits for an operator, and the command that decides it; then it goes on."""
    async with serve(*ALL) as client:
        handle = await _run(client, parked, task_queue)
        world.switch("fail-undo-b")
        waiting = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "counterstep.cli", "undo", "--address", dev_address, handle.id, stdout=PIPE, stderr=PIPE
        )  # fmt: skip
        assert waiting.stderr is not None
        line = (await asyncio.wait_for(waiting.stderr.readline(), 60)).decode()
        what, _, decide = line.removeprefix("counterstep undo: ").rstrip("\n").partition("; decide: ")
        assert what.startswith("undo of b (work@1.0.0) is parked: ")
        words = shlex.split(decide)
        assert words[:5] == ["temporal", "workflow", "update", "execute", "--workflow-id"]
        assert words[5].startswith(f"undo:{handle.id}:") and words[-2:] == ["--name", "retry"]
        world.switch("fail-undo-b", on=False)
        await client.get_workflow_handle(words[5]).execute_update("retry", {"step": "b", "by": "ann"})
        out, err = await waiting.communicate()
    assert (waiting.returncode, out.decode(), err.decode()) == (0, "undone: c, b, a\n", "")


async def test_rolled_back_and_cancelled_sagas_need_nothing(
    serve: Serve, world: World, task_queue: str
) -> None:
    """G11, G13: nothing is left of a saga that unwound: success, 0 calls."""
    world.switch("fail-c")
    async with serve(*ALL) as client:
        handle = await _run(client, line, task_queue, Given(number=1))
        before = world.calls
        assert await undo(client, task_queue, handle) == done(already=("b", "a"))
        assert world.calls == before
        world.switch("hold-c")
        handle = await start(client, line, Given(number=1), id=new_id(), task_queue=task_queue)
        while world.calls.count("c") < 2:
            await asyncio.sleep(0.02)
        await handle.cancel()
        await failure_of(handle)
        before = world.calls
        assert await undo(client, task_queue, handle) == done(already=("c", "b", "a"))
    assert world.calls == before


async def test_a_terminated_saga(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """Terminated while b and c ran: both are unknown, and undone before a."""
    world.switch("hold-b")
    world.switch("hold-c")
    async with serve(*ALL, cache=cache) as client:
        handle = await start(client, diamond, EmptyInput(), id=new_id(), task_queue=task_queue)
        await world.until("b")
        await world.until("c")
        await handle.terminate()
        world.switch("go-b")
        world.switch("go-c")
        await undo(client, task_queue, handle)
    assert sorted(undone(world)[:2]) == ["b", "c"] and undone(world)[2:] == ["a"]
    assert sorted(_told(world)) == [("a", "done"), ("b", "unknown"), ("c", "unknown")]


async def test_a_saga_that_timed_out_while_unwinding(serve: Serve, world: World, task_queue: str) -> None:
    """The execution timeout closed it while b was being undone: b is undone again, then a; c, undone, is not."""
    world.switch("fail-d")
    world.switch("hold-undo-b")
    async with serve(*ALL) as client:
        handle = await start(
            client,
            diamond,
            EmptyInput(),
            id=new_id(),
            task_queue=task_queue,
            execution_timeout=timedelta(seconds=2),
        )
        await world.until("undo b", "done")
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        assert (await handle.describe()).status == WorkflowExecutionStatus.TIMED_OUT
        world.switch("hold-undo-b", on=False)
        world.switch("go-undo-b")
        assert await undo(client, task_queue, handle) == done("b", "a", already=("c",))
    assert _told(world) == [("c", "done"), ("b", "done"), ("b", "done"), ("a", "done")]


async def test_subsaga_steps_keep_their_names(serve: Serve, world: World, task_queue: str) -> None:
    """G27: an inner x and an outer x are undone each in its place: [z, s/y, s/x, x]."""
    async with serve(*ALL) as client:
        handle = await _run(client, outer, task_queue)
        assert await undo(client, task_queue, handle) == done("z", "s/y", "s/x", "x")
    assert undone(world) == ["z", "s/y", "s/x", "x"]


async def test_the_code_of_the_saga_is_gone(serve: Serve, world: World, task_queue: str) -> None:
    """Issue "undo of closed runs": only the operation is registered: the recorded plan is enough."""
    async with serve(*ALL) as client:
        handle = await _run(client, diamond, task_queue)
    async with serve(work) as client:
        await undo(client, task_queue, handle)
    assert undone(world)[0] == "d" and sorted(undone(world)[1:3]) == ["b", "c"] and undone(world)[3:] == ["a"]


async def test_a_missing_operation_is_named(serve: Serve, world: World, task_queue: str) -> None:
    """G45: one of two operations isn't registered: the steps of the other are undone, Stuck names b alone."""
    async with serve(*ALL) as client:
        handle = await _run(client, two_operations, task_queue)
    async with serve(work) as client:
        kind, message = await undo_fails(client, task_queue, handle)
        assert kind == "Stuck"
        assert message.startswith(
            f"undo of {handle.id} is stuck: 1 not undone\nnot undone: b (other@1.0.0): other@1.0.0 isn't registered"
        )
        assert undone(world) == ["d", "c", "a"]
    async with serve(work, other) as client:
        result = await undo(client, task_queue, handle)
    assert result["undone"] == ["b"]
    assert undone(world) == ["d", "c", "a", "b"]


async def test_a_typed_plan_is_undone(serve: Serve, world: World, task_queue: str) -> None:
    """A plan that nobody coded, with steps listed in any order, is undone by its edges."""
    steps = [{"name": "b", "operation": "work", "after": ["a"]}, {"name": "a", "operation": "work"}]
    plan = {"id": "typed", "version": "1.0.0", "steps": steps}
    async with serve(work) as client:
        handle = await start(client, "saga", plan, id=new_id(), task_queue=task_queue)
        await handle.result()
        assert await undo(client, task_queue, handle) == done("b", "a")
    assert undone(world) == ["b", "a"]


async def test_reset_of_an_undone_saga_is_refused(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """Issue point 8: a completed saga that undo undid, reset to every task: ResetAfterUndo names the steps."""
    async with serve(*ALL, cache=cache) as client:
        handle = await _run(client, line, task_queue, Given(number=1))
        first = client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id)
        await undo(client, task_queue, first)
        before = world.calls
        ends = [i for i, kind in enumerate(await events_of(first), 1) if kind == "WORKFLOW_TASK_COMPLETED"]
        for event_id in ends:
            failure = await failure_of(await reset(client, first, event_id))
            message = "this run was reset after c, b, a were undone; start a new run instead"
            assert causes(failure) == [("ResetAfterUndo", message)], event_id
    assert world.calls == before


async def test_forward_calls_are_not_repeated(serve: Serve, world: World, task_queue: str) -> None:
    """An undo calls no step's handler forward."""
    async with serve(*ALL) as client:
        handle = await _run(client, line, task_queue, Given(number=1))
        await undo(client, task_queue, handle)
    assert forward(world) == ["a", "b", "c"]


async def test_a_pivot_keeps_undo_from_nothing(serve: Serve, world: World, task_queue: str) -> None:
    """It binds the run: who asks for `undo` of one that completed behind it has decided."""

    @saga(id="passed", version="1.0.0")
    def passed(dag: Dag, params: EmptyInput) -> None:
        """a, the pivot b."""
        dag.append("a", work, {})
        dag.append("b", work, {}, pivot=True)

    async with serve(work, passed) as client:
        handle = await start(client, passed, EmptyInput(), id=new_id(), task_queue=task_queue)
        await handle.result()
        assert await undo(client, task_queue, handle) == done("b", "a")
    assert undone(world) == ["b", "a"]
