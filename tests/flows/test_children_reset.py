"""Child flows that were reset after their root had closed: `undo` of the root sees what their resets did and undid."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio import workflow

from activities import EmptyInput
from flows import Dag, Sequence, saga, start
from tests.conftest import Serve
from tests.support import World, causes, eventually, failure_of, new_id, reset
from tests.undoing import done, undo, undo_fails

with workflow.unsafe.imports_passed_through():
    from tests.sagas.operations import Given, patient, work


@saga(id="part", version="1.0.0")
def part(dag: Dag, params: EmptyInput) -> None:
    """a, b, c."""
    for name in "abc":
        dag.append(name, patient, {})


class Part(Sequence[EmptyInput, None], id="part-in-a-row", version="1.0.0"):
    """The same as a sequence."""

    async def run(self, input: EmptyInput) -> None:
        for name in "abc":
            await self.execute(patient, Given(), step=name, force=True)


@saga(id="mid", version="1.0.0")
def mid(dag: Dag, params: EmptyInput) -> None:
    """A step, then that as a child."""
    dag.append("m", work, {})
    dag.flow("deep", part, {})


def around(child: Any) -> Any:
    """Make a saga of a step and a child."""

    @saga(id="combo", version="1.0.0")
    def combo(dag: Dag, params: EmptyInput) -> None:
        """First a step, then a child."""
        dag.append("first", work, {})
        dag.flow("f", child, {})

    return combo


def between(child: Any) -> Any:
    """Make a saga of a child between two steps."""

    @saga(id="between", version="1.0.0")
    def combo(dag: Dag, params: EmptyInput) -> None:
        """First a step, then a child, then another step."""
        dag.append("first", work, {})
        dag.flow("f", child, {})
        dag.append("last", work, {})

    return combo


CHILDREN = pytest.mark.parametrize("child", [part, Part], ids=["saga", "sequence"])


def told(world: World, before: int) -> list[tuple[str, str]]:
    """Give what each undo was told, in order."""
    return [(c[0].removeprefix("undo "), c[1]) for c in world.calls[before:] if isinstance(c, tuple)]


@CHILDREN
async def test_what_a_reset_of_a_child_undid_is_not_undone_again(
    serve: Serve, world: World, task_queue: str, child: Any
) -> None:
    """docs/undo.md: reset, the child failed at c and undid c of the first run, b and a: `undo` of the root undoes the rest."""
    combo = around(child)
    async with serve(work, patient, child, combo) as client:
        root = await start(client, combo, EmptyInput(), id=new_id(), task_queue=task_queue)
        await root.result()
        world.switch("fail-c")
        again = await reset(client, client.get_workflow_handle(f"{root.id}/f"), 4)
        assert causes(await failure_of(again, 60))[0][0] == "RolledBack"
        assert told(world, 0) == [("c", "unknown"), ("b", "done"), ("a", "done")]
        before = len(world.calls)
        assert await undo(client, task_queue, root) == done("first", already=("f/c", "f/b", "f/a"))
        assert told(world, before) == [("first", "done")]
        result = await undo(client, task_queue, root)
    assert (result["undone"], sorted(result["already_undone"])) == ([], ["f/a", "f/b", "f/c", "first"])


@CHILDREN
async def test_what_a_reset_of_a_child_did_is_undone_once(
    serve: Serve, world: World, task_queue: str, child: Any
) -> None:
    """docs/undo.md: reset, the child completed again: each of its steps is undone once, and in its place."""
    combo = around(child)
    async with serve(work, patient, child, combo) as client:
        root = await start(client, combo, EmptyInput(), id=new_id(), task_queue=task_queue)
        await root.result()
        await (await reset(client, client.get_workflow_handle(f"{root.id}/f"), 4)).result()
        assert await undo(client, task_queue, root) == done("f/c", "f/b", "f/a", "first")
    assert told(world, 0) == [(name, "done") for name in ("f/c", "f/b", "f/a", "first")]


@pytest.mark.parametrize("event", [4, 11, -1], ids=["first task", "child's task", "last task"])
@CHILDREN
async def test_a_saga_that_was_reset_undoes_its_child_in_its_place(
    serve: Serve, world: World, task_queue: str, child: Any, event: int
) -> None:
    """docs/undo.md: both runs tell of the child; `undo` calls each undo once, newest first, and leaves nothing."""
    combo = between(child)
    async with serve(work, patient, child, combo) as client:
        root = await start(client, combo, EmptyInput(), id=new_id(), task_queue=task_queue)
        await root.result()
        history = await root.fetch_history()
        tasks = [e.event_id for e in history.events if e.HasField("workflow_task_completed_event_attributes")]
        to = tasks[-1] if event < 0 else min(tasks, key=lambda task: abs(task - event))
        await (await reset(client, client.get_workflow_handle(root.id), to)).result()
        before = len(world.calls)
        order = ("last", "f/c", "f/b", "f/a", "first")
        assert await undo(client, task_queue, root) == done(*order)
        assert told(world, before) == [(name, "done") for name in order]


@saga(id="outer", version="1.0.0")
def outer(dag: Dag, params: EmptyInput) -> None:
    """A step, then a child with a child of its own, then a step."""
    dag.append("first", work, {})
    dag.flow("mid", inner_first, {})
    dag.append("last", work, {})


@saga(id="inner-first", version="1.0.0")
def inner_first(dag: Dag, params: EmptyInput) -> None:
    """A step, then a child, then a step."""
    dag.append("m", work, {})
    dag.flow("deep", part, {})
    dag.append("n", patient, {})


async def test_a_child_that_is_reset_while_its_root_waits_is_undone_whole(
    serve: Serve, world: World, task_queue: str
) -> None:
    """docs/undo.md: such a reset is refused, and the root undoes what it left, its own child's steps too, newest first."""
    world.switch("hold-n")
    async with serve(work, patient, part, inner_first, outer) as client:
        root = await start(client, outer, EmptyInput(), id=new_id(), task_queue=task_queue)
        await world.until("n")
        mid = client.get_workflow_handle(f"{root.id}/mid")
        history = await mid.fetch_history()
        tasks = [e.event_id for e in history.events if e.HasField("workflow_task_completed_event_attributes")]
        await reset(client, mid, tasks[-1])
        world.switch("go-n")
        assert causes(await failure_of(root, 60))[0][0] == "RolledBack"
    names = ("mid/n", "mid/deep/c", "mid/deep/b", "mid/deep/a", "mid/m", "first")
    assert [name for name, _ in told(world, 0)] == [*names]


