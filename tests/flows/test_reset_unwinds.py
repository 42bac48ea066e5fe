"""A reset run that unwinds undoes what the runs before it did beyond the reset point, too."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.client import Client, WorkflowHandle

from activities import Context, EmptyInput, Outcome, operation
from flows import Dag, OperationFailed, Sequence, saga, start
from tests.conftest import Serve
from tests.flows.test_reset_updates import tasks_of
from tests.sample import FAST
from tests.support import World, causes, failure_of, new_id, reset
from tests.undoing import undo


async def act(ctx: Context[World], input: EmptyInput) -> str:
    """Record it; fail where a switch says so."""
    if ctx.deps.is_on(f"fail-{ctx.step}"):
        raise RuntimeError("down")
    ctx.deps.record(ctx.step)
    return ctx.step


async def back(ctx: Context[World], input: EmptyInput, outcome: Outcome[str]) -> None:
    """Record it, and how the step ended."""
    ctx.deps.record(f"undo {ctx.step}", outcome.status.value)


async def act_by_number(ctx: Context[World], input: int) -> str:
    return await act(ctx, EmptyInput())


async def back_by_number(ctx: Context[World], input: int, outcome: Outcome[str]) -> None:
    await back(ctx, EmptyInput(), outcome)


far = operation(id="far", version="1.0.0")(act)
far.undo(retry=FAST)(back)
near = operation(id="near", version="1.0.0", placement="local")(act)
near.undo(retry=FAST)(back)
by_number = operation(id="by-number", version="1.0.0")(act_by_number)
by_number.undo(retry=FAST)(back_by_number)
STEPS = {"a": far, "b": near, "c": far, "d": far}


class Line(Sequence[EmptyInput, None], id="line", version="1.0.0"):
    """Four steps."""

    async def run(self, input: EmptyInput) -> None:
        for name, op in STEPS.items():
            await self.execute(op, input, step=name, force=True)


class ByHand(Sequence[EmptyInput, None], id="by-hand", version="1.0.0"):
    """Undoes its first step itself where the second one fails."""

    async def run(self, input: EmptyInput) -> None:
        first = await self.execute(far, input, step="a")
        try:
            await self.execute(far, input, step="b", force=True)
        except OperationFailed:
            await self.undo(first)
        await self.execute(far, input, step="c", force=True)


@saga(id="planned", version="1.0.0")
def planned(dag: Dag, params: EmptyInput) -> None:
    """The same as a plan."""
    for name, op in STEPS.items():
        dag.append(name, op, {})


@saga(id="pivoted", version="1.0.0")
def pivoted(dag: Dag, params: EmptyInput) -> None:
    """One step is the pivot."""
    dag.append("a", far, {})
    dag.append("p", far, {}, pivot=True)


class Kid(Sequence[EmptyInput, None], id="kid", version="1.0.0"):
    """Two steps."""

    async def run(self, input: EmptyInput) -> None:
        for name in "xy":
            await self.execute(far, input, step=name, force=True)


class Parent(Sequence[EmptyInput, None], id="parent", version="1.0.0"):
    """A step before a child, and one after it."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(far, input, step="a")
        await self.execute(Kid, input, child=True)
        await self.execute(far, input, step="z", force=True)


