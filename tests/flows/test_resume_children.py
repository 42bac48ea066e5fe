"""Going on from an earlier run that had children: only plain sequences go on; of others nothing is done twice, or lost."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError

from activities import EmptyInput
from counterstep.reports import fetch_report
from flows import Dag, LongRunning, Policy, Sequence, saga, start
from tests.conftest import Serve
from tests.reports.making import tree
from tests.sagas.operations import Given, work
from tests.sagas.test_running import forward, undone
from tests.support import World, causes, events_of, failure_of, new_id
from tests.undoing import done, undo

KEEP = Policy(on_failure="keep")


@saga(id="kid", version="1.0.0", policy=KEEP)
def kid(dag: Dag, params: EmptyInput) -> None:
    """Two steps, kept on failure."""
    dag.append("k1", work, {})
    dag.append("k2", work, {})


@saga(id="undoing-kid", version="1.0.0")
def undoing_kid(dag: Dag, params: EmptyInput) -> None:
    """The same, undone on failure."""
    kid.build(dag, params)


class Long(LongRunning[EmptyInput, None, int, None], id="long", version="1.0.0", policy=KEEP):
    """The same as a long-running operation."""

    async def run(self, input: EmptyInput) -> None:
        for name in ("k1", "k2"):
            await self.execute(work, Given(), step=name, force=True)


class Between(Sequence[EmptyInput, None], id="between", version="1.0.0", policy=KEEP):
    """A step, then the saga as a child."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(work, Given(), step="b")
        await self.execute(kid, input, child=True)


class Numbered(Sequence[EmptyInput, int], id="typed", version="1.0.0"):
    """A step, as a child; gives a number."""

    async def run(self, input: EmptyInput) -> int:
        return (await self.execute(work, Given(number=7), step="t")).output.id


class Named(Sequence[EmptyInput, list[str]], id="typed", version="1.0.0"):
    """The same version, edited: gives names."""

    async def run(self, input: EmptyInput) -> list[str]:
        return [(await self.execute(work, Given(number=7), step="t")).output.name]


class Plain(Sequence[EmptyInput, None], id="plain", version="1.0.0", policy=KEEP):
    """The saga's steps as a sequence, which can go on."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(work, Given(), step="k1")
        await self.execute(work, Given(number=1), step="k2")


class Broken(Sequence[EmptyInput, None], id="plain", version="1.0.0"):
    """The same, where it can't begin."""

    def __init__(self) -> None:
        raise RuntimeError("not today")

    async def run(self, input: EmptyInput) -> None:
        await Plain._body(self, input)


CHILDREN: dict[str, Any] = {
    "plain": Plain,
    "kid": kid,
    "undoing-kid": undoing_kid,
    "long": Long,
    "between": Between,
}


class Parent(Sequence[str, None], id="parent", version="1.0.0", policy=KEEP):
    """A step, a child, a step; all is kept on failure."""

    async def run(self, input: str) -> None:
        await self.execute(work, Given(), step="a")
        await self.execute(CHILDREN[input], EmptyInput(), child=True)
        await self.execute(work, Given(number=1), step="z")


class Unwinds(Sequence[str, None], id="parent", version="1.0.0"):
    """The same, undone on failure."""

    async def run(self, input: str) -> None:
        await Parent._body(self, input)


class AroundNumbered(Sequence[EmptyInput, None], id="around", version="1.0.0", policy=KEEP):
    """The child that gives a number, then a step; kept on failure."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(Numbered, input, child=True)
        await self.execute(work, Given(), step="z")


class AroundNamed(Sequence[EmptyInput, None], id="around", version="1.0.0"):
    """The same with the edited child, undone on failure."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(Named, input, child=True)
        await self.execute(work, Given(), step="z")


