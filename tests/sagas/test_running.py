"""Sagas run as parallel as their plan allows, and unwind a step only after all that came after it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus

from activities import EmptyInput
from flows import Dag, Policy, Step, saga, start
from tests.conftest import Serve
from tests.sagas.operations import Given, Made, check, work
from tests.support import World, causes, events_of, eventually, failure_of, new_id


def undone(world: World) -> list[str]:
    """Give the steps whose undo has ended, in order."""
    return [
        call[len("undone ") :] for call in world.calls if isinstance(call, str) and call.startswith("undone ")
    ]


def forward(world: World) -> list[str]:
    """Give the steps that were called, in order."""
    return [call for call in world.calls if isinstance(call, str) and not call.startswith("undone ")]


@saga(id="line", version="1.0.0")
def line(dag: Dag, params: Given) -> Step[Made]:
    """a, b, c in a line, each with the id of the one before."""
    a = dag.append("a", work, {"number": params.number})
    b = dag.append("b", work, {"number": a.ref("id"), "others": [10]})
    return dag.append("c", work, {"number": b.ref("id"), "others": [a.ref("id"), 100]})


@saga(id="always-undone", version="1.0.0", policy=Policy(undo_failed_step="always"))
def always_undone(dag: Dag, params: EmptyInput) -> None:
    """a, b, c; the failed step's own undo runs too."""
    for name in "abc":
        dag.append(name, work, {})


@saga(id="diamond", version="1.0.0")
def diamond(dag: Dag, params: EmptyInput) -> Step[Made]:
    """a, then b beside c, then d."""
    dag.append("a", work, {})
    dag.append_parallel(dag.step("b", work, {}), dag.step("c", work, {}))
    return dag.append("d", work, {})


@saga(id="diamond-cancels", version="1.0.0", policy=Policy(settle="cancel"))
def diamond_cancels(dag: Dag, params: EmptyInput) -> None:
    """The same; a failure cancels what is in flight."""
    diamond.build(dag, params)


@saga(id="diamond-stops", version="1.0.0", policy=Policy(on_undo_failure="stop"))
def diamond_stops(dag: Dag, params: EmptyInput) -> None:
    """The same; a failed undo ends unwinding."""
    diamond.build(dag, params)


@saga(id="one-at-a-time", version="1.0.0", policy=Policy(max_parallel=1))
def one_at_a_time(dag: Dag, params: EmptyInput) -> None:
    """The same, one step at a time."""
    diamond.build(dag, params)


@saga(id="inner", version="1.0.0")
def inner(dag: Dag, params: Given) -> Step[Made]:
    """x, then y with what the params say."""
    dag.append("x", work, {})
    return dag.append("y", work, {"number": params.number, "others": params.others})


@saga(id="outer", version="1.0.0")
def outer(dag: Dag, params: EmptyInput) -> Step[Made]:
    """x, a subsaga with x and y, and z with the subsaga's result."""
    x = dag.append("x", work, {"number": 7})
    s = dag.subsaga("s", inner, {"number": x.ref("id"), "others": [1]})
    return dag.append("z", work, {"number": s.ref("id")})


@saga(id="mixed-kinds", version="1.0.0")
def mixed_kinds(dag: Dag, params: EmptyInput) -> Step[Made]:
    """A constant, an approval, a check without undo."""
    from flows import no_undo

    five = dag.constant("five", {"value": 5})
    dag.append("check", check, {"number": five.ref("value")}, undo=no_undo)
    dag.approval("go")
    return dag.append("a", work, {"number": five.ref("value")})


@saga(id="late-mistake", version="1.0.0")
def late_mistake(dag: Dag, params: EmptyInput) -> None:
    """b gets a text where a number is due, which only its value shows."""
    a = dag.append("a", work, {})
    dag.append("b", work, {"number": a.ref("name")})


SAGAS = (
    line, always_undone, diamond, diamond_cancels, diamond_stops, one_at_a_time, inner, outer, mixed_kinds, late_mistake,
)  # fmt: skip


async def failed(client: Any, flow: Any, task_queue: str, input: Any = EmptyInput()) -> BaseException:
    """Run a saga that fails, and give its failure."""
    return await failure_of(await start(client, flow, input, id=new_id(), task_queue=task_queue))


