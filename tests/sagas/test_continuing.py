"""A long saga goes on as new: the newest run alone suffices to go on, unwind, and show what happened."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError

from activities import Context, EmptyInput, Outcome, operation
from flows import Dag, Policy, Step, saga, start
from tests.conftest import Serve
from tests.sagas.operations import Given, Made, work
from tests.sagas.test_cap import most_at_once, scheduled
from tests.sagas.test_holding import shows
from tests.sagas.test_running import undone
from tests.sample import FAST
from tests.support import World, causes, deleted, events_of, eventually, failure_of, new_id
from tests.undoing import undo

COUNT = 12


@operation(id="keyed", version="1.0.0")
async def keyed(ctx: Context[World], input: Given) -> Made:
    """Record the key; the last step fails."""
    ctx.deps.record(ctx.step, ctx.idempotency_key)
    if ctx.step == "n11":
        raise RuntimeError("down")
    return Made(id=1, name=ctx.step)


@keyed.undo(retry=FAST)
async def undo_keyed(ctx: Context[World], input: Given, outcome: Outcome[Made]) -> None:
    ctx.deps.record(ctx.step, ctx.idempotency_key)
    if ctx.deps.is_on(f"hold-undo-{ctx.step}"):
        await ctx.deps.wait("go-undo")


@saga(id="keyed-line", version="1.0.0")
def keyed_line(dag: Dag, params: EmptyInput) -> None:
    """Twelve steps in a line."""
    for number in range(COUNT):
        dag.append(f"n{number}", keyed, {})


@operation(id="bulky", version="1.0.0")
async def bulky(ctx: Context[World], input: EmptyInput) -> str:
    """Give a text that can't be compressed."""
    ctx.deps.record(ctx.step)
    return secrets.token_hex(400)


@bulky.undo(retry=FAST)
async def undo_bulky(ctx: Context[World], input: EmptyInput, outcome: Outcome[str]) -> None:
    ctx.deps.record(f"undo {ctx.step}", len(outcome.output or ""))
    if ctx.step == "n5":
        raise RuntimeError("undo of n5 down")


@saga(id="bulky-line", version="1.0.0")
def bulky_line(dag: Dag, params: EmptyInput) -> None:
    """Forty steps in a line."""
    for number in range(40):
        dag.append(f"n{number}", bulky, {})


@saga(id="held-line", version="1.0.0", policy=Policy(on_failure="hold"))
def held_line(dag: Dag, params: EmptyInput) -> Step[Made]:
    """Ten steps in a line, then one that gets what the first one gave; a failure waits for an operator."""
    first = dag.append("first", work, {})
    for number in range(8):
        dag.append(f"n{number}", work, {})
    return dag.append("last", work, {"number": first.ref("id")})


@saga(id="parking-wide", version="1.0.0", policy=Policy(on_undo_failure="park", max_parallel=1))
def parking_wide(dag: Dag, params: EmptyInput) -> None:
    """Nine steps that need nothing of each other, then one more; one at a time, and failed undos are parked."""
    dag.append_parallel(*(dag.step(f"n{number}", work, {}) for number in range(9)))
    dag.append("last", work, {})


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Go on as new after 30 events, which is about four steps."""
    monkeypatch.setattr("flows._full.CONTINUE_AT", 30)


@saga(id="long-line", version="1.0.0")
def long_line(dag: Dag, params: Given) -> Step[Made]:
    """Twelve steps in a line, each with the id of the one before."""
    last = dag.append("n0", work, {"number": params.number})
    for number in range(1, COUNT):
        last = dag.append(f"n{number}", work, {"number": last.ref("id"), "others": [1]})
    return last


@saga(id="wide", version="1.0.0", policy=Policy(max_parallel=3))
def wide(dag: Dag, params: EmptyInput) -> None:
    """Twelve steps beside each other, three at once, then one that gets all."""
    steps = dag.append_parallel(
        *(dag.step(f"n{number}", work, {"number": number}) for number in range(COUNT))
    )
    dag.append("last", work, {"others": [step.ref("id") for step in steps]})


@saga(id="waiting", version="1.0.0")
def waiting(dag: Dag, params: EmptyInput) -> Step[Made]:
    """A long wait and an approval beside a line of steps."""
    first = dag.append("first", work, {})
    dag.wait("long", timedelta(days=100))
    for number in range(COUNT):
        dag.step(f"n{number}", work, {}, after=[Step(f"n{number - 1}") if number else first])
    return dag.append("end", work, {})


@saga(id="patient", version="1.0.0")
def patient(dag: Dag, params: EmptyInput) -> Step[Made]:
    """A line of steps, somebody's word, and a last step."""
    for number in range(COUNT - 1):
        dag.append(f"n{number}", work, {"number": number})
    dag.wait("soak", timedelta(milliseconds=10))
    dag.approval("go")
    return dag.append(f"n{COUNT - 1}", work, {"number": COUNT - 1})


