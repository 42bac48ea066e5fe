"""`undo` of sagas whose history tells little: local steps, a run that was cut off, runs that went on as new."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError

from activities import Context, EmptyInput, Outcome, operation
from flows import Dag, Step, saga, start
from tests.conftest import Serve
from tests.sagas.operations import Given, Made, make, work
from tests.sagas.test_running import (
    undone,
)
from tests.sample import FAST
from tests.support import World, causes, events_of, failure_of, new_id, reset
from tests.undoing import done, start_undo, undo

other = make("other")


async def _run(client: Any, flow: Any, task_queue: str, input: Any = EmptyInput()) -> Any:
    """Run a saga to its end, whatever that is."""
    handle = await start(client, flow, input, id=new_id(), task_queue=task_queue)
    with contextlib.suppress(WorkflowFailureError):
        await asyncio.wait_for(handle.result(), 60)
    return handle


@operation(id="near", version="1.0.0", placement="local")
async def near(ctx: Context[World], input: Given) -> Made:
    """A local step that records its key, and waits where the test says so."""
    world = ctx.deps
    world.record(ctx.step, ctx.idempotency_key)
    if world.is_on(f"hold-{ctx.step}"):
        await world.wait(f"go-{ctx.step}")
    return Made(id=input.number + 1, name=ctx.step)


@near.undo(retry=FAST)
async def undo_near(ctx: Context[World], input: Given, outcome: Outcome[Made]) -> None:
    ctx.deps.record("undo", ctx.step, input.number, str(outcome.status), ctx.idempotency_key)


@saga(id="near-line", version="1.0.0")
def near_line(dag: Dag, params: EmptyInput) -> None:
    """A remote step, then local ones: b and c with the remote's output, d with c's, and e."""
    a = dag.append("a", work, {"number": 7})
    b = dag.append("b", near, {"number": a.ref("id")})
    c = dag.append("c", near, {"number": 1})
    dag.step("d", near, {"number": c.ref("id")}, after=[c])
    dag.step("never", work, {}, after=[b, c])
    dag.append("e", near, {"number": 2})


async def test_local_steps_of_a_completed_saga(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """Markers tell of local steps: each is undone locally, with its output, under its key."""
    async with serve(work, near, near_line, cache=cache) as client:
        handle = await _run(client, near_line, task_queue)
        result = await undo(client, task_queue, handle)
    keys = {call[0]: call[1] for call in world.calls if isinstance(call, tuple) and len(call) == 2}
    undos = {call[1]: call[2:] for call in world.calls if isinstance(call, tuple) and call[0] == "undo"}
    assert set(result["undone"]) == {"a", "b", "c", "d", "never", "e"}
    assert undos == {
        name: (number, "done", keys[name]) for name, number in (("b", 7), ("c", 1), ("d", 2), ("e", 2))
    }


async def test_local_steps_without_a_trace_are_unknown(serve: Serve, world: World, task_queue: str) -> None:
    """Section 3: terminated while c ran, b done in the same task: neither left a trace; both were ready: unknown.

    e came after the remote step `never`, which was not scheduled: it can't have run. d may have; its input can't be known.
    """
    world.switch("hold-c")
    async with serve(work, near, near_line) as client:
        handle = await start(client, near_line, EmptyInput(), id=new_id(), task_queue=task_queue)
        while len([c for c in world.calls if isinstance(c, tuple)]) < 2:
            await asyncio.sleep(0.02)
        await handle.terminate()
        world.switch("go-c")
        failure = await failure_of(await start_undo(client, task_queue, handle), 60)
    keys = {call[0]: call[1] for call in world.calls if isinstance(call, tuple) and len(call) == 2}
    undos = [
        call[1:] for call in world.calls if isinstance(call, tuple) and call[0] == "undo" and len(call) == 5
    ]
    assert undos == [("c", 1, "unknown", keys["c"]), ("b", 7, "unknown", keys["b"])]
    assert undone(world) == ["a"]
    reason = (
        "it may have run when the run was terminated, and its input isn't known: "
        "it needs the output of c, which isn't recorded"
    )
    assert causes(failure)[0][1].split("\n")[1:] == [f"not undone: d (near@1.0.0): {reason}"]


@operation(id="shaky", version="1.0.0")
async def shaky(ctx: Context[World], input: Given) -> Made:
    """Record the key."""
    ctx.deps.record(ctx.step, ctx.idempotency_key)
    return Made(id=1, name=ctx.step)


@shaky.undo(retry=FAST)
async def undo_shaky(ctx: Context[World], input: Given, outcome: Outcome[Made]) -> None:
    ctx.deps.record("undo", ctx.step, ctx.idempotency_key)


@saga(id="long-shaky", version="1.0.0")
def long_shaky(dag: Dag, params: EmptyInput) -> None:
    """Twelve steps in a line."""
    for number in range(12):
        dag.append(f"n{number}", shaky, {})


async def test_a_saga_that_went_on_as_new(
    serve: Serve, world: World, task_queue: str, monkeypatch: pytest.MonkeyPatch, cache: int
) -> None:
    """Issue "undo of closed runs": of a saga over several runs every step is undone once, newest first, under its key.

    Named by the id of any of its runs; a second undo by another run's id finds the same claim.
    """
    monkeypatch.setattr("flows._full.CONTINUE_AT", 30)
    async with serve(shaky, long_shaky, cache=cache) as client:
        handle = await _run(client, long_shaky, task_queue)
        by_first = {"workflow_id": handle.id, "run_id": handle.first_execution_run_id}
        names = [f"n{n}" for n in reversed(range(12))]
        assert await undo(client, task_queue, by_first) == done(*names)
        assert (await undo(client, task_queue, client.get_workflow_handle(handle.id)))[
            "already_undone"
        ] == names
    keys = [call for call in world.calls if len(call) == 2]
    assert [call[1:] for call in world.calls if call[0] == "undo"] == keys[::-1]


async def test_a_reset_of_an_earlier_run_of_an_undone_saga_is_refused(
    serve: Serve, world: World, task_queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Section 5: the first of several runs, reset after undo undid the saga: ResetAfterUndo, nothing is called."""
    monkeypatch.setattr("flows._full.CONTINUE_AT", 30)
    async with serve(shaky, long_shaky) as client:
        handle = await _run(client, long_shaky, task_queue)
        first = client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id)
        await undo(client, task_queue, {"workflow_id": handle.id})
        before, kinds = world.calls, await events_of(first)
        failure = await failure_of(await reset(client, first, kinds.index("WORKFLOW_TASK_COMPLETED") + 1))
    assert causes(failure)[0][0] == "ResetAfterUndo"
    assert world.calls == before


@saga(id="hybrid", version="1.0.0")
def hybrid(dag: Dag, params: EmptyInput) -> Step[Any]:
    """A wait between local steps."""
    dag.append("a", near, {})
    dag.wait("soak", timedelta(hours=1))
    return dag.append("b", near, {})


async def test_what_waits_did_not_begin(serve: Serve, world: World, task_queue: str) -> None:
    """Terminated while it waited: the local step behind the wait never ran, and is not undone."""
    async with serve(near, hybrid) as client:
        handle = await start(client, hybrid, EmptyInput(), id=new_id(), task_queue=task_queue)
        while (await handle.query("status"))["steps"].get("soak") != "waiting":
            await asyncio.sleep(0.02)
        await handle.terminate()
        assert await undo(client, task_queue, handle) == done("a")
    assert [call[:2] for call in world.calls if call[0] == "undo"] == [("undo", "a")]
