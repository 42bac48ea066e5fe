"""Reset: nothing undone ever counts as done, and what the server dispatches calls no handler."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle

from activities import Context, EmptyInput, Outcome, operation
from flows import Dag, Policy, Sequence, saga, start
from tests.conftest import Serve
from tests.sagas.operations import Given, work
from tests.sample import FAST
from tests.support import World, causes, eventually, failure_of, new_id, reset
from tests.undoing import done, undo


@operation(id="step-one", version="1.0.0")
async def one(ctx: Context[World], input: int) -> int:
    """Record the key."""
    ctx.deps.record("one", ctx.idempotency_key)
    return input + 1


@operation(id="step-two", version="1.0.0", retry=FAST)
async def two(ctx: Context[World], input: int) -> int:
    """Wait for the gate, then record the key."""
    ctx.deps.record("begin two", ctx.idempotency_key)
    await ctx.deps.wait("go-two")
    if ctx.deps.is_on("fail-two"):
        raise RuntimeError("two down")
    ctx.deps.record("two", ctx.idempotency_key)
    return input + 1


@one.undo(retry=FAST)
async def undo_one(ctx: Context[World], input: int, outcome: Outcome[int]) -> None:
    ctx.deps.record("undo one", str(outcome.status))


@two.undo(retry=FAST)
async def undo_two(ctx: Context[World], input: int, outcome: Outcome[int]) -> None:
    ctx.deps.record("undo two", str(outcome.status))


class Pair(Sequence[int, int], id="pair", version="1.0.0"):
    """One, then two."""

    async def run(self, input: int) -> int:
        first = await self.execute(one, input)
        return (await self.execute(two, first.output)).output


class PairKept(Sequence[int, int], id="pair-kept", version="1.0.0", policy=Policy(on_failure="keep")):
    """One, then two, kept on failure."""

    async def run(self, input: int) -> int:
        first = await self.execute(one, input)
        return (await self.execute(two, first.output)).output


@saga(id="kid", version="1.0.0")
def kid(dag: Dag, params: EmptyInput) -> None:
    """Two steps."""
    dag.append("k1", work, {})
    dag.append("k2", work, {})


class Parent(Sequence[EmptyInput, None], id="parent", version="1.0.0"):
    """A step, then a child."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(work, Given(), step="a")
        await self.execute(kid, input, child=True)


class AtOnce(Sequence[int, int], id="at-once", version="1.0.0"):
    """One and two at once."""

    async def run(self, input: int) -> int:
        reports = await self.gather(self.execute(two, input), self.execute(one, input))
        return sum(report.output for report in reports)


DEFINITIONS = (one, two, Pair, PairKept, AtOnce)


async def task_ends(handle: WorkflowHandle[Any, Any]) -> list[int]:
    """Give the events that a run can be reset to: ends of workflow tasks."""
    return [
        event.event_id
        async for event in handle.fetch_history_events()
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    ]


async def rolled_back(client: Client, world: World, task_queue: str, flow: Any) -> WorkflowHandle[Any, Any]:
    """Run a flow whose step two fails, to its end."""
    world.switch("go-two")
    world.switch("fail-two")
    handle = await start(client, flow, 1, id=new_id(), task_queue=task_queue)
    await failure_of(handle)
    return handle


async def test_reset_after_unwinding_is_refused_at_every_task(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """A rolled-back run, reset to each of its tasks: ResetAfterUndo names the step, no handler is called."""
    async with serve(*DEFINITIONS, cache=cache) as client:
        handle = await rolled_back(client, world, task_queue, Pair)
        before = world.calls
        world.switch("fail-two", on=False)
        ends = await task_ends(handle)
        assert len(ends) == 4
        for event_id in ends:
            again = await reset(
                client, client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id), event_id
            )
            failure = await failure_of(again)
            assert causes(failure) == [
                ("ResetAfterUndo", "this run was reset after step-one was undone; start a new run instead")
            ], event_id
        assert world.calls == before


async def test_reset_of_a_reset_is_refused(serve: Serve, world: World, task_queue: str) -> None:
    """The refused run, reset once more: refused again."""
    async with serve(*DEFINITIONS) as client:
        handle = await rolled_back(client, world, task_queue, Pair)
        first = await reset(client, handle, (await task_ends(handle))[0])
        await failure_of(first)
        second = await reset(client, first, (await task_ends(handle))[0])
        assert causes(await failure_of(second))[0][0] == "ResetAfterUndo"


