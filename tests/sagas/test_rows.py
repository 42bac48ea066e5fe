"""Rows of steno and of its Go port (docs/seeds.md) that are about running a saga, each by its own vector."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from temporalio.exceptions import WorkflowAlreadyStartedError

from activities import Context, EmptyInput, Outcome, operation
from flows import Dag, Policy, Step, saga, start
from tests.conftest import Serve
from tests.sagas.operations import Given, Made, work
from tests.sagas.test_running import forward, line, undone
from tests.sample import FAST
from tests.support import World, causes, failure_of, new_id


@operation(id="not-a-number", version="1.0.0")
async def not_a_number(ctx: Context[World], input: EmptyInput) -> float:
    """Give what JSON can't hold."""
    ctx.deps.record(ctx.step)
    return math.nan


@not_a_number.undo(retry=FAST)
async def undo_not_a_number(ctx: Context[World], input: EmptyInput, outcome: Outcome[float]) -> None:
    ctx.deps.record(f"undo {ctx.step}", str(outcome.status))


@operation(id="seven", version="1.0.0")
async def seven(ctx: Context[World], input: Given) -> Made:
    """Make what has the id 7; ``b`` fails."""
    if ctx.step == "b":
        raise RuntimeError("b down")
    return Made(id=7, name=ctx.step)


@seven.undo(retry=FAST)
async def undo_seven(ctx: Context[World], input: Given, outcome: Outcome[Made]) -> None:
    ctx.deps.record(ctx.step, input.number, str(outcome.status), outcome.output and outcome.output.id)


@saga(id="bad-output", version="1.0.0")
def bad_output(dag: Dag, params: EmptyInput) -> None:
    """a, then what JSON can't hold, then c."""
    dag.append("a", work, {})
    dag.append("b", not_a_number, {})
    dag.append("c", work, {})


@saga(id="sevens", version="1.0.0")
def sevens(dag: Dag, params: EmptyInput) -> None:
    """a, then b, which fails."""
    dag.append("a", seven, {"number": 3})
    dag.append("b", seven, {})


@saga(id="line-stops", version="1.0.0", policy=Policy(on_undo_failure="stop"))
def line_stops(dag: Dag, params: Given) -> Step[Made]:
    """a, b, c; a failed undo ends unwinding."""
    return line.build(dag, params)


@saga(id="inside", version="1.0.0")
def inside(dag: Dag, params: EmptyInput) -> None:
    """An a of its own, and x, which refers to it."""
    a = dag.append("a", work, {"number": 2})
    dag.append("x", work, {"number": a.ref("id"), "others": [100]})


@saga(id="shadowed", version="1.0.0")
def shadowed(dag: Dag, params: EmptyInput) -> Step[Made]:
    """a, a subsaga with another a, and z, which refers to the first one."""
    a = dag.append("a", work, {"number": 1})
    dag.subsaga("s", inside, {})
    return dag.append("z", work, {"number": a.ref("id"), "others": [1000]})


@saga(id="own-parents", version="1.0.0")
def own_parents(dag: Dag, params: EmptyInput) -> None:
    """a beside b, and c after a alone."""
    a, _ = dag.append_parallel(dag.step("a", work, {}), dag.step("b", work, {}))
    dag.step("c", work, {}, after=[a])


@saga(id="four", version="1.0.0")
def four(dag: Dag, params: EmptyInput) -> None:
    """a, then four steps beside each other."""
    dag.append("a", work, {})
    dag.append_parallel(*(dag.step(f"n{number}", work, {}) for number in range(4)))


SAGAS = (line, line_stops, bad_output, sevens, inside, shadowed, own_parents, four)
ALL = (work, not_a_number, seven, *SAGAS)


@pytest.mark.parametrize(
    ("flow", "tried", "left"), [(line, ["a"], ["b"]), (line_stops, [], ["b", "a"])], ids=["continue", "stop"]
)
async def test_a_failed_undo_is_a_policy(
    serve: Serve, world: World, task_queue: str, flow: Any, tried: list[str], left: list[str]
) -> None:
    """G8: a, b (undo fails), c! → continue: [b!, a], Stuck names b; stop: [b!], names b and a; c's error is the cause."""
    world.switch("fail-c")
    world.switch("fail-undo-b")
    async with serve(*ALL) as client:
        handle = await start(client, flow, Given(number=1), id=new_id(), task_queue=task_queue)
        found = causes(await failure_of(handle))
    assert undone(world) == tried
    assert ("undo b", "done") in world.calls
    assert [kind for kind, _ in found] == ["Stuck", "OperationFailed", "RuntimeError"]
    assert [text.split()[2] for text in found[0][1].split("\n")[1:]] == left
    assert found[-1] == ("RuntimeError", "c down")


async def test_a_second_start(serve: Serve, world: World, task_queue: str) -> None:
    """G15, S51, S53: refused while the id is open, before anything is made; then a run of its own, the old one as before."""
    world.switch("hold-b")
    async with serve(*ALL) as client:
        first = await start(client, line, Given(number=1), id=new_id(), task_queue=task_queue)
        await world.until("b")
        before = (await first.describe()).raw_info.history_length
        with pytest.raises(WorkflowAlreadyStartedError):
            await start(client, line, Given(number=2), id=first.id, task_queue=task_queue)
        assert (await first.describe()).raw_info.history_length == before
        world.switch("go-b")
        assert await first.result() == Made(id=112, name="c")
        assert forward(world) == ["a", "b", "c"]
        old = client.get_workflow_handle(first.id, run_id=first.first_execution_run_id)
        report = await old.query("report")
        second = await start(client, line, Given(number=2), id=first.id, task_queue=task_queue)
        assert await second.result() == Made(id=114, name="c")
        assert second.first_execution_run_id != first.first_execution_run_id
        assert await old.query("report") == report
    assert forward(world) == ["a", "b", "c"] * 2