async def run(
    client: Client, task_queue: str, flow: Any, input: Any, before: WorkflowHandle[Any, Any] | None = None
) -> WorkflowHandle[Any, Any]:
    """Start a run, that goes on from another one if that is given."""
    memo = {"resume_from": before.id} if before else None
    return await start(client, flow, input, id=new_id(), task_queue=task_queue, memo=memo)


async def refused(handle: WorkflowHandle[Any, Any], message: str) -> None:
    """Make sure that a run ended before it called anything."""
    assert causes(await failure_of(handle, 60)) == [("InvalidInput", message)]
    assert "ACTIVITY_TASK_SCHEDULED" not in await events_of(handle)


async def test_a_child_that_cannot_go_on(serve: Serve, world: World, task_queue: str) -> None:
    """A child saga, or a long-running child, kept a step: the run is refused before it takes anything over; `undo` undoes all."""
    world.switch("fail-k2")
    async with serve(work, kid, Long, Parent) as client:
        for name in ("kid", "long"):
            first = await run(client, task_queue, Parent, name)
            await failure_of(first, 60)
            calls = len(world.calls)
            left = (
                f"resume_from: child {name} ({name}@1.0.0) of {first.id} failed and left something, and only"
            )
            await refused(
                await run(client, task_queue, Parent, name, first),
                f"{left} a plain sequence can go on from where it was; undo {first.id}, and start without resume_from",
            )
            assert len(world.calls) == calls
            assert await undo(client, task_queue, first) == done(f"{name}/k1", "a")
    assert forward(world) == ["a", "k1", "k2"] * 2


async def test_a_child_that_undid_itself_runs_anew(serve: Serve, world: World, task_queue: str) -> None:
    """A child saga rolled back there: resumed, it runs again, and is undone once, where the parent is."""
    world.switch("fail-k2")
    async with serve(work, undoing_kid, Parent) as client:
        first = await run(client, task_queue, Parent, "undoing-kid")
        await failure_of(first, 60)
        world.switch("fail-k2", on=False)
        again = await run(client, task_queue, Parent, "undoing-kid", first)
        await asyncio.wait_for(again.result(), 60)
        assert await undo(client, task_queue, again) == done("z", "undoing-kid/k2", "undoing-kid/k1", "a")
        assert tree(await fetch_report(client, again.id)) == [
            ("", "flow", "done"),
            ("a", "operation", "done", "undo done", "earlier"),
            ("undoing-kid", "child", "done"),
            ("k1", "operation", "done", "undo done"),
            ("k2", "operation", "done", "undo done"),
            ("z", "operation", "done", "undo done"),
        ]
    assert forward(world) == ["a", "k1", "k2", "k1", "k2", "z"]
    assert undone(world) == ["k1", "z", "undoing-kid/k2", "undoing-kid/k1", "a"]


async def test_a_child_saga_that_completed_answers(serve: Serve, world: World, task_queue: str) -> None:
    """It isn't run again, and is undone with the new run."""
    world.switch("fail-z")
    async with serve(work, kid, Parent) as client:
        first = await run(client, task_queue, Parent, "kid")
        await failure_of(first, 60)
        world.switch("fail-z", on=False)
        again = await run(client, task_queue, Parent, "kid", first)
        await asyncio.wait_for(again.result(), 60)
        assert await undo(client, task_queue, again) == done("z", "kid/k2", "kid/k1", "a")
        assert tree(await fetch_report(client, again.id)) == [
            ("", "flow", "done"),
            ("a", "operation", "done", "undo done", "earlier"),
            ("kid", "child", "done", "earlier"),
            ("kid/k1", "operation", "done", "undo done", "earlier"),
            ("kid/k2", "operation", "done", "undo done", "earlier"),
            ("z", "operation", "done", "undo done"),
        ]
    assert forward(world) == ["a", "k1", "k2", "z", "z"]


