"""What a child flow left is its parent's, which decides of it by its own policy; what a child decided stands."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError

from activities import EmptyInput, Retry
from flows import Dag, Policy, Saga, Sequence, SequenceFailed, saga, start
from tests.conftest import Serve
from tests.sagas.operations import Given, work
from tests.support import World, causes, deleted, failure_of, new_id
from tests.undoing import done, undo

ALWAYS, NEVER, KEEP = (
    Policy(undo_failed_step="always"),
    Policy(undo_failed_step="never"),
    Policy(on_failure="keep"),
)


@saga(id="pair", version="1.0.0")
def pair(dag: Dag, params: EmptyInput) -> None:
    """a, c."""
    dag.append("a", work, {})
    dag.append("c", work, {})


@saga(id="keeping", version="1.0.0", policy=KEEP)
def keeping(dag: Dag, params: EmptyInput) -> None:
    """The same; kept."""
    pair.build(dag, params)


@saga(id="keeping-around", version="1.0.0", policy=KEEP)
def keeping_around(dag: Dag, params: EmptyInput) -> None:
    """b, then a child; kept."""
    dag.append("b", work, {})
    dag.flow("deep", pair, {})


class Always(Sequence[EmptyInput, None], id="always", version="1.0.0", policy=ALWAYS):
    """One step, which is undone if it failed too."""

    async def run(self, input: EmptyInput) -> None:
        """Run it."""
        await self.execute(work, Given(), step="c")


class Never(Sequence[EmptyInput, None], id="never", version="1.0.0", policy=NEVER):
    """One step, which is not undone if its outcome is unknown."""

    async def run(self, input: EmptyInput) -> None:
        """Run it."""
        await self.execute(work, Given(), step="c")


@saga(id="never-too", version="1.0.0", policy=NEVER)
def never_too(dag: Dag, params: EmptyInput) -> None:
    """The same as a saga."""
    dag.append("c", work, {})


def around(child: Any, policy: Policy = Policy()) -> Saga[EmptyInput, None]:
    """Make a saga of a step and a child."""

    @saga(id="around", version="1.0.0", policy=policy)
    def around(dag: Dag, params: EmptyInput) -> None:
        """First a step, then a child."""
        dag.append("first", work, {})
        dag.flow("kid", child, {})

    return around


def told(world: World) -> list[tuple[str, str]]:
    """Give what each undo was told, in order."""
    return [(call[0].removeprefix("undo "), call[1]) for call in world.calls if isinstance(call, tuple)]


async def test_the_parents_policy_decides_of_what_a_child_kept(
    serve: Serve, world: World, task_queue: str
) -> None:
    """Section 4: what `keep` left is the parent's: one that always undoes the failed step undoes that of the child."""
    world.switch("fail-c")
    parent = around(keeping, ALWAYS)
    async with serve(work, keeping, parent) as client:
        handle = await start(client, parent, EmptyInput(), id=new_id(), task_queue=task_queue)
        assert causes(await failure_of(handle, 60))[0][0] == "RolledBack"
    assert told(world) == [("kid/c", "failed"), ("kid/a", "done"), ("first", "done")]


async def test_a_child_that_keeps_beside_a_stuck_one(serve: Serve, world: World, task_queue: str) -> None:
    """Section 1: a child kept a step, and its own child is stuck: what was kept is undone, what is stuck is named."""
    for switch in ("fail-c", "fail-undo-a"):
        world.switch(switch)
    parent = around(keeping_around)
    async with serve(work, pair, keeping_around, parent) as client:
        handle = await start(client, parent, EmptyInput(), id=new_id(), task_queue=task_queue)
        kind, message = causes(await failure_of(handle, 60))[0]
    assert (kind, message.splitlines()[-1]) == (
        "Stuck",
        "not undone: kid/deep/a (work@1.0.0): RuntimeError: undo of a down",
    )
    assert "kid/b" not in message
    assert told(world)[-2:] == [("kid/b", "done"), ("first", "done")]


async def test_a_stuck_child_names_its_failed_step(serve: Serve, world: World, task_queue: str) -> None:
    """Section 1: a sequence tried to undo its failed step in vain: its parent says so, and `undo` tries it again."""
    for switch in ("fail-c", "fail-undo-c"):
        world.switch(switch)
    parent = around(Always)
    async with serve(work, Always, parent) as client:
        handle = await start(client, parent, EmptyInput(), id=new_id(), task_queue=task_queue)
        kind, message = causes(await failure_of(handle, 60))[0]
        assert (kind, message.splitlines()[-1]) == (
            "Stuck",
            "not undone: kid/c (work@1.0.0): RuntimeError: undo of c down",
        )
        world.switch("fail-undo-c", on=False)
        assert await undo(client, task_queue, handle) == done("kid/c", already=("first",))


async def test_undo_tries_again_what_a_stuck_sequence_tried(
    serve: Serve, world: World, task_queue: str
) -> None:
    """`undo` of a stuck sequence tries each undo that failed again, that of the failed step too."""
    for switch in ("fail-c", "fail-undo-c"):
        world.switch(switch)
    async with serve(work, Always) as client:
        handle = await start(client, Always, EmptyInput(), id=new_id(), task_queue=task_queue)
        assert causes(await failure_of(handle, 60))[0][0] == "Stuck"
        world.switch("fail-undo-c", on=False)
        assert await undo(client, task_queue, handle) == done("c")
    assert told(world)[-1] == ("c", "failed")


