"""Flows as child workflows: what they left is undone by the parent, in its place."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from tests.flows.running import Scripts, scripts
    from tests.flows.script import Inner, InnerKept, do
    from tests.support import World, causes

__all__ = ["scripts"]
NESTED = (do("a", 1), do("inner", calls=[do("b", 2)], child=True), do("c", 3))


async def test_the_parent_undoes_in_place_what_a_child_did(
    scripts: Scripts, world: World, cache: int
) -> None:
    """Section 4: a child completed, then a step fails: undone is the child's step, then what came before it."""
    world.switch("fail-c")
    async with scripts(Inner, cache=cache) as run:
        await run.fails(*NESTED)
    assert world.calls == [
        ("a", 1),
        ("b", 2),
        ("c", 3),
        ("undo b", 2, "done", 4),
        ("undo a", 1, "done", 2),
    ]


async def test_a_child_that_fails_unwinds_before_its_failure_arrives(scripts: Scripts, world: World) -> None:
    """Section 4: a child undoes its own steps; the parent sees its failure, and may go on."""
    world.switch("fail-c")
    inner = do("inner", calls=[do("b", 2), do("c", 4)], catch=True, child=True)
    async with scripts(Inner) as run:
        _, failed, _ = await run(do("a", 1), inner, do("a", 9))
    assert (failed["error"], failed["step"], failed["outcome"]) == ("SequenceFailed", "inner", "failed")
    assert failed["message"] == (
        "inner (inner@1.0.0) failed: inner@1.0.0 rolled back: step c (c@1.0.0) failed after 1 attempt: RuntimeError: c down"
    )
    assert world.calls == [("a", 1), ("b", 2), ("c", 4), ("undo b", 2, "done", 4), ("a", 9)]


async def test_what_a_child_kept_is_the_parents(scripts: Scripts, world: World, cache: int) -> None:
    """Section 4: a child that keeps on failure leaves its steps to the parent, which undoes them in place."""
    world.switch("fail-c")
    inner = do("inner-kept", calls=[do("b", 2), do("c", 4)], child=True)
    async with scripts(InnerKept, cache=cache) as run:
        await run.fails(do("a", 1), inner)
    assert world.calls == [
        ("a", 1),
        ("b", 2),
        ("c", 4),
        ("undo b", 2, "done", 4),
        ("undo a", 1, "done", 2),
    ]


async def test_a_child_that_is_stuck_makes_the_parent_stuck(scripts: Scripts, world: World) -> None:
    """Section 4: a step that a child couldn't undo is named by the parent, which undoes the rest."""
    world.switch("fail-c")
    world.switch("fail-undo-b")
    inner = do("inner", calls=[do("b", 2), do("c", 4)], child=True)
    async with scripts(Inner) as run:
        failure = await run.fails(do("a", 1), inner)
    assert causes(failure)[0] == (
        "Stuck",
        "script@1.0.0 is stuck: inner (inner@1.0.0) failed: inner@1.0.0 is stuck: "
        "step c (c@1.0.0) failed after 1 attempt: RuntimeError: c down\n"
        "not undone: b (b@1.0.0): RuntimeError: undo of b down\n"
        "not undone: inner/b (b@1.0.0): RuntimeError: undo of b down",
    )
    assert world.calls[-1] == ("undo a", 1, "done", 2)


async def test_equal_children_are_one(scripts: Scripts, world: World) -> None:
    """Section 4: an equal child that succeeded answers; `force` starts another under a name of its own."""
    inner = {"calls": [do("b", 2)], "child": True}
    async with scripts(Inner) as run:
        results = await run(do("inner", **inner), do("inner", **inner), do("inner", force=True, **inner))
    assert [(r["step"], r["output"][0]["output"]) for r in results] == [
        ("inner", 4),
        ("inner", 4),
        ("inner.2", 4),
    ]
    assert world.calls == [("b", 2), ("b", 2)]


async def test_children_in_children(scripts: Scripts, world: World, cache: int) -> None:
    """Section 4: a child of a child is undone in its place too, under one key in all."""
    world.switch("fail-c")
    deep = do("inner", calls=[do("a", 5), do("inner", calls=[do("b", 2)], child=True)], child=True)
    async with scripts(Inner, cache=cache) as run:
        await run.fails(do("a", 1), deep, do("c", 3))
    assert world.calls[4:] == [
        ("undo b", 2, "done", 4),
        ("undo a", 5, "done", 10),
        ("undo a", 1, "done", 2),
    ]


async def test_a_child_whose_steps_cannot_be_read_is_named(scripts: Scripts, world: World) -> None:
    """Section 1: a child is terminated while its own child is open: the parent says that it isn't undone."""
    world.switch("hold-c")
    deep = do("inner", calls=[do("b", 2), do("inner", calls=[do("c", 3)], child=True)], child=True)
    async with scripts(Inner) as run:
        handle = await run.start(do("a", 1), deep)
        await world.until("c", 3)
        await run.client.get_workflow_handle(f"{handle.id}/inner").terminate("test")
        failure = await run.failure(handle)
        world.switch("go-c")
    kind, message = causes(failure)[0]
    assert (kind, message.splitlines()[1]) == (
        "Stuck",
        "not undone: inner/* (inner@1.0.0): what it left can't be read: counterstep-read-child: "
        f"child {handle.id}/inner/inner is still open; let it end, or end it, first",
    )
    assert world.calls[3:4] == [("undo a", 1, "done", 2)]