async def test_what_a_refused_child_would_have_taken_over_stays(
    serve: Serve, world: World, task_queue: str
) -> None:
    """A child sequence can't go on, for the sake of its own child: what both left is undone by the new run."""
    world.switch("fail-k2")
    async with serve(work, kid, Between, Parent) as client:
        first = await run(client, task_queue, Parent, "between")
        await failure_of(first, 60)
    async with serve(work, kid, Between, Unwinds) as client:
        again = await run(client, task_queue, Unwinds, "between", first)
        found = causes(await failure_of(again, 60))
        assert tree(await fetch_report(client, again.id)) == [
            ("", "flow", "failed"),
            ("a", "operation", "done", "undo done", "earlier"),
            ("between", "child", "failed"),
            ("between/b", "operation", "done", "undo done", "earlier"),
            ("between/kid", "subsaga", "failed"),
            ("between/kid/k1", "operation", "done", "undo done", "earlier"),
            ("between/kid/k2", "operation", "failed", "earlier"),
        ]
    assert [kind for kind, _ in found] == ["RolledBack", "SequenceFailed", "InvalidInput"]
    assert f"child kid (kid@1.0.0) of {first.id}/between failed and left something" in found[2][1]
    assert forward(world) == ["a", "b", "k1", "k2"]
    assert undone(world) == ["between/kid/k1", "between/b", "a"]


async def test_what_a_child_would_have_taken_over_that_never_began_stays(
    serve: Serve, world: World, task_queue: str
) -> None:
    """A child that goes on is terminated before its first task: what an earlier one left is undone by its parent."""
    world.switch("fail-k2")
    async with serve(work, Plain, Parent) as client:
        first = await run(client, task_queue, Parent, "plain")
        await failure_of(first, 60)
    async with serve(work, Broken, Unwinds) as client:
        again = await run(client, task_queue, Unwinds, "plain", first)
        child = client.get_workflow_handle(f"{again.id}/plain")
        while True:
            with suppress(RPCError):  # it isn't there yet
                await child.terminate()
                break
        kind, message = causes(await failure_of(again, 60))[0]
        assert (kind, message) == (
            "RolledBack",
            "parent@1.0.0 rolled back: plain (plain@1.0.0) failed: Terminated",
        )
    assert forward(world) == ["a", "k1", "k2"]
    assert undone(world) == ["plain/k1", "a"]


async def test_a_child_whose_answer_fits_no_more(serve: Serve, world: World, task_queue: str) -> None:
    """The child completed there, and its output isn't of its type any more: it runs anew, and both are undone."""
    world.switch("fail-z")
    async with serve(work, Numbered, AroundNumbered) as client:
        first = await run(client, task_queue, AroundNumbered, EmptyInput())
        await failure_of(first, 60)
    async with serve(work, Named, AroundNamed) as client:
        again = await run(client, task_queue, AroundNamed, EmptyInput(), first)
        assert causes(await failure_of(again, 60))[0][0] == "RolledBack"
        assert tree(await fetch_report(client, again.id)) == [
            ("", "flow", "failed"),
            ("typed", "child", "done"),
            ("typed/t", "operation", "done", "undo done", "earlier"),
            ("t", "operation", "done", "undo done"),
            ("z", "operation", "failed"),
        ]
    assert forward(world) == ["t", "z", "t", "z"]
    assert undone(world) == ["typed~2/t", "typed/t"]


async def test_a_saga_goes_on_from_nothing(serve: Serve, world: World, task_queue: str) -> None:
    """A saga started with the memo would do everything again: it is refused, by whichever name it was started."""
    async with serve(work, kid) as client:
        for name in ("kid@1.0.0", "kid@^1", "kid"):
            handle = await start(
                client, name, {}, id=new_id(), task_queue=task_queue, memo={"resume_from": "first"}
            )
            await refused(
                handle,
                f"memo resume_from: {name} runs a plan, and a plan can't go on from another run; "
                "start without it, once undo of first has undone what is left there",
            )
            assert (await handle.query("status"))["state"] == "refused"
    assert world.calls == []