class Grandparent(Sequence[EmptyInput, None], id="grandparent", version="1.0.0"):
    """The same as a child."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(Parent, input, child=True)


class Resumed(Sequence[int, None], id="resumed", version="1.0.0"):
    """Two steps, by a number."""

    async def run(self, input: int) -> None:
        for name in "st":
            await self.execute(by_number, input, step=f"{name}{input}", force=True)


async def ended(client: Client, flow: Any, task_queue: str) -> WorkflowHandle[Any, Any]:
    """Run a flow to its end."""
    handle = await start(client, flow, EmptyInput(), id=new_id(), task_queue=task_queue)
    await handle.result()
    return handle


async def reset_to(client: Client, handle: WorkflowHandle[Any, Any], task: int) -> list[tuple[str, str]]:
    """Reset a run to one of its tasks; give how the new one ends."""
    again = await reset(client, handle, (await tasks_of(handle))[task])
    return causes(await failure_of(again, 60))


@pytest.mark.parametrize("flow", [Line, planned])
async def test_what_was_done_beyond_the_reset_point(
    serve: Serve, world: World, task_queue: str, cache: int, flow: Any
) -> None:
    """Completed, reset to its first task, and failed at its first step: all that was done before is undone, the newest first."""
    async with serve(far, near, Line, planned, cache=cache) as client:
        handle = await ended(client, flow, task_queue)
        world.switch("fail-a")
        assert (await reset_to(client, handle, 0))[0][0] == "RolledBack"
        undone = [("undo d", "done"), ("undo c", "done"), ("undo b", "done"), ("undo a", "unknown")]
        assert world.calls == ["a", "b", "c", "d", *undone]
        await undo(client, task_queue, handle)
    assert len(world.calls) == 8


@pytest.mark.parametrize("flow", [Line, planned])
async def test_what_was_done_again(
    serve: Serve, world: World, task_queue: str, cache: int, flow: Any
) -> None:
    """Reset to its last task but one, a step fails that had taken effect: it is unknown, and undone before the others."""
    async with serve(far, near, Line, planned, cache=cache) as client:
        handle = await ended(client, flow, task_queue)
        world.switch("fail-d")
        assert (await reset_to(client, handle, -2))[0][0] == "RolledBack"
    assert world.calls[4:] == [
        ("undo d", "unknown"), ("undo c", "done"), ("undo b", "done"), ("undo a", "done"),
    ]  # fmt: skip


async def test_what_is_undone_by_hand_stays_so(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """What the reset run has undone itself isn't undone again, though the run before had kept it."""
    async with serve(far, near, ByHand, cache=cache) as client:
        handle = await ended(client, ByHand, task_queue)
        for step in ("b", "c"):
            world.switch(f"fail-{step}")
        assert (await reset_to(client, handle, 0))[0][0] == "RolledBack"
    assert world.calls[3:] == ["a", ("undo a", "done"), ("undo c", "unknown"), ("undo b", "unknown")]


async def test_what_comes_after_a_pivot_is_named(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """Where the run before had passed its pivot, there is no way back: what it left is named as not undone."""
    async with serve(far, pivoted, cache=cache) as client:
        handle = await ended(client, pivoted, task_queue)
        world.switch("fail-a")
        (kind, message), *_ = await reset_to(client, handle, 0)
    assert kind == "Stuck", message
    assert "not undone: p (far@1.0.0): done before the reset" in message


@pytest.mark.parametrize(("flow", "path"), [(Parent, ""), (Grandparent, "parent/")])
async def test_what_a_child_of_the_reset_run_undid(
    serve: Serve, world: World, task_queue: str, cache: int, flow: Any, path: str
) -> None:
    """A child that the reset run starts again fails, and undoes itself: what it undid isn't undone again, the rest is."""
    async with serve(far, Kid, Parent, Grandparent, cache=cache) as client:
        handle = await ended(client, flow, task_queue)
        world.switch("fail-y")
        assert (await reset_to(client, handle, 0))[0][0] == "RolledBack"
    undone = sorted(call[0] for call in world.calls if isinstance(call, tuple))
    if not path:
        assert undone == ["undo a", "undo kid/y", "undo x", "undo z"]
    else:
        assert len(undone) == len(set(undone)) == 4


async def test_what_was_taken_over_before_the_reset(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """What the run had taken over from an earlier one and never called is undone once, with the rest."""
    async with serve(by_number, Resumed, cache=cache) as client:
        first = await start(client, Resumed, 1, id=new_id(), task_queue=task_queue)
        await first.result()
        memo = {"resume_from": first.id}
        handle = await start(client, Resumed, 2, id=new_id(), task_queue=task_queue, memo=memo)
        await handle.result()
        world.switch("fail-t2")
        assert (await reset_to(client, handle, -2))[0][0] == "RolledBack"
    undone = [("undo t2", "unknown"), ("undo s2", "done"), ("undo t1", "done"), ("undo s1", "done")]
    assert world.calls == ["s1", "t1", "s2", "t2", *undone]
