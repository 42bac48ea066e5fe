"""`undo` of closed sequences: what a run left in place is undone, newest first, told what it would have been told."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle

with workflow.unsafe.imports_passed_through():
    from tests.conftest import Serve
    from tests.flows.running import Scripts, scripts
    from tests.flows.script import Inner, do
    from tests.sample import a, b
    from tests.support import World, causes, events_of, failure_of, reset
    from tests.undoing import done, start_undo, undo, undo_fails

__all__ = ["scripts"]
UNDO_A, UNDO_B, UNDO_C = ("undo a", 3, "done", 6), ("undo b", 6, "done", 12), ("undo c", 1, "done", 2)
AB = (do("a", 3), do("b", 6))
TRIES = 3


async def _run_id(handle: WorkflowHandle[Any, Any]) -> str:
    return str((await handle.describe()).run_id)


async def test_a_completed_run_is_undone_newest_first(scripts: Scripts, world: World, cache: int) -> None:
    """Issue "undo of closed runs": a, b, c done, then undo → [c, b, a], each told `done` and its output."""
    async with scripts(cache=cache) as run:
        await run(*AB, do("c", 1))
        assert await undo(run.client, run.task_queue, run.last) == done("c", "b", "a")
    assert world.calls[3:] == [UNDO_C, UNDO_B, UNDO_A]


async def test_the_result_names_the_run(scripts: Scripts) -> None:
    """The result tells which run was undone; a bare workflow id as input is enough."""
    async with scripts() as run:
        await run(do("a", 3))
        handle = await start_undo(run.client, run.task_queue, run.last.id)
        result = await handle.result()
        assert (result["workflow_id"], result["run_id"]) == (run.last.id, await _run_id(run.last))


async def test_a_kept_run_is_undone(scripts: Scripts, world: World) -> None:
    """a, b! under keep: a is undone; b failed, so there is nothing to undo of it."""
    world.switch("fail-b")
    async with scripts(kept=True) as run:
        await run.fails(*AB)
        assert await undo(run.client, run.task_queue, run.last) == done("a")
    assert world.calls == [("a", 3), ("b", 6), UNDO_A]


async def test_a_stuck_run_is_repaired(scripts: Scripts, world: World) -> None:
    """b's undo failed when the run unwound: after the repair it is tried again, told the same; a's undo is not."""
    world.switch("fail-c")
    world.switch("fail-undo-b")
    async with scripts() as run:
        await run.fails(*AB, do("c", 1))
        world.switch("fail-undo-b", on=False)
        assert await undo(run.client, run.task_queue, run.last) == done("b", already=("a",))
    assert world.calls[3:] == [UNDO_B] * TRIES + [UNDO_A, UNDO_B]


async def test_a_rolled_back_run_needs_nothing(scripts: Scripts, world: World) -> None:
    """G11, G13: undo of a run that rolled back: success, 0 calls; twice the same."""
    world.switch("fail-b")
    async with scripts() as run:
        await run.fails(*AB)
        before = world.calls
        assert await undo(run.client, run.task_queue, run.last) == done(already=("a",))
        again = await undo(run.client, run.task_queue, run.last)
        assert again["undone"] == [] and again["already_undone"] == ["a"]
    assert world.calls == before == [("a", 3), ("b", 6), UNDO_A]


async def test_a_cancelled_run_needs_nothing(scripts: Scripts, world: World) -> None:
    """A cancelled run unwound: nothing is left."""
    world.switch("hold-b")
    async with scripts() as run:
        handle = await run.start(*AB)
        await world.until("b", 6)
        await handle.cancel()
        await failure_of(handle)
        result = await undo(run.client, run.task_queue, handle)
    assert result == done(already=("b", "a"))


async def test_a_terminated_run_is_undone(scripts: Scripts, world: World, cache: int) -> None:
    """Terminated while b ran: b is unknown, and undone so, without an output; then a."""
    world.switch("hold-b")
    async with scripts(cache=cache) as run:
        handle = await run.start(*AB)
        await world.until("b", 6)
        await handle.terminate()
        world.switch("go-b")
        assert await undo(run.client, run.task_queue, handle) == done("b", "a")
    assert world.calls[2:] == [("undo b", 6, "unknown", None), UNDO_A]


async def test_a_run_that_timed_out_is_undone(scripts: Scripts, world: World) -> None:
    """The execution timeout closed the run while b ran: [b unknown, a]."""
    world.switch("hold-b")
    async with scripts() as run:
        handle = await run.start(*AB, execution_timeout=timedelta(seconds=1))
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        assert (await handle.describe()).status == WorkflowExecutionStatus.TIMED_OUT
        world.switch("go-b")
        assert await undo(run.client, run.task_queue, handle) == done("b", "a")
    assert world.calls[2:] == [("undo b", 6, "unknown", None), UNDO_A]


async def test_a_missing_operation_is_named(
    serve: Serve, scripts: Scripts, world: World, task_queue: str
) -> None:
    """G45: undo where b isn't registered: c and a are undone, Stuck names b; with b registered, b is undone too."""
    async with scripts() as run:
        await run(*AB, do("c", 1))
        first = run.last
    from tests.sample import c

    async with serve(a, c) as client:
        kind, message = await undo_fails(client, task_queue, first)
    assert kind == "Stuck"
    assert message.split("\n")[0] == f"undo of {first.id} is stuck: 1 not undone"
    assert message.split("\n")[1].startswith("not undone: b (b@1.0.0): b@1.0.0 isn't registered")
    assert world.calls[3:] == [UNDO_C, UNDO_A]
    async with serve(a, b, c) as client:
        assert await undo(client, task_queue, first) == done("b", already=("c", "a"))


