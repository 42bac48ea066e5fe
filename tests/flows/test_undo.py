"""`undo` of closed sequences: what a run left in place is undone once, newest first, told what it would have been told."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.converter import DataConverter

with workflow.unsafe.imports_passed_through():
    from activities import Context, Outcome, Retry, operation
    from counterstep.reports import fetch_report
    from flows import Policy, Sequence, Undone, start
    from flows import undo as flows_undo
    from tests.conftest import Serve
    from tests.flows.running import Scripts, outputs, scripts
    from tests.flows.script import Inner, Kept, do
    from tests.sample import a, b
    from tests.support import World, causes, events_of, failure_of, new_id, reset
    from tests.undoing import done, start_undo, undo, undo_fails
    from tests.worker.test_plugin import Mirror

__all__ = ["scripts"]
UNDO_A, UNDO_B, UNDO_C = ("undo a", 3, "done", 6), ("undo b", 6, "done", 12), ("undo c", 1, "done", 2)
AB = (do("a", 3), do("b", 6))
TRIES = 3


async def _started(handle: WorkflowHandle[Any, Any]) -> Any:
    """Give the attributes of a run's first event."""
    first = await anext(aiter(handle.fetch_history_events()))
    return first.workflow_execution_started_event_attributes


async def _claim(handle: WorkflowHandle[Any, Any]) -> str:
    """Give the id of the workflow that owns a run's undoing."""
    return f"undo:{handle.id}:{(await _started(handle)).original_execution_run_id}"


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
    """Issue point 13: ten undos started together: each undo is called once, all ten succeed."""
    async with scripts() as run:
        await run(*AB)
        results = await asyncio.gather(*(undo(run.client, run.task_queue, run.last) for _ in range(10)))
    assert sorted(len(result["undone"]) for result in results) == [0] * 9 + [2]
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
    """Issue point 13: started together, one of them owns the run: each step is undone once, or answers once."""
    async with scripts() as run:
        for _ in range(5):
            await run(*AB)
            first, before = run.last, len(world.calls)
            resumed = await run.start(*AB, resume=first.id)
            by = await start_undo(run.client, run.task_queue, first)
            ends = await asyncio.gather(resumed.result(), by.result(), return_exceptions=True)
            assert sum(isinstance(end, BaseException) for end in ends) == 1
            undid = not isinstance(ends[1], BaseException)
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
        await run.client.get_workflow_handle(await _claim(run.last)).terminate()
        kind, message = causes(await failure_of(by))[0]
        assert kind == "Stuck" and "what it undid is undone; start it again" in message
        world.switch("go-undo-b")
        assert await undo(run.client, run.task_queue, run.last) == done("b", "a", already=("c",))
    assert world.calls[3:] == [UNDO_C, UNDO_B, UNDO_B, UNDO_A]


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


async def test_the_work_is_seen_and_paused_like_a_flow(scripts: Scripts, world: World) -> None:
    """Section 7: the undos show under readable ids; status, report, pause and unpause work; a cancel changes nothing."""
    world.switch("hold-undo-b")
    async with scripts() as run:
        await run(*AB)
        by = await start_undo(run.client, run.task_queue, run.last)
        await world.until(*UNDO_B)
        work = run.client.get_workflow_handle(await _claim(run.last))
        assert (await by.query("status"))["undoing"] == work.id
        status = {"flow": "undo@1.0.0", "state": "unwinding", "steps": {"a": "to be undone", "b": "undoing"}}
        assert await work.query("status") == status
        await work.execute_update("pause", {"by": "ann"})
        await work.cancel()
        await by.cancel()
        world.switch("go-undo-b")
        while (await work.query("status"))["steps"]["b"] != "undone":
            await asyncio.sleep(0.02)
        assert (await work.query("status"))["state"] == "unwinding, paused"
        assert UNDO_A not in world.calls
        await work.execute_update("unpause", {"by": "ann"})
        assert (await by.result())["undone"] == ["b", "a"]
        report = await work.query("report")
        kept = await fetch_report(run.client, work.id)
    shown = [
        (row["step"], row["outcome"], row["output"], row["undo"]["outcome"]) for row in report["children"]
    ]
    assert shown == [("a", "done", 6, "done"), ("b", "done", 12, "done")]
    assert [(r.step, str(r.definition), str(r.outcome)) for r in kept.children] == [
        ("b", "b@1.0.0", "done"), ("a", "a@1.0.0", "done"),
    ]  # fmt: skip


