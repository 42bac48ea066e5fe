"""Which run ``resume_from`` means, which it refuses, and that one run alone takes it over."""

from __future__ import annotations

import asyncio
import json
import subprocess
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import CancelledError

with workflow.unsafe.imports_passed_through():
    from flows import Sequence, start
    from flows._resume import FIND, READ, Found, Owner, RunRef, TakenOver
    from flows._services import Services
    from tests.conftest import Serve
    from tests.flows.running import Runner, Scripts, outputs, scripts
    from tests.flows.script import Kept, do
    from tests.sample import a, b
    from tests.support import World, causes, events_of, failure_of, new_id, reset

__all__ = ["scripts"]
UNDO_A = ("undo a", 3, "done", 6)


class Other(Sequence[int, int], id="other", version="1.0.0"):
    """Another definition."""

    async def run(self, input: int) -> int:
        return (await self.execute(a, input)).output


async def _refused(run: Runner, resume: Any, **options: Any) -> str:
    """Start a run that must be refused before it does anything; give the message."""
    failure = await run.fails(do("a", 99), resume=resume, **options)
    ((kind, message),) = causes(failure)
    assert kind == "InvalidInput"
    assert (await run.last.query("status"))["state"] == "refused"
    assert "ACTIVITY_TASK_SCHEDULED" not in await events_of(run.last)
    return message


async def _run_id(run: Runner) -> str:
    return str((await run.last.describe()).run_id)


async def test_an_open_run_is_refused(scripts: Scripts, world: World) -> None:
    """Section 4: a run that is still open isn't taken over; once it ended, it is."""
    world.switch("hold-a")
    async with scripts() as run:
        handle = await run.start(do("a", 3))
        await world.until("a", 3)
        id = await _run_id(run)
        message = await _refused(run, handle.id)
        assert message == f"resume_from: run {id} of {handle.id} is still open; let it end, or end it, first"
        world.switch("go-a")
        await handle.result()
        assert outputs(await run(do("a", 3), resume=handle.id)) == [6]
    assert world.calls == [("a", 3)]


async def test_a_run_that_is_gone_is_refused(scripts: Scripts) -> None:
    """Section 4: unknown workflow ids and run ids, also malformed ones, are refused by name."""
    gone, id = str(uuid.uuid4()), new_id("none")
    async with scripts() as run:
        assert await _refused(run, id) == f"resume_from: there is no run of '{id}'"
        await run(do("count", 1))
        known = run.last.id
        for run_id in (gone, "not-a-run-id"):
            message = await _refused(run, {"workflow_id": known, "run_id": run_id})
            assert message == f"resume_from: there is no run {run_id} of '{known}'"


async def test_another_definition_is_refused(scripts: Scripts) -> None:
    """Section 4: a run of another definition isn't taken over."""
    async with scripts(Other) as run:
        other = await start(run.client, Other, 3, id=new_id(), task_queue=run.task_queue)
        await other.result()
        id = (await other.describe()).run_id
        assert (
            await _refused(run, other.id)
            == f"resume_from: run {id} of {other.id} is of other@1.0.0, not of script@1.0.0"
        )


@pytest.mark.parametrize("memo", [5, ["x"], {"workflow": "x"}, {"workflow_id": "x", "run": "y"}])
async def test_a_malformed_memo_is_refused(scripts: Scripts, memo: Any) -> None:
    """Section 4: a memo that is neither a workflow id nor its two ids is refused, saying what it must be."""
    async with scripts() as run:
        message = await _refused(run, memo)
    assert message.startswith("memo resume_from must be a workflow id, or its workflow_id and run_id: ")


async def test_a_run_is_taken_over_once(scripts: Scripts, world: World) -> None:
    """Section 4: what was taken over is refused to the next one, naming the run that owns it now."""
    async with scripts() as run:
        await run(do("a", 3))
        first, id = run.last, await _run_id(run)
        await run(do("a", 3), resume=first.id)
        owner, owner_run = run.last.id, await _run_id(run)
        message = await _refused(run, first.id)
    taken = f"was taken over by workflow {owner} (run {owner_run}); go on from that one"
    assert message == f"resume_from: run {id} of {first.id} {taken}"
    assert world.calls == [("a", 3)]


