"""A reset to every task, new code, every exception: sagas end as they should (points 8, 9, 11)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from activities import Context, EmptyInput, Operation, Outcome, operation
from flows import Dag, saga, start
from tests.conftest import Serve
from tests.sagas.operations import Given, make, work
from tests.sagas.test_continuing import chain_of, long_line
from tests.sagas.test_running import diamond, forward, line, undone
from tests.sample import FAST
from tests.support import World, causes, events_of, failure_of, new_id, reset
from tests.undoing import undo


async def test_reset_of_a_rolled_back_saga_is_refused(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """Issue point 8: a, (b ‖ c), d!, rolled back, reset to every task: ResetAfterUndo names the steps; nothing is called."""
    world.switch("fail-d")
    async with serve(work, diamond, cache=cache) as client:
        handle = await start(client, diamond, EmptyInput(), id=new_id(), task_queue=task_queue)
        await failure_of(handle)
        world.switch("fail-d", on=False)
        calls = world.calls
        first = client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id)
        ends = [i for i, kind in enumerate(await events_of(first), 1) if kind == "WORKFLOW_TASK_COMPLETED"]
        assert len(ends) >= 5
        for event_id in ends:
            ((kind, message),) = causes(await failure_of(await reset(client, first, event_id)))
            assert kind == "ResetAfterUndo", event_id
            head, names = "this run was reset after ", message.removeprefix("this run was reset after ")
            assert message.startswith(head) and names.endswith(" were undone; start a new run instead")
            assert sorted(names.split(" were")[0].split(", ")) == ["a", "b", "c"]
    assert world.calls == calls


here = make("here", placement="local")


@saga(id="mixed", version="1.0.0")
def mixed(dag: Dag, params: EmptyInput) -> None:
    """Local steps around a remote one."""
    for name, op in {"a": here, "b": work, "c": here, "d": here}.items():
        dag.append(name, op, {})


@saga(id="family", version="1.0.0")
def family(dag: Dag, params: EmptyInput) -> None:
    """A child flow between two steps."""
    dag.append("a", work, {})
    dag.flow("f", diamond, {})
    dag.append("z", work, {})


@pytest.mark.parametrize("later", [False, True], ids=["rolled back", "undone later"])
@pytest.mark.parametrize(
    ("flow", "last", "runs"),
    [(long_line, "n11", 2), (mixed, "d", 1), (family, "z", 1)],
    ids=["runs", "local", "child"],
)
async def test_reset_of_any_run_is_refused(
    serve: Serve,
    world: World,
    task_queue: str,
    monkeypatch: Any,
    flow: Any,
    last: str,
    runs: int,
    later: bool,
) -> None:
    """Issue point 8: in several runs, with local steps, with a child flow; rolled back, or undone by `undo`: to every task."""
    monkeypatch.setattr("flows._full.CONTINUE_AT", 30 if runs > 1 else 10_000)
    if not later:
        world.switch(f"fail-{last}")
    async with serve(work, here, long_line, mixed, family, diamond) as client:
        input = Given(number=5) if flow is long_line else EmptyInput()
        handle = await start(client, flow, input, id=new_id(), task_queue=task_queue)
        if later:
            await handle.result()
            await undo(client, task_queue, handle)
        else:
            await failure_of(handle, 60)
        world.switch(f"fail-{last}", on=False)
        calls = world.calls
        chain = await chain_of(client, handle)
        assert len(chain) >= runs
        for run in chain:
            ends = [i for i, kind in enumerate(await events_of(run), 1) if kind == "WORKFLOW_TASK_COMPLETED"]
            for event_id in ends:
                told = causes(await failure_of(await reset(client, run, event_id), 60))
                assert told[0][0] == "ResetAfterUndo", (run.run_id, event_id)
    assert world.calls == calls


def _changed_work() -> Operation[Any, Any]:
    """Make the operation as newer code has it: the same version, another timeout, no retries of its undo."""

    @operation(id="work", version="1.0.0", timeout=timedelta(milliseconds=1))
    async def newer(ctx: Context[World], input: Given) -> dict[str, Any]:
        ctx.deps.record(ctx.step)
        await asyncio.sleep(0.2)
        if ctx.deps.is_on(f"fail-{ctx.step}"):
            raise RuntimeError(f"{ctx.step} down")
        return {"id": input.number + sum(input.others), "name": ctx.step}

    @newer.undo(timeout=timedelta(milliseconds=1))
    async def undo(ctx: Context[World], input: Given, outcome: Outcome[dict[str, Any]]) -> None:
        await asyncio.sleep(0.2)
        ctx.deps.record(f"undone {ctx.step}")

    return newer


@saga(id="line", version="1.0.0")
def renamed(dag: Dag, params: EmptyInput) -> None:
    """The same version with other steps."""
    dag.append("x", work, {})


@saga(id="line", version="2.0.0")
def other_version(dag: Dag, params: Given) -> None:
    """Another version: the one that runs is gone."""
    dag.append("y", work, {})


@pytest.mark.parametrize("fails", [False, True], ids=["completes", "unwinds"])
@pytest.mark.parametrize(
    "newer",
    [[work, renamed], [work, other_version], [work], [_changed_work(), line]],
    ids=["steps renamed", "version removed", "saga removed", "other timeouts"],
)
async def test_new_code_while_a_saga_runs(
    serve: Serve, world: World, task_queue: str, newer: list[Any], fails: bool
) -> None:
    """Issue point 9, S15: a run finishes, or unwinds, by its recorded plan: its steps, its timeouts, its undos."""
    world.switch("hold-a")
    if fails:
        world.switch("fail-c")
    soon = timedelta(milliseconds=200)
    async with serve(work, line, sticky_queue_schedule_to_start_timeout=soon) as client:
        handle = await start(client, line, Given(number=1), id=new_id(), task_queue=task_queue)
        await world.until("a")
        plan = await handle.query("plan")
        world.switch("go-a")
        world.switch("hold-a", on=False)
    async with serve(*newer) as client:
        handle = client.get_workflow_handle(handle.id)
        if fails:
            assert causes(await failure_of(handle))[-1] == ("RuntimeError", "c down")
        else:
            assert await handle.result() == {"id": 112, "name": "c"}
        assert await handle.query("plan") == plan
    assert [step for step in "abc" if step in forward(world)] == ["a", "b", "c"]
    assert not {"x", "y"} & set(forward(world))
    assert undone(world) == (["b", "a"] if fails else [])


RAISED: dict[str, BaseException] = {
    "Exception": KeyError("zone"),
    "SystemExit": SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt(),
    "GeneratorExit": GeneratorExit(),
    "CancelledError": asyncio.CancelledError(),
    "StopIteration": StopIteration(4),
    "StopAsyncIteration": StopAsyncIteration(),
    "ExceptionGroup": ExceptionGroup("two", [ValueError("one"), KeyError("other")]),
}


def _raise(ctx: Context[World], input: str) -> int:
    """Raise, or give, what the input says; in step c fail."""
    if ctx.step == "c" or (ctx.step == "b" and input in RAISED):
        raise RAISED.get(input, RuntimeError("c down"))
    return "text" if ctx.step == "b" and input == "wrong type" else 1  # type: ignore[return-value]


def _undo_raise(ctx: Context[World], input: str) -> None:
    if ctx.step == "b" and input.startswith("undo "):
        raise RAISED[input.removeprefix("undo ")]
    ctx.deps.append(f"undone-{ctx.workflow_id}", ctx.step)
    return object() if input == "odd undo" else None  # type: ignore[return-value]


def _raising(**options: Any) -> Operation[str, int]:
    @operation(id="raising", version="1.0.0", **options)
    async def op(ctx: Context[World], input: str) -> int:
        return _raise(ctx, input)

    @op.undo(retry=FAST)
    async def undo_it(ctx: Context[World], input: str, outcome: Outcome[int]) -> None:
        return _undo_raise(ctx, input)

    return op


def _raising_in_a_thread(**options: Any) -> Operation[str, int]:
    @operation(id="raising", version="1.0.0", **options)
    def op(ctx: Context[World], input: str) -> int:
        return _raise(ctx, input)

    @op.undo(retry=FAST)
    def undo_it(ctx: Context[World], input: str, outcome: Outcome[int]) -> None:
        return _undo_raise(ctx, input)

    return op


PLACES = {
    "async": _raising(),
    "thread": _raising_in_a_thread(),
    "local": _raising(placement="local"),
    "local thread": _raising_in_a_thread(placement="local"),
}


async def ends(serve: Serve, world: World, task_queue: str, where: str, inputs: list[str]) -> dict[str, Any]:
    """Run the saga with each input, all at once; give each one's failure and the steps that were undone."""

    @saga(id="raises-somewhere", version="1.0.0")
    def raises_somewhere(dag: Dag, params: str) -> None:
        """a, then b, then c, which fails."""
        for name in "abc":
            dag.append(name, PLACES[where], params)

    async with serve(PLACES[where], raises_somewhere) as client:
        handles = {
            given: await start(client, raises_somewhere, given, id=new_id(), task_queue=task_queue)
            for given in inputs
        }
        return {
            given: (causes(await failure_of(handle, 60)), world.lines(f"undone-{handle.id}"))
            for given, handle in handles.items()
        }