async def only_the_newest_is_left(client: Client, handle: WorkflowHandle[Any, Any]) -> None:
    """Delete the older runs of a chain, as retention does, and wait until they are gone."""
    newest = (await client.get_workflow_handle(handle.id).describe()).run_id
    await asyncio.sleep(0.5)
    older = [
        r.run_id async for r in client.list_workflows(f"WorkflowId = '{handle.id}'") if r.run_id != newest
    ]
    assert len(older) >= 2
    for run_id in older:
        await deleted(client, handle.id, run_id)


@pytest.mark.parametrize("then", ["fails", "is undone"])
async def test_the_newest_run_alone_suffices(serve: Serve, world: World, task_queue: str, then: str) -> None:
    """Retention takes a waiting saga's older runs: it still unwinds whole, and once completed `undo` undoes it whole.

    Each undo gets the output of its step, from a run whose history is gone.
    """
    if then == "fails":
        world.switch("fail-n11")
    async with serve(work, patient) as client:
        handle = await start(client, patient, EmptyInput(), id=new_id(), task_queue=task_queue)
        newest = client.get_workflow_handle(handle.id)
        while (await newest.query("status"))["steps"].get("go") != "waiting for approval":
            await asyncio.sleep(0.05)
        await only_the_newest_is_left(client, handle)
        await newest.execute_update("approve", {"name": "go"})
        if then == "fails":
            assert causes(await failure_of(newest, 60))[-1] == ("RuntimeError", "n11 down")
        else:
            assert await newest.result() == {"id": 11, "name": "n11"}
            result = await undo(client, task_queue, newest)
            assert result["undone"] == [f"n{n}" for n in reversed(range(COUNT))]
            again = await undo(client, task_queue, newest)
            assert (again["undone"], again["already_undone"]) == ([], result["undone"])
    count = COUNT if then == "is undone" else COUNT - 1
    assert undone(world) == [f"n{n}" for n in reversed(range(count))]
    assert {call[1] for call in world.calls if isinstance(call, tuple)} == {"done"}


async def runs_of(client: Client, handle: WorkflowHandle[Any, Any]) -> int:
    """Count the runs of a chain."""
    return len([r async for r in client.list_workflows(f"WorkflowId = '{handle.id}'")])


