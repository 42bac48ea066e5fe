"""Child flows of closed runs: `undo`, `resume_from` and reset see them in their place, and look at their root."""

from __future__ import annotations

from typing import Any

from temporalio import workflow
from temporalio.client import WorkflowHandle

with workflow.unsafe.imports_passed_through():
    from tests.flows.running import Runner, Scripts, outputs, scripts
    from tests.flows.script import Inner, InnerKept, do
    from tests.script_operations import keys
    from tests.support import World, causes, eventually, failure_of, reset
    from tests.undoing import claim_of, done, undo, undo_fails

__all__ = ["scripts"]
UNDO_A, UNDO_B, UNDO_C = ("undo a", 1, "done", 2), ("undo b", 2, "done", 4), ("undo c", 3, "done", 6)
INNER = do("inner", calls=[do("b", 2)], child=True)
NESTED = (do("a", 1), INNER, do("c", 3))


def child_of(run: Runner, name: str = "inner") -> WorkflowHandle[Any, Any]:
    """Give the child of the newest run."""
    return run.client.get_workflow_handle(f"{run.last.id}/{name}")


async def test_undo_undoes_children_in_their_place(scripts: Scripts, world: World, cache: int) -> None:
    """Issue "undo of closed runs": c, then what the child handed over, then a; again is a no-op."""
    async with scripts(Inner, cache=cache) as run:
        await run(*NESTED)
        assert await undo(run.client, run.task_queue, run.last) == done("c", "inner/b", "a")
        again = await undo(run.client, run.task_queue, run.last)
    assert (again["undone"], again["already_undone"]) == ([], ["c", "inner/b", "a"])
    assert world.calls[3:] == [UNDO_C, UNDO_B, UNDO_A]


async def test_undo_reads_what_a_child_kept_from_its_history(scripts: Scripts, world: World) -> None:
    """A child that failed and kept its steps, in a run that kept its own: all of it is undone."""
    world.switch("fail-c")
    inner = do("inner-kept", calls=[do("b", 2), do("c", 4)], child=True)
    async with scripts(InnerKept, kept=True) as run:
        await run.fails(do("a", 1), inner)
        assert await undo(run.client, run.task_queue, run.last) == done("inner-kept/b", "a")
    assert world.calls[3:] == [UNDO_B, UNDO_A]


async def test_undo_of_a_child_looks_at_its_root(scripts: Scripts, world: World) -> None:
    """Section 5: a child whose root is open, or has undone it, is refused with the root's id."""
    world.switch("hold-c")
    async with scripts(Inner) as run:
        handle = await run.start(*NESTED)
        await world.until("c", 3)
        child = child_of(run)
        run_id = (await child.describe()).run_id
        name = f"undo: run {run_id} of {child.id}, a part of {handle.id},"
        assert await undo_fails(run.client, run.task_queue, child) == (
            "InvalidInput",
            f"{name} can't be: {handle.id} is still open; let it end, or end it, first",
        )
        world.switch("fail-c")
        world.switch("go-c")
        await run.failure(handle)
        assert await undo_fails(run.client, run.task_queue, child) == (
            "InvalidInput",
            f"{name} was undone by {handle.id} (inner/b); start a new run instead",
        )
    assert world.calls[3:] == [UNDO_B, UNDO_A]


async def test_a_child_is_undone_alone_where_its_root_left_it(scripts: Scripts, world: World) -> None:
    """Section 5: once by its own `undo`; the root's `undo` then knows, and one of the child names the owner."""
    async with scripts(Inner) as run:
        await run(*NESTED)
        assert await undo(run.client, run.task_queue, child_of(run)) == done("b")
        assert await undo(run.client, run.task_queue, run.last) == done("c", "a", already=("inner/b",))
        kind, message = await undo_fails(run.client, run.task_queue, child_of(run))
        assert kind == "InvalidInput" and f"a part of {run.last.id}, is undone by workflow" in message
        assert await claim_of(run.last)
    assert world.calls[3:] == [UNDO_B, UNDO_C, UNDO_A]