async def test_of_two_at_once_one_wins(scripts: Scripts, world: World, cache: int) -> None:
    """Section 5: two runs resume from one at once: one goes on, the other is refused, naming it; B is called once."""
    async with scripts(cache=cache) as run:
        await run(do("a", 3))
        first, id = run.last, await _run_id(run)
        soon = timedelta(
            seconds=2
        )  # without a cache, Temporal loses a task of two that run local activities at once
        two = [await run.start(do("a", 3), do("b", 6), resume=first.id, task_timeout=soon) for _ in range(2)]
        ended = await asyncio.gather(*(handle.result() for handle in two), return_exceptions=True)
        winner, loser = two if isinstance(ended[0], list) else two[::-1]
        owner = f"workflow {winner.id} (run {(await winner.describe()).run_id})"
    assert outputs(await winner.result()) == [6, 12]
    taken = f"resume_from: run {id} of {first.id} was taken over by {owner}; go on from that one"
    assert causes(await failure_of(loser)) == [("InvalidInput", taken)]
    assert world.calls == [("a", 3), ("b", 6)]


async def test_the_own_workflow_id_means_the_run_before(scripts: Scripts, world: World) -> None:
    """Section 4: resume_from the own id takes the newest closed chain before it, each time."""
    world.switch("fail-b")
    id = new_id("own")
    script = (do("a", 3), do("b", 6))
    async with scripts(kept=True) as run:
        message = await _refused(run, id, id=id)
        assert message == f"resume_from: '{id}' has no run before this one"
        await run.fails(*script, id=id)
        await run.fails(*script, id=id, resume=id)
        world.switch("fail-b", on=False)
        assert outputs(await run(*script, id=id, resume=id)) == [6, 12]
    assert world.calls == [("a", 3), ("b", 6), ("b", 6), ("b", 6)]