async def test_a_long_line_completes_over_several_runs(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """Each step is called once, in order; outputs reach steps of later runs; the status shows all steps."""
    async with serve(work, long_line, cache=cache) as client:
        handle = await start(client, long_line, Given(number=5), id=new_id(), task_queue=task_queue)
        assert await handle.result() == Made(id=5 + COUNT - 1, name="n11")
        newest = client.get_workflow_handle(handle.id)
        assert (await newest.query("status"))["steps"] == {f"n{n}": "done" for n in range(COUNT)}
        assert (await newest.describe()).raw_info.history_length < 45
        await asyncio.sleep(0.5)
        assert await runs_of(client, handle) >= 3
    assert world.calls == [f"n{n}" for n in range(COUNT)]


async def test_a_long_line_unwinds_over_several_runs(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """The last step fails: every undo is called once, newest first, whatever run the step was in; the cause is kept."""
    world.switch("fail-n11")
    async with serve(work, long_line, cache=cache) as client:
        handle = await start(client, long_line, Given(number=5), id=new_id(), task_queue=task_queue)
        found = causes(await failure_of(handle, 60))
    assert found == [
        (
            "RolledBack",
            "long-line@1.0.0 rolled back: step n11 (work@1.0.0) failed after 1 attempt: RuntimeError: n11 down",
        ),
        ("OperationFailed", "step n11 (work@1.0.0) failed after 1 attempt: RuntimeError: n11 down"),
        ("RuntimeError", "n11 down"),
    ]
    assert undone(world) == [f"n{n}" for n in reversed(range(COUNT - 1))]


async def test_many_steps_are_read_in_several_tasks(
    serve: Serve, world: World, task_queue: str, monkeypatch: pytest.MonkeyPatch, cache: int
) -> None:
    """A run that has more steps to read than one task may lets tasks end between: the same undos, in the same order."""
    for name, value in (("_breath.MANY", 2), ("_carry.MANY", 2), ("_full.CONTINUE_AT", 60)):
        monkeypatch.setattr(f"flows.{name}", value)
    world.switch("fail-n11")
    async with serve(work, long_line, cache=cache) as client:
        handle = await start(client, long_line, Given(number=5), id=new_id(), task_queue=task_queue)
        assert causes(await failure_of(handle, 60))[-1] == ("RuntimeError", "n11 down")
        events = await events_of(client.get_workflow_handle(handle.id))
    assert undone(world) == [f"n{n}" for n in reversed(range(COUNT - 1))]
    assert events[: events.index("ACTIVITY_TASK_SCHEDULED")].count("TIMER_FIRED") >= 2 + (COUNT - 1) // 2


async def test_a_cancel_while_many_steps_are_read(
    serve: Serve, world: World, task_queue: str, monkeypatch: pytest.MonkeyPatch, cache: int
) -> None:
    """Cancelled again and again in every run, also between the tasks in which it reads: all that was done is undone."""
    for name, value in (("_breath.MANY", 2), ("_carry.MANY", 2), ("_full.CONTINUE_AT", 60)):
        monkeypatch.setattr(f"flows.{name}", value)
    world.switch("hold-n9")
    async with serve(work, long_line, cache=cache) as client:
        handle = await start(client, long_line, Given(number=5), id=new_id(), task_queue=task_queue)
        await world.until("n9")
        newest, result = client.get_workflow_handle(handle.id), asyncio.create_task(failure_of(handle, 60))
        while not result.done():
            with contextlib.suppress(RPCError):
                await newest.cancel()
            await asyncio.sleep(0.01)
        assert (await newest.describe()).status == WorkflowExecutionStatus.CANCELED
    assert undone(world) == [f"n{n}" for n in reversed(range(10))]


async def test_failed_undos_of_all_runs_are_named(serve: Serve, world: World, task_queue: str) -> None:
    """Undos fail in different runs: each is tried as its retry says, then named once at the end."""
    for switch in ("fail-n11", "fail-undo-n10", "fail-undo-n1"):
        world.switch(switch)
    async with serve(work, long_line) as client:
        handle = await start(client, long_line, Given(number=5), id=new_id(), task_queue=task_queue)
        found = causes(await failure_of(handle, 60))
    assert found[0][0] == "Stuck"
    assert found[0][1].split("\n")[1:] == [
        "not undone: n10 (work@1.0.0): RuntimeError: undo of n10 down",
        "not undone: n1 (work@1.0.0): RuntimeError: undo of n1 down",
    ]
    assert [call for call in world.calls if call == ("undo n10", "done")] == [("undo n10", "done")] * 3


async def chain_of(client: Client, handle: WorkflowHandle[Any, Any]) -> list[WorkflowHandle[Any, Any]]:
    """Give handles of a chain's runs, the first one first."""
    run_id, runs = handle.first_execution_run_id, []
    while run_id:
        runs.append(client.get_workflow_handle(handle.id, run_id=run_id))
        *_, last = [event async for event in runs[-1].fetch_history_events()]
        run_id = last.workflow_execution_continued_as_new_event_attributes.new_execution_run_id
    return runs


async def test_a_wide_saga_goes_on_with_its_cap(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """Twelve parallel steps, three at once, over several runs: each once, in plan order, and the last one gets every output."""
    async with serve(work, wide, cache=cache) as client:
        handle = await start(client, wide, EmptyInput(), id=new_id(), task_queue=task_queue)
        await handle.result()
        assert (await client.get_workflow_handle(handle.id).query("status"))["steps"]["last"] == "done"
        runs = await chain_of(client, handle)
        steps = [id for run in runs for id in await scheduled(run)]
        at_once = [await most_at_once(run) for run in runs]
    assert steps == [*(f"n{n}" for n in range(COUNT)), "last"]
    assert len(runs) >= 2 and max(at_once) == 3
    assert sorted(world.calls) == sorted(steps)


async def test_a_cancel_in_a_later_run_undoes_everything(serve: Serve, world: World, task_queue: str) -> None:
    """Cancelled in the third run: the steps of all runs are undone, the run is cancelled."""
    world.switch("hold-n9")
    async with serve(work, long_line) as client:
        handle = await start(client, long_line, Given(number=5), id=new_id(), task_queue=task_queue)
        await world.until("n9")
        newest = client.get_workflow_handle(handle.id)
        await newest.cancel()
        await failure_of(handle, 60)
        assert (
            await client.get_workflow_handle(handle.id).describe()
        ).status == WorkflowExecutionStatus.CANCELED
    assert undone(world) == [f"n{n}" for n in reversed(range(10))]


async def test_timers_go_on_in_the_next_run(skipping: Serve, world: World, task_queue: str) -> None:
    """A 100-day wait is carried with what is left of it: the saga ends after 100 days, not later."""
    async with skipping(work, waiting) as client:
        handle = await start(client, waiting, EmptyInput(), id=new_id(), task_queue=task_queue)
        await handle.result()
        described = await client.get_workflow_handle(handle.id).describe()
        first = await client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id).describe()
        assert described.close_time is not None
        took = described.close_time - first.start_time
    assert timedelta(days=100) <= took < timedelta(days=100, minutes=5)
    assert world.calls == ["first", *(f"n{n}" for n in range(COUNT)), "end"]


async def test_a_saga_that_fails_after_a_hundred_days_unwinds_whole(
    skipping: Serve, world: World, task_queue: str
) -> None:
    """Section 5, size: what its earlier runs did is carried along, so that no history older than its own is needed."""
    world.switch("fail-end")
    async with skipping(work, waiting) as client:
        handle = await start(client, waiting, EmptyInput(), id=new_id(), task_queue=task_queue)
        assert causes(await failure_of(handle, 60))[0][0] == "RolledBack"
        runs = await chain_of(client, handle)
    assert len(runs) > 2
    assert undone(world) == [*(f"n{n}" for n in reversed(range(COUNT))), "first"]


async def test_keys_are_the_same_over_all_runs(serve: Serve, world: World, task_queue: str) -> None:
    """The idempotency key of a step in a later run is made with the run in which the flow began."""
    async with serve(keyed, keyed_line) as client:
        await failure_of(
            await start(client, keyed_line, EmptyInput(), id=new_id(), task_queue=task_queue), 60
        )
    keys: dict[str, set[str]] = {}
    for step, key in world.calls:
        keys.setdefault(step, set()).add(key)
    assert {step: len(found) for step, found in keys.items()} == {f"n{n}": 1 for n in range(COUNT)}
    assert len(set().union(*keys.values())) == COUNT


async def test_what_is_too_large_to_be_carried_is_undone_in_time(
    serve: Serve, world: World, task_queue: str, monkeypatch: pytest.MonkeyPatch, cache: int
) -> None:
    """Where the next run can't be handed everything, the saga unwinds; what is undone isn't carried, so it goes on as new again.

    Each undo gets its output; one that fails is tried as its retry says, in one run only.
    """
    monkeypatch.setattr("flows._carry.LIMIT", 6000)
    async with serve(bulky, bulky_line, cache=cache) as client:
        handle = await start(client, bulky_line, EmptyInput(), id=new_id(), task_queue=task_queue)
        found = causes(await failure_of(handle, 60))
        newest = await client.get_workflow_handle(handle.id).describe()
    forward = [call for call in world.calls if isinstance(call, str)]
    undos = [call for call in world.calls if not isinstance(call, str)]
    done = len(forward)
    assert forward == [f"n{n}" for n in range(done)] and 8 <= done < 20
    order = [n for n in reversed(range(done)) for _ in range(3 if n == 5 else 1)]
    assert undos == [(f"undo n{n}", 800) for n in order]
    assert [kind for kind, _ in found] == ["Stuck", "HistoryLimit"]
    assert found[0][1].split("\n")[1:] == ["not undone: n5 (bulky@1.0.0): RuntimeError: undo of n5 down"]
    assert re.fullmatch(
        r"what this flow carries into its next run has \d+ bytes packed, 6000 are allowed; "
        "keep large values elsewhere and pass references",
        found[1][1],
    )
    assert newest.raw_info.history_length < 60


async def test_what_an_operator_gave_with_a_skip_goes_along(
    serve: Serve, world: World, task_queue: str
) -> None:
    """The first step is skipped with an output of the operator's: the last one gets it, several runs later."""
    world.switch("fail-first")
    async with serve(work, held_line) as client:
        handle = await start(client, held_line, EmptyInput(), id=new_id(), task_queue=task_queue)
        await shows(handle, "first", "held")
        await handle.execute_update("skip", {"step": "first", "output": {"id": 42, "name": "by hand"}})
        assert await asyncio.wait_for(handle.result(), 60) == Made(id=42, name="last")
        assert (
            await client.get_workflow_handle(handle.id).describe()
        ).run_id != handle.first_execution_run_id


async def test_an_undo_that_failed_before_an_edit_is_tried_again(
    serve: Serve, world: World, task_queue: str
) -> None:
    """What the first step left can't be undone, so it can't be edited, and is skipped; a run later unwinding names it."""
    for switch in ("hang-first", "fail-undo-first", "fail-n7"):
        world.switch(switch)
    async with serve(work, held_line) as client:
        handle = await start(client, held_line, EmptyInput(), id=new_id(), task_queue=task_queue)
        newest = client.get_workflow_handle(handle.id)
        await shows(newest, "first", "held")
        await newest.execute_update("edit", {"step": "first", "input": {"number": 5}})
        await eventually(lambda: world.calls.count(("undo first", "unknown")) == 3)
        await shows(newest, "first", "held")
        await newest.execute_update("skip", {"step": "first", "output": {"id": 1, "name": "by hand"}})
        await shows(newest, "n7", "held")
        await newest.execute_update("unwind", {"step": "n7"})
        found = causes(await failure_of(handle, 60))
    assert found[0][0] == "Stuck"
    assert found[0][1].split("\n")[1:] == ["not undone: first (work@1.0.0): RuntimeError: undo of first down"]
    assert world.calls.count(("undo first", "unknown")) == 6
    assert undone(world) == [f"n{n}" for n in reversed(range(7))]


@pytest.mark.parametrize("room", [30, 9000], ids=["full", "cap"])
async def test_a_parked_undo_does_not_stop_the_others(
    serve: Serve, world: World, task_queue: str, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """The first undo is parked while the history gets full, or has the only place: all the others end all the same."""
    monkeypatch.setattr("flows._full.CONTINUE_AT", room)
    for switch in ("fail-last", "fail-undo-n8"):
        world.switch(switch)
    async with serve(work, parking_wide) as client:
        handle = await start(client, parking_wide, EmptyInput(), id=new_id(), task_queue=task_queue)
        await eventually(lambda: len(undone(world)) == 8)
        newest = client.get_workflow_handle(handle.id)
        await shows(newest, "n8", "parked")
        assert set(undone(world)) == {f"n{n}" for n in range(8)}
        world.switch("fail-undo-n8", on=False)
        await newest.execute_update("retry", {"step": "n8"})
        assert causes(await failure_of(handle, 60))[0][0] == "RolledBack"
    assert undone(world)[8:] == ["n8"]