async def test_activity_ids_are_readable(scripts: Scripts) -> None:
    """An undo of step b is the activity b.undo of type b@1.0.0/undo, summed up in words."""
    async with scripts() as run:
        await run(*AB)
        await undo(run.client, run.task_queue, run.last)
        work = run.client.get_workflow_handle(await _claim(run.last))
        scheduled = [
            e.activity_task_scheduled_event_attributes
            async for e in work.fetch_history_events()
            if e.HasField("activity_task_scheduled_event_attributes")
        ]
    assert [(s.activity_id, s.activity_type.name) for s in scheduled] == [
        ("b.undo", "b@1.0.0/undo"), ("a.undo", "a@1.0.0/undo"),
    ]  # fmt: skip


@operation(id="keyed", version="1.0.0", retry=Retry(3, initial=timedelta(milliseconds=10)))
async def keyed(ctx: Context[World], input: int) -> int:
    """Save, record the key; a third attempt of input 9 waits."""
    await ctx.save({"page": input, "attempt": ctx.attempt})
    ctx.deps.record("key", input, ctx.idempotency_key)
    if input == 9 and ctx.attempt == 1:
        raise RuntimeError("once more")
    if input == 9:
        await ctx.deps.wait("never", 60)
    return input


@keyed.retry_input
def same(attempt: int, error: Any, input: int, deps: World) -> int:
    return input


@keyed.undo
async def undo_keyed(ctx: Context[World], input: int, outcome: Outcome[int]) -> None:
    ctx.deps.record("undo key", input, ctx.idempotency_key)
    ctx.deps.record("saved", ctx.saved, outcome.saved == ctx.saved)


class Keyed(Sequence[int, int], id="keyed-flow", version="1.0.0", policy=Policy(on_failure="keep")):
    """Two keyed steps."""

    async def run(self, input: int) -> int:
        await self.execute(keyed, 1)
        return (await self.execute(keyed, input)).output


async def test_keys_and_saved_data_are_those_of_the_steps(
    serve: Serve, world: World, task_queue: str
) -> None:
    """Section 3: the undo of a closed run gets the forward keys, also that of a changed input, and what was saved."""
    async with serve(keyed, Keyed) as client:
        handle = await start(client, Keyed, 9, id=new_id(), task_queue=task_queue)
        await _calls(world, 3)
        await handle.terminate()
        assert await undo(client, task_queue, handle) == done("keyed.2", "keyed")
    forward = [call[2] for call in world.calls if call[0] == "key"]
    backward = [call[2] for call in world.calls if call[0] == "undo key"]
    assert len(set(forward)) == 3
    assert backward == [forward[2], forward[0]]
    saved = [call[1:] for call in world.calls if call[0] == "saved"]
    assert saved == [({"page": 9, "attempt": 2}, True), ({"page": 1, "attempt": 1}, True)]


async def _calls(world: World, count: int) -> None:
    while len(world.calls) < count:
        await asyncio.sleep(0.02)


async def test_long_histories_are_read_to_their_end(scripts: Scripts, world: World) -> None:
    """S77: a history of several pages (1,800 events): every undo, once, over several runs of the undoing workflow."""
    count = 500
    async with scripts() as run:
        calls = [
            do("gather", calls=[do("a", n) for n in range(k, k + 50)], limit=50) for k in range(0, count, 50)
        ]
        await run(*calls)
        result = await undo(run.client, run.task_queue, run.last)
        assert len(await events_of(run.last)) > 1_500
    undone = [call[1] for call in world.calls[count:]]
    assert undone == list(reversed(range(count)))
    assert len(result["undone"]) == count