async def test_the_own_chain_begins_at_the_dispatcher(
    scripts: Scripts, world: World, temporal: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """Section 4: started by range, a run continues as new: the chain before it is meant."""
    world.switch("fail-b")
    id, script = new_id("own"), [do("a", 3), do("b", 6)]
    given = json.dumps([line.model_dump(mode="json") for line in script])
    async with scripts(kept=True) as run:
        arguments = [
            "workflow",
            "execute",
            "--type",
            "script@^1",
            "-w",
            id,
            "--task-queue",
            run.task_queue,
            "-i",
            given,
        ]
        await asyncio.to_thread(temporal, *arguments, check=False)
        assert world.calls == [("a", 3), ("b", 6)]
        world.switch("fail-b", on=False)
        await asyncio.to_thread(temporal, *arguments, "--memo", f'resume_from="{id}"')
        assert outputs(await run.client.get_workflow_handle(id).result()) == [6, 12]
    assert world.calls == [("a", 3), ("b", 6), ("b", 6)]


async def test_a_run_id_names_an_older_run(scripts: Scripts, world: World) -> None:
    """Section 4: {"workflow_id", "run_id"} takes that run, though the workflow id has a newer one."""
    id = new_id("twice")
    async with scripts() as run:
        await run(do("a", 3), id=id)
        older = await _run_id(run)
        await run(do("b", 6), id=id)
        await run(do("a", 3), do("b", 6), resume={"workflow_id": id, "run_id": older})
    assert world.calls == [("a", 3), ("b", 6), ("b", 6)]


async def test_a_terminated_run_is_taken_over(scripts: Scripts, world: World) -> None:
    """Section 1: terminated while B ran: A answers, B has no end there and runs again."""
    world.switch("hold-b")
    async with scripts() as run:
        handle = await run.start(do("a", 3), do("b", 6))
        await world.until("b", 6)
        await handle.terminate()
        world.switch("hold-b", on=False)
        world.switch("go-b")
        assert outputs(await run(do("a", 3), do("b", 6), resume=handle.id)) == [6, 12]
    assert world.calls == [("a", 3), ("b", 6), ("b", 6)]


async def test_an_operation_that_is_gone_refuses_without_a_claim(
    serve: Serve, world: World, task_queue: str
) -> None:
    """Section 4: a worker without b can't take the run over, and hasn't claimed it; one with b can."""
    world.switch("fail-b")
    async with serve(a, b, Kept) as client:
        run = Runner(client, task_queue, [])
        await run.fails(do("a", 3), do("b", 6))
    first = run.last.id
    async with serve(a, Kept) as client:
        run = Runner(client, task_queue, [])
        message = await _refused(run, first)
        assert message.startswith(f"resume_from: step b of {first}: b@1.0.0 isn't registered")
    world.switch("fail-b", on=False)
    async with serve(a, b, Kept) as client:
        assert outputs(await Runner(client, task_queue, [])(do("a", 3), do("b", 6), resume=first)) == [6, 12]
    assert world.calls == [("a", 3), ("b", 6), ("b", 6)]


async def test_who_found_it_first_and_claims_it_last_is_refused(
    scripts: Scripts, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Section 5: nobody owned the run when it was looked for; somebody does when it is claimed: once claimed, it stays so."""
    find = Services.find

    @activity.defn(name=FIND)
    async def slowly(self: Services, ref: Any, me: Any, workflow_type: str) -> Found:
        found = await find(self, RunRef.model_validate(ref), Owner.model_validate(me), workflow_type)
        if me["workflow_id"].startswith("late"):
            world.record("found")
            await world.wait("go-claim")
        return found

    monkeypatch.setattr(Services, "find", slowly)
    async with scripts() as run:
        await run(do("a", 3))
        first = run.last
        late = await run.start(do("a", 3), do("b", 6), resume=first.id, id=new_id("late"))
        await world.until("found")
        assert outputs(await run(do("a", 3), do("b", 6), resume=first.id)) == [6, 12]
        owner = run.last.id
        world.switch("go-claim")
        ((kind, message),) = causes(await failure_of(late))
    assert kind == "InvalidInput" and f"was taken over by workflow {owner} (run " in message
    assert world.calls == [("a", 3), "found", ("b", 6)]


@pytest.fixture
def slow_reading(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the reading of a claimed run wait for a switch."""
    read = Services.read

    @activity.defn(name=READ)
    async def slowly(self: Services, found: Any, me: Any) -> TakenOver:
        world.record("reading")
        await world.wait("go-read")
        return await read(self, Found.model_validate(found), Owner.model_validate(me))

    monkeypatch.setattr(Services, "read", slowly)


async def test_a_cancel_while_taking_over_undoes_it(
    scripts: Scripts, world: World, slow_reading: None
) -> None:
    """Section 5: cancelled between claim and reading: the run owns what it took over, so it undoes it."""
    async with scripts() as run:
        await run(do("a", 3))
        handle = await run.start(
            do("a", 3), do("b", 6), resume=run.last.id, task_timeout=timedelta(seconds=1)
        )
        await world.until("reading")
        await handle.cancel()
        while "WORKFLOW_EXECUTION_CANCEL_REQUESTED" not in (await events_of(handle))[:-2]:
            await asyncio.sleep(0.05)
        world.switch("go-read")
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()
    assert isinstance(caught.value.cause, CancelledError)
    assert world.calls == [("a", 3), "reading", UNDO_A]


async def test_a_run_that_ended_while_taking_over_hands_it_on(
    scripts: Scripts, world: World, slow_reading: None
) -> None:
    """Section 4: terminated between claim and reading: the next one finds what it owned."""
    async with scripts() as run:
        await run(do("a", 3))
        handle = await run.start(do("a", 3), resume=run.last.id)
        await world.until("reading")
        await handle.terminate()
        world.switch("go-read")
        assert outputs(await run(do("a", 3), do("b", 6), resume=handle.id)) == [6, 12]
    assert world.calls == [("a", 3), "reading", "reading", ("b", 6)]


async def _ends(handle: Any) -> list[int]:
    """Give the ids of the events at which workflow tasks ended."""
    return [i for i, kind in enumerate(await events_of(handle), 1) if kind == "WORKFLOW_TASK_COMPLETED"]


async def test_a_reset_after_a_takeover_is_refused(scripts: Scripts, world: World) -> None:
    """Section 5: what another run owns isn't done here: the earlier run, reset, ends at once."""
    async with scripts() as run:
        await run(do("a", 3), do("b", 6))
        first = run.last
        await run(do("a", 3), resume=first.id)
        again = await reset(run.client, first, (await _ends(first))[1])
        failure = await failure_of(again)
    owned = f"everything (taken over by {run.last.id})"
    message = f"this run was reset after {owned} was undone; start a new run instead"
    assert causes(failure) == [("ResetAfterUndo", message)]
    assert world.calls == [("a", 3), ("b", 6)]


async def test_a_run_that_took_over_may_be_reset(scripts: Scripts, world: World) -> None:
    """Section 5: reset to each of its tasks, a run that took over another still owns what it took."""
    async with scripts() as run:
        await run(do("a", 3))
        handle = await run.start(do("a", 3), do("b", 6), resume=run.last.id)
        assert outputs(await handle.result()) == [6, 12]
        for event_id in await _ends(handle):
            first = run.client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id)
            again = await reset(run.client, first, event_id)
            assert outputs(await again.result()) == [6, 12]
    assert set(world.calls) == {("a", 3), ("b", 6)}
    assert world.calls.count(("a", 3)) == 1
