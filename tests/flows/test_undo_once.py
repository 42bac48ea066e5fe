"""`undo` owns a run: twice, two at once, against `resume_from`, what it refuses, and what may be tried again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHandle

with workflow.unsafe.imports_passed_through():
    from tests.flows.running import Scripts, outputs, scripts
    from tests.flows.script import do
    from tests.support import World, causes, failure_of
    from tests.undoing import claim_of, done, start_undo, undo, undo_fails

__all__ = ["scripts"]
UNDO_A, UNDO_B, UNDO_C = ("undo a", 3, "done", 6), ("undo b", 6, "done", 12), ("undo c", 1, "done", 2)
AB = (do("a", 3), do("b", 6))
TRIES = 3


async def _run_id(handle: WorkflowHandle[Any, Any]) -> str:
    return str((await handle.describe()).run_id)


async def test_again_is_a_no_op_that_says_so(scripts: Scripts, world: World) -> None:
    """The second undo succeeds, calls nothing, and names who did it and what."""
    async with scripts() as run:
        await run(*AB)
        first = await start_undo(run.client, run.task_queue, run.last)
        await first.result()
        again = await undo(run.client, run.task_queue, run.last)
    assert again == done(already=("b", "a"), by=first.id)
    assert world.calls[2:] == [UNDO_B, UNDO_A]


async def test_two_at_once_do_it_once(scripts: Scripts, world: World, cache: int) -> None:
    """Issue point 13: two undos at the same time: one works, the other waits for it; each undo is called once."""
    world.switch("hold-undo-b")
    async with scripts(cache=cache) as run:
        await run(*AB)
        first = await start_undo(run.client, run.task_queue, run.last)
        await world.until(*UNDO_B)
        second = await start_undo(run.client, run.task_queue, run.last)
        while (await second.query("status"))["state"] != "waiting for another undo of it":
            await asyncio.sleep(0.02)
        world.switch("go-undo-b")
        assert (await first.result())["undone"] == ["b", "a"]
        result = await second.result()
    assert (result["undone"], result["already_undone"], result["undone_by"]) == ([], ["b", "a"], first.id)
    assert world.calls[2:] == [UNDO_B, UNDO_A]


async def test_ten_at_once_do_it_once(scripts: Scripts, world: World) -> None:
    """Issue point 13: ten undos started together: each undo is called once, all ten succeed, nine name the one that did it."""
    async with scripts() as run:
        await run(*AB)
        ten = await asyncio.gather(*(start_undo(run.client, run.task_queue, run.last) for _ in range(10)))
        results = await asyncio.gather(*(asyncio.wait_for(by.result(), 60) for by in ten))
    (winner,) = [by.id for by, result in zip(ten, results, strict=True) if result["undone"] == ["b", "a"]]
    told = [(r["already_undone"], r["undone_by"]) for r in results if not r["undone"]]
    assert told == [(["b", "a"], winner)] * 9
    assert world.calls[2:] == [UNDO_B, UNDO_A]


async def test_undo_after_resume_from_names_the_owner(scripts: Scripts, world: World) -> None:
    """Issue point 13: a run that another took over isn't undone; the message names that one, whose undo undoes both."""
    world.switch("fail-b")
    async with scripts(kept=True) as run:
        await run.fails(*AB)
        first, id = run.last, await _run_id(run.last)
        world.switch("fail-b", on=False)
        await run(*AB, resume=first.id)
        kind, message = await undo_fails(run.client, run.task_queue, first)
        owner = f"workflow {run.last.id} (run {await _run_id(run.last)})"
        assert kind == "InvalidInput"
        assert message == f"undo: run {id} of {first.id} was taken over by {owner}; undo that one"
        before = world.calls
        assert await undo(run.client, run.task_queue, run.last) == done("b", "a")
    assert world.calls == [*before, UNDO_B, UNDO_A]


async def test_resume_from_after_undo_names_the_undo(scripts: Scripts, world: World) -> None:
    """Issue point 13: an undone run isn't taken over; the message names the undo."""
    async with scripts() as run:
        await run(*AB)
        first = run.last
        by = await start_undo(run.client, run.task_queue, first)
        await by.result()
        failure = await run.fails(*AB, resume=first.id)
        owner = f"workflow {by.id} (run {await _run_id(by)})"
    message = (
        f"resume_from: run {await _run_id(first)} of {first.id} is undone by {owner}; start a new run instead"
    )
    assert causes(failure) == [("InvalidInput", message)]
    assert world.calls[2:] == [UNDO_B, UNDO_A]


async def test_undo_and_resume_from_at_once(scripts: Scripts, world: World) -> None:
    """Issue point 13: started together, one owns the run and the other names it; each step is undone once, or answers once."""
    async with scripts() as run:
        for _ in range(5):
            await run(*AB)
            first, before = run.last, len(world.calls)
            resumed = await run.start(*AB, resume=first.id)
            by = await start_undo(run.client, run.task_queue, first)
            ends = await asyncio.gather(resumed.result(), by.result(), return_exceptions=True)
            undid = not isinstance(ends[1], BaseException)
            winner, loser = (by, resumed) if undid else (resumed, by)
            owner = f"workflow {winner.id} (run {await _run_id(winner)})"
            of = f"run {await _run_id(first)} of {first.id}"
            assert causes(await failure_of(loser)) == [(
                "InvalidInput",
                f"resume_from: {of} is undone by {owner}; start a new run instead" if undid
                else f"undo: {of} was taken over by {owner}; undo that one",
            )]  # fmt: skip
            assert world.calls[before:] == ([UNDO_B, UNDO_A] if undid else [])