async def test_what_a_reset_of_a_child_did_that_had_left_nothing(
    serve: Serve, world: World, task_queue: str
) -> None:
    """The child failed before anything took effect; reset, it completed: `undo` of the root undoes that."""
    world.switch("fail-a")
    combo = around(part)
    async with serve(work, patient, part, combo) as client:
        root = await start(client, combo, EmptyInput(), id=new_id(), task_queue=task_queue)
        assert causes(await failure_of(root, 60))[0][0] == "RolledBack"
        world.switch("fail-a", on=False)
        before = len(world.calls)
        again = await reset(client, client.get_workflow_handle(f"{root.id}/f"), 4)
        await again.result()
        result = await undo(client, task_queue, root)
    assert result == done("f/c", "f/b", "f/a", already=("first",))
    assert told(world, before) == [(name, "done") for name in ("f/c", "f/b", "f/a")]


@CHILDREN
async def test_a_reset_of_a_child_that_is_open_is_named(
    serve: Serve, world: World, task_queue: str, child: Any
) -> None:
    """docs/undo.md: one that is open is named: let it end first; nothing is undone meanwhile."""
    combo = around(child)
    async with serve(work, patient, child, combo) as client:
        root = await start(client, combo, EmptyInput(), id=new_id(), task_queue=task_queue)
        await root.result()
        world.switch("hold-b")
        again = await reset(client, client.get_workflow_handle(f"{root.id}/f"), 4)
        await eventually(lambda: world.calls.count("b") == 2)
        kind, message = await undo_fails(client, task_queue, root)
        assert (kind, message) == (
            "InvalidInput",
            f"undo: run {again.run_id} of {again.id} is still open; let it end, or end it, first",
        )
        world.switch("go-b")
        await again.result()
    assert told(world, 0) == []


async def test_what_a_reset_of_a_childs_child_undid_is_not_undone_again(
    serve: Serve, world: World, task_queue: str
) -> None:
    """docs/undo.md: the child's own child was reset, failed and undid all it did: `undo` of the root undoes the rest."""
    combo = around(mid)
    async with serve(work, patient, part, mid, combo) as client:
        root = await start(client, combo, EmptyInput(), id=new_id(), task_queue=task_queue)
        await root.result()
        world.switch("fail-c")
        again = await reset(client, client.get_workflow_handle(f"{root.id}/f/deep"), 4)
        assert causes(await failure_of(again, 60))[0][0] == "RolledBack"
        result = await undo(client, task_queue, root)
    assert result == done("f/m", "first", already=("f/deep/c", "f/deep/b", "f/deep/a"))
    assert [name for name, _ in told(world, 0)] == ["c", "b", "a", "f/m", "first"]


async def test_a_childs_child_that_was_undone_alone_is_not_undone_again(
    serve: Serve, world: World, task_queue: str
) -> None:
    """docs/undo.md: the root left it in place, so it could be undone by itself: `undo` of the root then undoes the rest."""
    combo = around(mid)
    async with serve(work, patient, part, mid, combo) as client:
        root = await start(client, combo, EmptyInput(), id=new_id(), task_queue=task_queue)
        await root.result()
        deep = client.get_workflow_handle(f"{root.id}/f/deep")
        assert await undo(client, task_queue, deep) == done("c", "b", "a")
        result = await undo(client, task_queue, root)
    assert result == done("f/m", "first", already=("f/deep/c", "f/deep/b", "f/deep/a"))
    assert [name for name, _ in told(world, 0)] == ["c", "b", "a", "f/m", "first"]