@pytest.mark.parametrize("child", [Never, never_too])
async def test_a_cancelled_childs_own_policy_decided(
    serve: Serve, world: World, task_queue: str, child: Any
) -> None:
    """Section 4: a cancelled child unwound by its own policy; its parent undoes nothing that it left on purpose."""
    world.switch("hold-c")
    parent = around(child)
    async with serve(work, child, parent) as client:
        handle = await start(client, parent, EmptyInput(), id=new_id(), task_queue=task_queue)
        await world.until("c")
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        world.switch("go-c")
    assert told(world) == [("first", "done")]


@saga(id="no-way-back", version="1.0.0")
def no_way_back(dag: Dag, params: EmptyInput) -> None:
    """One step, which is the pivot."""
    dag.append("p", work, {}, pivot=True)


class Passing(Sequence[EmptyInput, None], id="passing", version="1.0.0"):
    """A child that passes its pivot; then a step."""

    policy = Policy(hold_timeout=timedelta(milliseconds=10))

    async def run(self, input: EmptyInput) -> None:
        """Run both."""
        await self.execute(no_way_back, input, child=True)
        await self.execute(work, Given(), step="c")


@saga(id="around-passing", version="1.0.0", policy=Policy(hold_timeout=timedelta(milliseconds=10)))
def around_passing(dag: Dag, params: EmptyInput) -> None:
    """b, then that as a child."""
    dag.append("b", work, {})
    dag.flow("mid", Passing, {})


async def test_a_pivot_two_levels_deep(serve: Serve, world: World, task_queue: str) -> None:
    """Passed in a child's child, it is passed for all around it, also where the child failed: everything is kept."""
    world.switch("fail-c")
    async with serve(work, no_way_back, Passing, around_passing) as client:
        handle = await start(client, around_passing, EmptyInput(), id=new_id(), task_queue=task_queue)
        assert causes(await failure_of(handle, 60))[0][0] == "Kept"
    assert not any(isinstance(call, tuple) and call[0].startswith("undo") for call in world.calls)


async def test_a_cancel_after_a_pivot_two_levels_deep(serve: Serve, world: World, task_queue: str) -> None:
    """The cancelled child undid nothing, since a child of it had passed its pivot: what was before that is kept too."""
    world.switch("hold-c")
    async with serve(work, no_way_back, Passing, around_passing) as client:
        handle = await start(client, around_passing, EmptyInput(), id=new_id(), task_queue=task_queue)
        await world.until("c")
        await handle.cancel()
        world.switch("go-c")
        await failure_of(handle, 60)
    assert not any(isinstance(call, tuple) and call[0].startswith("undo") for call in world.calls)


@saga(id="no-way-back-failing", version="1.0.0", policy=Policy(hold_timeout=timedelta(milliseconds=10)))
def no_way_back_failing(dag: Dag, params: EmptyInput) -> None:
    """The pivot, then a step."""
    dag.append("p", work, {}, pivot=True)
    dag.append("q", work, {}, retry=Retry(max_attempts=2))


class Catching(Sequence[EmptyInput, None], id="catching", version="1.0.0"):
    """A step, a child that passes its pivot, and whose failure is caught; then a step."""

    policy = Policy(hold_timeout=timedelta(milliseconds=10))

    async def run(self, input: EmptyInput) -> None:
        """Run all."""
        await self.execute(work, Given(), step="a")
        with suppress(SequenceFailed):
            await self.execute(no_way_back_failing, input, child=True)
        await self.execute(work, Given(number=1), step="c")


@saga(id="around-catching", version="1.0.0", policy=Policy(hold_timeout=timedelta(milliseconds=10)))
def around_catching(dag: Dag, params: EmptyInput) -> None:
    """b, then that as a child."""
    dag.append("b", work, {})
    dag.flow("mid", Catching, {})


async def test_a_cancel_after_a_pivot_that_a_failed_child_passed(
    serve: Serve, world: World, task_queue: str
) -> None:
    """The pivot's flow had failed since: what its parent kept is kept by the root too, and left to `undo`."""
    for switch in ("fail-q", "hold-c"):
        world.switch(switch)
    async with serve(work, no_way_back_failing, Catching, around_catching) as client:
        handle = await start(client, around_catching, EmptyInput(), id=new_id(), task_queue=task_queue)
        await world.until("c")
        await handle.cancel()
        world.switch("go-c")
        await failure_of(handle, 60)
        assert not any(isinstance(call, tuple) and call[0].startswith("undo") for call in world.calls)
        assert await undo(client, task_queue, handle) == done(
            "mid/c", "mid/no-way-back-failing/p", "mid/a", "b"
        )


async def test_a_failed_child_whose_history_is_gone(serve: Serve, world: World, task_queue: str) -> None:
    """Its parent had read what it left: `undo` of the parent, long after, needs no more than the parent's history."""
    world.switch("fail-c")
    parent = around(keeping, KEEP)
    async with serve(work, keeping, parent) as client:
        handle = await start(client, parent, EmptyInput(), id=new_id(), task_queue=task_queue)
        assert causes(await failure_of(handle, 60))[0][0] == "Kept"
        await deleted(client, f"{handle.id}/kid")
        assert await undo(client, task_queue, handle) == done("kid/a", "first")
    assert told(world) == [("kid/a", "done"), ("first", "done")]