async def test_a_line_hands_outputs_on(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """G1: a, b, c in order; references fill the inputs; the result is the output of the returned step."""
    async with serve(work, check, *SAGAS, cache=cache) as client:
        handle = await start(client, line, Given(number=1), id=new_id(), task_queue=task_queue)
        assert await handle.result() == Made(id=112, name="c")
        events = await events_of(handle)
    assert world.calls == ["a", "b", "c"]
    assert events.count("MARKER_RECORDED") == 1
    assert len(events) == 3 * 6 + 6


@pytest.mark.parametrize("name", ["line", "line@^1", "line@1.0.0"])
async def test_a_saga_starts_by_id_range_and_exact_type(
    serve: Serve, world: World, task_queue: str, name: str
) -> None:
    """A saga starts under every name it has; the run keeps that name, and shows the version it resolved to."""
    async with serve(work, check, *SAGAS) as client:
        handle = await start(client, name, {"number": 1}, id=new_id(), task_queue=task_queue)
        assert (await handle.result())["id"] == 112
        assert (await handle.query("status"))["flow"] == "line@1.0.0"


async def test_failure_unwinds_what_was_done(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """Issue point 1, G7: a, b, c! → [b, a]; c's own undo isn't called; the first line names step, operation, attempts, cause."""
    world.switch("fail-c")
    async with serve(work, check, *SAGAS, cache=cache) as client:
        found = causes(await failed(client, line, task_queue, Given(number=1)))
    assert [kind for kind, _ in found] == ["RolledBack", "OperationFailed", "RuntimeError"]
    assert (
        found[0][1]
        == "line@1.0.0 rolled back: step c (work@1.0.0) failed after 1 attempt: RuntimeError: c down"
    )
    assert forward(world) == ["a", "b", "c"]
    assert undone(world) == ["b", "a"]


async def test_unknown_is_undone(serve: Serve, world: World, task_queue: str) -> None:
    """Issue point 1: c runs into its timeout: unknown, so [c, b, a]."""
    world.switch("hang-c")
    async with serve(work, check, *SAGAS) as client:
        await failed(client, line, task_queue, Given(number=1))
    assert undone(world) == ["c", "b", "a"]
    assert ("undo c", "unknown") in world.calls


async def test_always_undoes_the_failed_step(serve: Serve, world: World, task_queue: str) -> None:
    """S25: with undo_failed_step="always": [c, b, a]."""
    world.switch("fail-c")
    async with serve(work, check, *SAGAS) as client:
        await failed(client, always_undone, task_queue)
    assert undone(world) == ["c", "b", "a"]


async def test_a_step_in_flight_settles_first(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """Issue point 2, S27: a, (b! ‖ c slow), d → c ends, then [c, a]; d never starts."""
    world.switch("fail-b")
    world.switch("hold-c")
    async with serve(work, check, *SAGAS, cache=cache) as client:
        handle = await start(client, diamond, EmptyInput(), id=new_id(), task_queue=task_queue)
        while (await handle.query("status"))["steps"].get("b") != "failed":
            await asyncio.sleep(0.02)
        assert undone(world) == []
        world.switch("go-c")
        await failure_of(handle)
    assert sorted(forward(world)) == ["a", "b", "c"]
    assert undone(world) == ["c", "a"]


async def test_settle_cancel_interrupts_what_is_in_flight(
    serve: Serve, world: World, task_queue: str
) -> None:
    """Issue point 2: with settle="cancel" c is interrupted: unknown, undone."""
    world.switch("fail-b")
    world.switch("hold-c")
    async with serve(work, check, *SAGAS) as client:
        found = causes(await failed(client, diamond_cancels, task_queue))
    assert found[-1] == ("RuntimeError", "b down")
    assert ("undo c", "unknown") in world.calls
    assert undone(world) == ["c", "a"]
    assert "d" not in forward(world)


async def test_a_is_undone_after_both_that_came_after_it(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """Issue point 3, S26: a, (b ‖ c), d! → [b ‖ c, then a]: the undo of a begins after both have ended."""
    world.switch("fail-d")
    world.switch("hold-undo-b")
    async with serve(work, check, *SAGAS, cache=cache) as client:
        handle = await start(client, diamond, EmptyInput(), id=new_id(), task_queue=task_queue)
        await world.until("undo b", "done")
        await world.until("undone c")
        assert ("undo a", "done") not in world.calls
        world.switch("go-undo-b")
        await failure_of(handle)
    assert undone(world) == ["c", "b", "a"]


async def test_queued_steps_never_start(serve: Serve, world: World, task_queue: str) -> None:
    """S27: with max_parallel=1 and b! first, c never runs: [a]."""
    world.switch("fail-b")
    async with serve(work, check, *SAGAS) as client:
        await failed(client, one_at_a_time, task_queue)
    assert forward(world) == ["a", "b"]
    assert undone(world) == ["a"]


async def test_a_failed_undo_is_named_and_stops_nothing(serve: Serve, world: World, task_queue: str) -> None:
    """Issue point 4, S39: both undos of the stage fail: a is undone all the same, Stuck names b and c, d's error is the cause."""
    for switch in ("fail-d", "fail-undo-b", "fail-undo-c"):
        world.switch(switch)
    async with serve(work, check, *SAGAS) as client:
        found = causes(await failed(client, diamond, task_queue))
    assert found[0][0] == "Stuck"
    lines = found[0][1].split("\n")
    assert (
        lines[0] == "diamond@1.0.0 is stuck: step d (work@1.0.0) failed after 1 attempt: RuntimeError: d down"
    )
    assert sorted(lines[1:]) == [
        "not undone: b (work@1.0.0): RuntimeError: undo of b down",
        "not undone: c (work@1.0.0): RuntimeError: undo of c down",
    ]
    assert found[-1] == ("RuntimeError", "d down")
    assert undone(world) == ["a"]


async def test_a_failed_undo_may_end_unwinding(serve: Serve, world: World, task_queue: str) -> None:
    """Issue point 4: with on_undo_failure="stop" a is not undone, and is named."""
    world.switch("fail-d")
    world.switch("fail-undo-b")
    async with serve(work, check, *SAGAS) as client:
        message = causes(await failed(client, diamond_stops, task_queue))[0][1]
    assert "not undone: a (work@1.0.0): not tried, since b wasn't undone" in message.split("\n")
    assert "a" not in undone(world)


async def test_a_subsaga_is_a_namespace(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """Issue point 5, G27–G31, S34: inner and outer x don't meet; params given as refs arrive; its result is y's output."""
    async with serve(work, check, *SAGAS, cache=cache) as client:
        handle = await start(client, outer, EmptyInput(), id=new_id(), task_queue=task_queue)
        assert await handle.result() == Made(id=8, name="z")
    assert world.calls == ["x", "s/x", "s/y", "z"]


async def test_a_failure_inside_a_subsaga(serve: Serve, world: World, task_queue: str) -> None:
    """Issue point 5, S37: s(x, y!) after x → [s/x, x]; the error names s/y."""
    world.switch("fail-s/y")
    async with serve(work, check, *SAGAS) as client:
        found = causes(await failed(client, outer, task_queue))
    assert found[1][1] == "step s/y (work@1.0.0) failed after 1 attempt: RuntimeError: s/y down"
    assert undone(world) == ["s/x", "x"]


async def test_constants_approvals_and_steps_without_undo(
    serve: Serve, world: World, task_queue: str
) -> None:
    """A constant reaches inputs, an approval is waited for, a check is not undone."""
    async with serve(work, check, *SAGAS) as client:
        handle = await start(client, mixed_kinds, EmptyInput(), id=new_id(), task_queue=task_queue)
        await eventually(lambda: "check" in world.calls)
        while (await handle.query("status"))["steps"].get("go") != "waiting for approval":
            await asyncio.sleep(0.02)
        await handle.execute_update("approve", {"name": "go", "by": "ann"})
        assert await handle.result() == Made(id=5, name="a")
    assert world.calls == ["check", "a"]


async def test_a_value_that_does_not_fit_is_refused_in_the_step(
    serve: Serve, world: World, task_queue: str
) -> None:
    """S31: text where a number is due: InvalidInput names step and field, the handler isn't called, a is undone."""
    async with serve(work, check, *SAGAS) as client:
        found = causes(await failed(client, late_mistake, task_queue))
    assert found[-1][0] == "InvalidInput"
    assert found[-1][1].startswith(
        "b: input of work@1.0.0 doesn't fit Given: number: Input should be a valid integer"
    )
    assert world.calls == ["a", ("undo a", "done"), "undone a"]


async def test_cancel_undoes_everything(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """Issue point 7: cancelled during b and c: both are unknown and undone, then a; the run is cancelled."""
    world.switch("hold-b")
    world.switch("hold-c")
    async with serve(work, check, *SAGAS, cache=cache) as client:
        handle = await start(client, diamond, EmptyInput(), id=new_id(), task_queue=task_queue)
        await world.until("b")
        await world.until("c")
        await handle.cancel()
        await failure_of(handle)
        assert (await handle.describe()).status == WorkflowExecutionStatus.CANCELED
    assert sorted(undone(world)[:2]) == ["b", "c"]
    assert undone(world)[2:] == ["a"]


async def test_a_plan_from_a_file_runs_without_its_builder(
    serve: Serve, world: World, task_queue: str
) -> None:
    """S15: `query plan` gives what `--type saga` takes: the same plan runs again where no saga is registered."""
    async with serve(work, check, *SAGAS) as client:
        handle = await start(client, outer, EmptyInput(), id=new_id(), task_queue=task_queue)
        await handle.result()
        plan = await handle.query("plan")
    before = world.calls
    async with serve(work) as client:
        again = await start(client, "saga", plan, id=new_id(), task_queue=task_queue)
        assert await again.result() == {"id": 8, "name": "z"}
        assert await again.query("plan") == plan
    assert world.calls == before * 2


async def test_eight_failures_at_once_end_cleanly(serve: Serve, world: World, task_queue: str) -> None:
    """S28: eight parallel steps that all fail: one clean end, every failure in the report."""
    for number in range(8):
        world.switch(f"fail-n{number}")
    plan = {
        "id": "eight",
        "version": "1.0.0",
        "steps": [{"name": f"n{n}", "operation": "work"} for n in range(8)],
    }
    async with serve(work) as client:
        handle = await start(client, "saga", plan, id=new_id(), task_queue=task_queue)
        found = causes(await failure_of(handle))
        report = await handle.query("report")
    assert found[0][0] == "RolledBack"
    assert [child["outcome"] for child in report["children"]] == ["failed"] * 8