async def test_the_work_goes_on_as_new(
    scripts: Scripts, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Section 5, size: where the history is full, the undoing goes on as new, and names a failed undo once, at its end."""
    monkeypatch.setattr("flows._full.CONTINUE_AT", 40)
    monkeypatch.setattr("flows._undo_services.BATCH_BYTES", 2_000)
    world.switch("fail-undo-b")
    async with scripts() as run:
        await run(*(do("a", n) for n in range(10)), do("b", 6), *(do("c", n) for n in range(10)))
        kind, message = await undo_fails(run.client, run.task_queue, run.last)
        work = run.client.get_workflow_handle(await _claim(run.last))
        assert (await _started(work)).continued_execution_run_id
    assert (kind, message.split("\n")) == (
        "Stuck",
        [
            f"undo of {run.last.id} is stuck: 1 not undone",
            "not undone: b (b@1.0.0): RuntimeError: undo of b down",
        ],
    )
    assert [call[:2] for call in world.calls[21:]] == [
        *(("undo c", n) for n in reversed(range(10))), *[("undo b", 6)] * TRIES, *(("undo a", n) for n in reversed(range(10))),
    ]  # fmt: skip


async def test_from_the_temporal_cli(
    serve: Serve, world: World, task_queue: str, temporal: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """Section 5: `temporal workflow execute --type undo --input '{"workflow_id": …}'` undoes a closed run."""
    async with serve(a, b, Kept) as client:
        handle = await start(client, Kept, list(AB), id=new_id(), task_queue=task_queue)
        await handle.result()
        ended = await asyncio.to_thread(
            temporal, "workflow", "execute", "--type", "undo", "-w", new_id("cli"), "-t", task_queue,
            "--input", json.dumps({"workflow_id": handle.id}), "--output", "json",
        )  # fmt: skip
    assert json.loads(ended.stdout)["result"]["undone"] == ["b", "a"]
    assert world.calls[2:] == [UNDO_B, UNDO_A]


async def test_from_our_own_command(serve: Serve, world: World, task_queue: str, dev_address: str) -> None:
    """`counterstep undo ID` says what was undone; again, by whom; of an open run it ends with 1 and the reason."""
    command = [
        sys.executable,
        "-m",
        "counterstep.cli",
        "undo",
        "--address",
        dev_address,
        "--task-queue",
        task_queue,
    ]

    async def told(id: str) -> tuple[int, str, str]:
        ended = await asyncio.to_thread(
            subprocess.run, [*command, id], capture_output=True, text=True, timeout=60
        )
        return ended.returncode, ended.stdout, ended.stderr

    async with serve(a, b, Kept) as client:
        handle = await start(client, Kept, list(AB), id=new_id(), task_queue=task_queue)
        await handle.result()
        assert await told(handle.id) == (0, "undone: b, a\n", "")
        code, out, _ = await told(handle.id)
        assert code == 0 and re.fullmatch(
            rf"nothing was left to undo\nundone before by undo-{handle.id}-[0-9a-f]{{8}}: b, a\n", out
        )
        wanted = "counterstep undo: undo: there is no run of 'nobody'\n"
        assert await told("nobody") == (1, "", wanted)


async def test_from_python(scripts: Scripts, world: World) -> None:
    """`flows.undo` gives the typed result."""
    async with scripts() as run:
        await run(*AB)
        undone = await flows_undo(run.client, run.last.id, task_queue=run.task_queue)
        assert undone == Undone(workflow_id=run.last.id, run_id=await _run_id(run.last), undone=("b", "a"))


async def test_under_a_codec(serve: Serve, world: World, task_queue: str) -> None:
    """With a client's own codec: what was saved by a step that was open when the run was terminated is found too."""
    mirrored = dataclasses.replace(DataConverter.default, payload_codec=Mirror())
    async with serve(keyed, Keyed, data_converter=mirrored) as client:
        handle = await start(client, Keyed, 9, id=new_id(), task_queue=task_queue)
        await _calls(world, 3)
        await handle.terminate()
        assert await undo(client, task_queue, handle) == done("keyed.2", "keyed")
    saved = [call[1:] for call in world.calls if call[0] == "saved"]
    assert saved == [({"page": 9, "attempt": 2}, True), ({"page": 1, "attempt": 1}, True)]