async def test_resume_from_while_an_undo_works_is_refused(scripts: Scripts, world: World) -> None:
    """Issue point 13: while the undo is at work it owns the run already."""
    world.switch("hold-undo-b")
    async with scripts() as run:
        await run(*AB)
        first = run.last
        by = await start_undo(run.client, run.task_queue, first)
        await world.until(*UNDO_B)
        failure = await run.fails(*AB, resume=first.id)
        assert f"is undone by workflow {by.id}" in causes(failure)[0][1]
        world.switch("go-undo-b")
        await by.result()
    assert world.calls[2:] == [UNDO_B, UNDO_A]


async def test_what_resume_from_takes_after_a_stuck_undo_is_not_undone(
    scripts: Scripts, world: World
) -> None:
    """Section 4: an undo that failed owns nothing: b, which it undid, runs again; a, whose undo failed, is unknown and too."""
    world.switch("fail-undo-a")
    async with scripts() as run:
        await run(*AB, do("c", 1))
        first = run.last
        await undo_fails(run.client, run.task_queue, first)
        before = world.calls
        assert outputs(await run(*AB, do("c", 1), resume=first.id)) == [6, 12, 2]
    assert world.calls[len(before) :] == [("a", 3), ("b", 6), ("c", 1)]


async def test_an_open_run_is_refused(scripts: Scripts, world: World) -> None:
    """A run still open is refused, and nothing is claimed: it goes on, and is undone once it has ended."""
    world.switch("hold-a")
    async with scripts() as run:
        handle = await run.start(do("a", 3))
        await world.until("a", 3)
        message = await undo_fails(run.client, run.task_queue, handle)
        id = await _run_id(handle)
        open_ = f"undo: run {id} of {handle.id} is still open; let it end, or end it, first"
        assert message == ("InvalidInput", open_)
        world.switch("go-a")
        await handle.result()
        assert await undo(run.client, run.task_queue, handle) == done("a")


async def test_a_run_that_is_gone_is_refused(scripts: Scripts) -> None:
    """Unknown workflow ids and run ids are refused by name."""
    async with scripts() as run:
        await run(do("count", 1))
        gone = {"workflow_id": run.last.id, "run_id": "00000000-0000-0000-0000-000000000000"}
        wanted = f"undo: there is no run {gone['run_id']} of '{run.last.id}'"
        assert await undo_fails(run.client, run.task_queue, gone) == ("InvalidInput", wanted)
        wanted = "undo: there is no run of 'nobody'"
        assert await undo_fails(run.client, run.task_queue, {"workflow_id": "nobody"}) == (
            "InvalidInput",
            wanted,
        )


@pytest.mark.parametrize("given", [{}, {"workflow_id": 3}, {"workflow_id": "x", "more": 1}, [1]])
async def test_a_malformed_input_is_refused(scripts: Scripts, given: Any) -> None:
    """Section 7: nothing hangs on bad input."""
    async with scripts() as run:
        kind, message = await undo_fails(run.client, run.task_queue, given)
    assert kind == "InvalidInput"
    assert message.startswith("undo: the input must be a workflow id, or its workflow_id and run_id: ")


async def test_an_undo_is_not_undone(scripts: Scripts) -> None:
    """The workflows of an undo are no flows."""
    async with scripts() as run:
        await run(do("a", 3))
        by = await start_undo(run.client, run.task_queue, run.last)
        await by.result()
        kind, message = await undo_fails(run.client, run.task_queue, by)
    assert (kind, message) == (
        "InvalidInput", f"undo: run {await _run_id(by)} of {by.id} is of undo; name the run that is to be undone",
    )  # fmt: skip


async def test_what_is_not_undone_fails_and_may_be_tried_again(scripts: Scripts, world: World) -> None:
    """b's undo fails: c and a are undone, Stuck names b and holds the result; a second undo undoes b alone."""
    world.switch("fail-undo-b")
    async with scripts() as run:
        await run(*AB, do("c", 1))
        first = run.last
        failure = await failure_of(await start_undo(run.client, run.task_queue, first))
        assert causes(failure)[0] == (
            "Stuck", f"undo of {first.id} is stuck: 1 not undone\nnot undone: b (b@1.0.0): RuntimeError: undo of b down",
        )  # fmt: skip
        result = failure.details[0]  # type: ignore[attr-defined]
        assert result["undone"] == ["c", "a"]
        assert result["not_undone"] == [
            {"step": "b", "definition": "b@1.0.0", "reason": "RuntimeError: undo of b down"}
        ]
        world.switch("fail-undo-b", on=False)
        assert await undo(run.client, run.task_queue, first) == done("b", already=("c", "a"))
    assert world.calls[3:] == [UNDO_C] + [UNDO_B] * TRIES + [UNDO_A, UNDO_B]


async def test_a_terminated_undo_is_taken_up(scripts: Scripts, world: World) -> None:
    """The work was terminated after c: the undo that asked fails and says so; another goes on with b and a."""
    world.switch("hold-undo-b")
    async with scripts() as run:
        await run(*AB, do("c", 1))
        by = await start_undo(run.client, run.task_queue, run.last)
        await world.until(*UNDO_B)
        await run.client.get_workflow_handle(await claim_of(run.last)).terminate()
        kind, message = causes(await failure_of(by))[0]
        assert kind == "Stuck" and "what it undid is undone; start it again" in message
        world.switch("go-undo-b")
        assert await undo(run.client, run.task_queue, run.last) == done("b", "a", already=("c",))
    assert world.calls[3:] == [UNDO_C, UNDO_B, UNDO_B, UNDO_A]