@pytest.mark.parametrize("where", PLACES)
async def test_whatever_an_operation_raises(serve: Serve, world: World, task_queue: str, where: str) -> None:
    """Issue point 11, S43: b raises anything: it failed, [a]; it returns what its type doesn't allow: unknown, [b, a]."""
    found = await ends(serve, world, task_queue, where, [*RAISED, "wrong type", "odd undo"])
    kinds = {name: type(error).__name__ for name, error in RAISED.items()}
    if "thread" not in where:
        kinds["StopIteration"] = "RuntimeError"  # which Python makes of it in a coroutine
    assert {given: ([kind for kind, _ in chain[:3]], undos) for given, (chain, undos) in found.items()} == {
        **{name: (["RolledBack", "OperationFailed", kind], ["a"]) for name, kind in kinds.items()},
        "wrong type": (["RolledBack", "OperationFailed", "NotSerializable"], ["b", "a"]),
        "odd undo": (["RolledBack", "OperationFailed", "RuntimeError"], ["b", "a"]),
    }
    unfit = (
        "output doesn't fit int: value: Input should be a valid integer, unable to parse string as an integer"
    )
    assert found["wrong type"][0][-1] == ("NotSerializable", f"b (raising@1.0.0): {unfit}")


@pytest.mark.parametrize("where", PLACES)
async def test_whatever_an_undo_raises(serve: Serve, world: World, task_queue: str, where: str) -> None:
    """Issue point 11, S43: b's undo raises anything: Stuck names b with it, c's error is the cause, a is undone."""
    found = await ends(serve, world, task_queue, where, [f"undo {name}" for name in RAISED])
    for given, (chain, undos) in found.items():
        error = RAISED[given.removeprefix("undo ")]
        root = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
        assert [kind for kind, _ in chain] == ["Stuck", "OperationFailed", "RuntimeError"]
        says = f"not undone: b (raising@1.0.0): {type(root).__name__}: {root}"
        assert chain[0][1].split("\n")[1].startswith(says)
        assert undos == ["a"]