async def test_reset_after_a_sibling_reset_unwound_is_refused(
    serve: Serve, world: World, task_queue: str
) -> None:
    """Run A completes; reset B of A rolls back; reset C of A is refused: B undid what C has as done."""
    world.switch("go-two")
    async with serve(*DEFINITIONS) as client:
        run_a = await start(client, Pair, 1, id=new_id(), task_queue=task_queue)
        assert await run_a.result() == 3
        a = client.get_workflow_handle(run_a.id, run_id=run_a.first_execution_run_id)
        ends = await task_ends(a)
        world.switch("fail-two")
        run_b = await reset(client, a, ends[1])
        assert causes(await failure_of(run_b))[0][0] == "RolledBack"
        world.switch("fail-two", on=False)
        before = world.calls
        run_c = await reset(client, a, ends[1])
        assert causes(await failure_of(run_c))[0][0] == "ResetAfterUndo"
        assert world.calls == before


@pytest.mark.parametrize("task", [0, 1, 2])
async def test_reset_of_a_run_whose_child_is_open(
    serve: Serve, world: World, task_queue: str, task: int, cache: int
) -> None:
    """Temporal cancels the child, which unwinds; the reset run is refused, and `undo` undoes what was before."""
    world.switch("hold-k2")
    async with serve(work, kid, Parent, cache=cache) as client:
        handle = await start(client, Parent, EmptyInput(), id=new_id(), task_queue=task_queue)
        await world.until("k2")
        again = await reset(client, handle, (await task_ends(handle))[task])
        assert causes(await failure_of(again, 60))[0][0] == "ResetAfterUndo"
        await failure_of(client.get_workflow_handle(f"{handle.id}/kid"), 60)
        assert await undo(client, task_queue, again) == done("a", already=("kid/k2", "kid/k1"))
    assert [call for call in world.calls if isinstance(call, tuple)] == [
        ("undo k2", "unknown"), ("undo k1", "done"), ("undo a", "done"),
    ]  # fmt: skip
    assert [world.calls.count(step) for step in ("a", "k1", "k2")] == [1, 1, 1]


async def test_open_step_at_the_reset_point_calls_no_handler(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """Both steps are open at the reset point of a run that unwound later: no handler runs."""
    async with serve(*DEFINITIONS, cache=cache) as client:
        handle = await rolled_back(client, world, task_queue, AtOnce)
        before, ends = world.calls, await task_ends(handle)
        for event_id in ends[:2]:
            again = await reset(
                client, client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id), event_id
            )
            assert causes(await failure_of(again))[0][0] == "ResetAfterUndo"
        assert world.calls == before


async def test_reset_of_a_run_that_undid_nothing_goes_on(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """A kept run, reset to before step two: two alone is called again, with its key; the run completes."""
    async with serve(*DEFINITIONS, cache=cache) as client:
        handle = await rolled_back(client, world, task_queue, PairKept)
        world.switch("fail-two", on=False)
        again = await reset(client, handle, (await task_ends(handle))[1])
        assert await again.result() == 3
    names = [call[0] for call in world.calls]
    assert names == ["one", "begin two", "begin two", "begin two", "begin two", "two"]
    assert len({call[1] for call in world.calls if "two" in call[0]}) == 1


async def test_reset_to_the_first_task_runs_again_with_the_same_keys(
    serve: Serve, world: World, task_queue: str
) -> None:
    """A completed run, reset to its first task: everything runs again, under the same idempotency keys."""
    world.switch("go-two")
    async with serve(*DEFINITIONS) as client:
        handle = await start(client, Pair, 1, id=new_id(), task_queue=task_queue)
        assert await handle.result() == 3
        again = await reset(client, handle, (await task_ends(handle))[0])
        assert await again.result() == 3
        assert (await again.describe()).status == WorkflowExecutionStatus.COMPLETED
    assert [call[0] for call in world.calls] == ["one", "begin two", "two"] * 2
    assert len({call[1] for call in world.calls}) == 2


async def test_reset_of_an_open_run_dispatches_the_open_step_anew(
    serve: Serve, world: World, task_queue: str
) -> None:
    """Step two is running when the run is reset to its last task: two runs again, same key; one doesn't."""
    async with serve(*DEFINITIONS) as client:
        handle = await start(client, Pair, 1, id=new_id(), task_queue=task_queue)
        await eventually(lambda: "begin two" in [call[0] for call in world.calls])
        again = await reset(client, handle, (await task_ends(handle))[-1])
        world.switch("go-two")
        assert await again.result() == 3
    names = [call[0] for call in world.calls]
    assert names.count("one") == 1 and names.count("begin two") == 2
    assert len({call[1] for call in world.calls if "two" in call[0]}) == 1


async def test_two_runs_of_one_id_have_different_keys(serve: Serve, world: World, task_queue: str) -> None:
    """The same workflow id started twice: the key of step one differs."""
    world.switch("go-two")
    id = new_id()
    async with serve(*DEFINITIONS) as client:
        for _ in range(2):
            assert await (await start(client, Pair, 1, id=id, task_queue=task_queue)).result() == 3
    assert len({call[1] for call in world.calls if call[0] == "one"}) == 2