async def test_the_code_of_the_flow_is_not_needed(
    serve: Serve, scripts: Scripts, world: World, task_queue: str
) -> None:
    """The history is enough: no worker knows the sequence any more, its operations are registered."""
    async with scripts() as run:
        await run(*AB)
        first = run.last
    async with serve(a, b) as client:
        assert await undo(client, task_queue, first) == done("b", "a")
    assert world.calls[2:] == [UNDO_B, UNDO_A]


async def test_an_inner_flow_is_undone_in_its_place(scripts: Scripts, world: World) -> None:
    """Steps of an inline flow carry its name; they are undone between those around it."""
    async with scripts(Inner) as run:
        await run(do("a", 1), do("inner", calls=[do("b", 2), do("a", 5)]), do("c", 3))
        assert await undo(run.client, run.task_queue, run.last) == done("c", "inner/a", "inner/b", "a")
    assert [call[:2] for call in world.calls[4:]] == [
        ("undo c", 3),
        ("undo a", 5),
        ("undo b", 2),
        ("undo a", 1),
    ]


async def test_local_steps_are_undone(scripts: Scripts, world: World, cache: int) -> None:
    """Local steps stand in the history as markers: they are undone like the others, locally."""
    async with scripts(cache=cache) as run:
        await run(do("local-a", 1), do("b", 2), do("local-b", 3))
        assert await undo(run.client, run.task_queue, run.last) == done("local-b", "b", "local-a")
    assert world.calls[3:] == [
        ("undo local-b", 3, "done", 6), ("undo b", 2, "done", 4), ("undo local-a", 1, "done", 2),
    ]  # fmt: skip


async def test_what_the_run_took_over_is_undone(scripts: Scripts, world: World) -> None:
    """a was taken over from an earlier run, b run here: both are undone, newest first."""
    world.switch("fail-b")
    async with scripts(kept=True) as run:
        await run.fails(*AB)
        world.switch("fail-b", on=False)
        await run(*AB, resume=run.last.id)
        assert await undo(run.client, run.task_queue, run.last) == done("b", "a")
    assert world.calls[3:] == [UNDO_B, UNDO_A]


async def test_a_step_undone_by_hand_is_not_undone_again(scripts: Scripts, world: World) -> None:
    """The body undid a itself: undo takes b alone."""
    async with scripts() as run:
        await run(*AB, do("undo", "a"))
        assert await undo(run.client, run.task_queue, run.last) == done("b", already=("a",))
    assert world.calls[2:] == [UNDO_A, UNDO_B]


async def test_reset_of_an_undone_run_names_the_steps(scripts: Scripts, world: World) -> None:
    """Issue point 8: a completed run that undo undid, reset to each of its tasks: ResetAfterUndo, nothing is called."""
    async with scripts() as run:
        await run(*AB)
        first = run.client.get_workflow_handle(run.last.id, run_id=run.last.first_execution_run_id)
        await undo(run.client, run.task_queue, first)
        before, kinds = world.calls, await events_of(first)
        for event_id in [i for i, kind in enumerate(kinds, 1) if kind == "WORKFLOW_TASK_COMPLETED"]:
            failure = await failure_of(await reset(run.client, first, event_id))
            message = "this run was reset after b, a were undone; start a new run instead"
            assert causes(failure) == [("ResetAfterUndo", message)]
    assert world.calls == before


async def test_reset_after_a_stuck_undo_is_refused(scripts: Scripts, world: World) -> None:
    """Section 5: an undo that failed has undone b: a reset run must not count it as done."""
    world.switch("fail-undo-a")
    async with scripts() as run:
        await run(*AB)
        first = run.last
        await undo_fails(run.client, run.task_queue, first)
        kinds = await events_of(first)
        failure = await failure_of(await reset(run.client, first, kinds.index("WORKFLOW_TASK_COMPLETED") + 1))
    assert causes(failure)[0][1] == "this run was reset after b, a were undone; start a new run instead"


async def test_every_reset_of_a_run_is_undone(scripts: Scripts, world: World) -> None:
    """Run A did a, b, c; its reset B went another way and kept a: undo takes what A and B left, each once."""
    async with scripts(kept=True) as run:
        await run(*AB, do("c", 1))
        first, kinds = run.last, await events_of(run.last)
        ends = [i for i, kind in enumerate(kinds, 1) if kind == "WORKFLOW_TASK_COMPLETED"]
        world.switch("fail-b")
        await failure_of(await reset(run.client, first, ends[1]))
        before = world.calls
        assert await undo(run.client, run.task_queue, {"workflow_id": first.id}) == done("c", "b", "a")
    assert world.calls[len(before) :] == [UNDO_C, ("undo b", 6, "unknown", None), UNDO_A]


async def test_a_refused_reset_leaves_nothing_to_undo(scripts: Scripts, world: World) -> None:
    """A rolled-back run was reset and ended with ResetAfterUndo: its history says done, but nothing is there."""
    world.switch("fail-b")
    async with scripts() as run:
        await run.fails(*AB)
        kinds = await events_of(run.last)
        ends = [i for i, kind in enumerate(kinds, 1) if kind == "WORKFLOW_TASK_COMPLETED"]
        await failure_of(await reset(run.client, run.last, ends[1]))
        before = world.calls
        assert await undo(run.client, run.task_queue, {"workflow_id": run.last.id}) == done(already=("a",))
    assert world.calls == before