async def test_a_resumed_run_is_answered_by_its_child(scripts: Scripts, world: World, cache: int) -> None:
    """Section 4: a child that succeeded in the earlier run answers, and is undone in the new run's place."""
    world.switch("fail-c")
    async with scripts(Inner, kept=True, cache=cache) as run:
        await run.fails(*NESTED)
        world.switch("fail-c", on=False)
        results = await run(*NESTED, resume=run.last.id)
        assert [r["output"] for r in results[::2]] == [2, 6] and outputs(results[1]["output"]) == [4]
        assert await undo(run.client, run.task_queue, run.last) == done("c", "inner/b", "a")
    assert world.calls[2:] == [("c", 3), ("c", 3), UNDO_C, UNDO_B, UNDO_A]


async def test_a_kept_child_goes_on_from_where_it_was(scripts: Scripts, world: World) -> None:
    """Section 4: what failed in a child runs again under its old key; what succeeded there answers."""
    world.switch("fail-count-1")
    inner = do("inner-kept", calls=[do("b", 2), do("count", 4)], child=True)
    async with scripts(InnerKept, kept=True) as run:
        await run.fails(do("a", 1), inner)
        results = await run(do("a", 1), inner, resume=run.last.id)
        assert outputs(results[1]["output"]) == [4, 2]
        assert await undo(run.client, run.task_queue, run.last) == done(
            "inner-kept/count", "inner-kept/b", "a"
        )
    assert world.calls[:4] == [("a", 1), ("b", 2), ("count", 4), ("count", 4)]
    first, second = keys(world, "count")
    assert first == second == keys(world, "undo count")[0]


async def test_reset_sees_what_was_undone_in_a_child(scripts: Scripts, world: World) -> None:
    """Section 5: a run is reset after its child's steps were undone: it ends before it schedules anything."""
    async with scripts(Inner) as run:
        await run(*NESTED)
        await undo(run.client, run.task_queue, child_of(run))
        again = await reset(run.client, run.last, 4)
        failure = await failure_of(again, 60)
    assert causes(failure)[0] == (
        "ResetAfterUndo",
        "this run was reset after inner/b was undone; start a new run instead",
    )
    assert world.calls[3:] == [UNDO_B]


async def test_reset_of_a_child_looks_at_its_root(scripts: Scripts, world: World) -> None:
    """Section 5: a child that its root undid is reset: it ends, naming the root."""
    world.switch("fail-c")
    async with scripts(Inner) as run:
        await run.fails(*NESTED)
        child = child_of(run)
        failure = await failure_of(await reset(run.client, child, 4), 60)
    kind, message = causes(failure)[0]
    assert kind == "ResetAfterUndo"
    assert message.endswith(
        f"a part of {run.last.id}, was undone by {run.last.id} (inner/b); start a new run instead"
    )
    assert world.calls[3:] == [UNDO_B, UNDO_A]


async def test_a_terminated_parent_has_its_child_unwind(scripts: Scripts, world: World) -> None:
    """Section 4: the child is asked to cancel, and unwinds; `undo` of the parent then undoes the rest."""
    world.switch("hold-c")
    inner = do("inner", calls=[do("b", 2), do("c", 3)], child=True)
    async with scripts(Inner) as run:
        handle = await run.start(do("a", 1), inner)
        await world.until("c", 3)
        await handle.terminate("test")
        kind, message = await undo_fails(run.client, run.task_queue, handle)
        assert (kind, message) == (
            "InvalidInput",
            f"undo: child {handle.id}/inner is still open; let it end, or end it, first",
        )
        world.switch("go-c")
        await eventually(lambda: UNDO_B in world.calls)
        await failure_of(child_of(run), 60)
        assert await undo(run.client, run.task_queue, handle) == done("a", already=("inner/c", "inner/b"))
    assert world.calls[3:] == [UNDO_C, UNDO_B, UNDO_A]