async def test_a_finished_run_does_nothing_on_restart(serve: Serve, world: World, task_queue: str) -> None:
    """S73: another worker after the end: no call, the same report."""
    world.switch("fail-c")
    async with serve(*ALL) as client:
        handle = await start(client, line, Given(number=1), id=new_id(), task_queue=task_queue)
        await failure_of(handle)
        report = await handle.query("report")
    calls = world.calls
    async with serve(*ALL) as client:
        again = client.get_workflow_handle(handle.id)
        assert await again.query("report") == report
        assert (await again.query("status"))["state"] == "rolled_back"
    assert world.calls == calls


async def test_the_nearest_namespace(serve: Serve, world: World, task_queue: str) -> None:
    """G29, S33, S35: a name means the nearest namespace's: x gets the inner a, z the outer; the report has both, apart."""
    async with serve(*ALL) as client:
        handle = await start(client, shadowed, EmptyInput(), id=new_id(), task_queue=task_queue)
        assert await handle.result() == Made(id=1001, name="z")
        report = await handle.query("report")
        status = (await handle.query("status"))["steps"]
    outputs = {child["step"]: child["output"]["id"] for child in report["children"]}
    assert outputs == {"a": 1, "s/a": 2, "s/x": 102, "z": 1001}
    assert status == dict.fromkeys(outputs, "done")


async def test_an_output_that_cannot_be_recorded(serve: Serve, world: World, task_queue: str) -> None:
    """G40: a, b returns NaN → b is called once, its outcome is unknown: [b, a]; c never starts."""
    async with serve(*ALL) as client:
        handle = await start(client, bad_output, EmptyInput(), id=new_id(), task_queue=task_queue)
        found = causes(await failure_of(handle))
    assert [kind for kind, _ in found] == ["RolledBack", "OperationFailed", "NotSerializable"]
    assert world.calls == ["a", "b", ("undo b", "unknown"), ("undo a", "done"), "undone a"]


async def test_an_undo_gets_input_and_output(serve: Serve, world: World, task_queue: str) -> None:
    """S29: a → {"id": 7}; b! → a's undo sees its input, its output's id 7, status done; b's isn't called."""
    async with serve(*ALL) as client:
        await failure_of(await start(client, sevens, EmptyInput(), id=new_id(), task_queue=task_queue))
    assert world.calls == [("a", 3, "done", 7)]


async def test_a_step_starts_when_its_own_parents_are_done(
    serve: Serve, world: World, task_queue: str
) -> None:
    """S23: a ‖ b (held), c after a only → c is called, and ends, before b ends."""
    world.switch("hold-b")
    async with serve(*ALL) as client:
        handle = await start(client, own_parents, EmptyInput(), id=new_id(), task_queue=task_queue)
        await world.until("c")
        while (status := (await handle.query("status"))["steps"]).get("c") != "done":
            await asyncio.sleep(0.02)
        assert status == {"a": "done", "b": "running", "c": "done"}
        world.switch("go-b")
        await handle.result()


async def test_nothing_that_depends_on_a_step_starts_before_its_end_is_recorded(
    serve: Serve, world: World, task_queue: str
) -> None:
    """S21: in history, b is recorded before it begins, its end before c is asked for."""
    async with serve(*ALL) as client:
        handle = await start(client, line, Given(number=1), id=new_id(), task_queue=task_queue)
        await handle.result()
        order: list[str] = []
        names: dict[int, str] = {}
        async for event in handle.fetch_history_events():
            if event.HasField("activity_task_scheduled_event_attributes"):
                names[event.event_id] = event.activity_task_scheduled_event_attributes.activity_id
                order.append(f"{names[event.event_id]} asked for")
            for kind in ("started", "completed"):
                if event.HasField(field := f"activity_task_{kind}_event_attributes"):
                    order.append(f"{names[getattr(event, field).scheduled_event_id]} {kind}")
    assert order == [f"{step} {what}" for step in "abc" for what in ("asked for", "started", "completed")]


async def test_the_report_is_what_was_called(serve: Serve, world: World, task_queue: str) -> None:
    """S45: whichever siblings fail, one, some or all: the report says what was called, and what was undone."""
    names = [f"n{number}" for number in range(4)]
    failing = [names[:1], names[3:], names[1:3], names[:2] + names[3:], names]
    async with serve(*ALL) as client:
        for number, chosen in enumerate(failing):
            for name in names:
                world.switch(f"fail-{name}", on=name in chosen)
            before = len(world.calls)
            handle = await start(client, four, EmptyInput(), id=new_id(), task_queue=task_queue)
            await failure_of(handle)
            report = await handle.query("report")
            calls = world.calls[before:]
            outcomes = {child["step"]: child["outcome"] for child in report["children"]}
            assert outcomes == {"a": "done"} | {n: "failed" if n in chosen else "done" for n in names}, number
            assert sorted(call for call in calls if call in outcomes) == sorted(outcomes)
            undos = {child["step"] for child in report["children"] if child["undo"]}
            assert undos == {"a", *names} - set(chosen)
            assert {call[7:] for call in calls if str(call).startswith("undone ")} == undos
