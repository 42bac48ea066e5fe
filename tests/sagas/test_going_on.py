"""What linear workflows asked of policies: going on after a failure, the last error, a plan without steps."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from activities import Context, DefinitionError, EmptyInput, Outcome, operation
from flows import Dag, Policy, Sequence, saga, start, undo
from tests.conftest import Serve
from tests.sagas.operations import work
from tests.sagas.planning import typed, typed_mistakes
from tests.sagas.test_running import forward, undone
from tests.support import World, causes, events_of, eventually, failure_of, new_id

CONTINUE = Policy(on_failure="continue")
STEPS = [
    {"name": name, "operation": "work", "after": after}
    for name, after in (("a", []), ("b", ["a"]), ("c", ["b"]))
]


async def failure(client: Any, task_queue: str, policy: Policy) -> list[tuple[str, str]]:
    """Run a, b, c in a line; give the run's failure and its causes."""
    plan = typed(*STEPS, policy=policy.model_dump(mode="json", exclude_defaults=True)).to_json()
    handle = await start(client, "saga", plan, id=new_id(), task_queue=task_queue)
    return causes(await failure_of(handle))


@pytest.mark.parametrize(("error", "cause"), [("first", "a down"), ("last", "c down")])
async def test_going_on_after_failures(
    serve: Serve, world: World, task_queue: str, error: Any, cause: str
) -> None:
    """a!, b, c! with on_failure="continue" → a, b, c called, nothing undone; Kept, with the first or the last failure."""
    for name in "ac":
        world.switch(f"fail-{name}")
    async with serve(work) as client:
        found = await failure(client, task_queue, CONTINUE.model_copy(update={"error": error}))
    assert [kind for kind, _ in found] == ["Kept", "OperationFailed", "RuntimeError"]
    assert found[-1][1] == cause
    assert forward(world) == ["a", "b", "c"]


async def test_going_on_over_several_runs(
    serve: Serve, world: World, task_queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that goes on as new after a failure knows of it at its end; `undo` undoes what it left."""
    monkeypatch.setattr("flows._full.CONTINUE_AT", 14)
    world.switch("fail-a")
    async with serve(work) as client:
        plan = typed(*STEPS, policy={"on_failure": "continue"}).to_json()
        handle = await start(client, "saga", plan, id=new_id(), task_queue=task_queue)
        found = causes(await failure_of(handle))
        result = await undo(client, handle.id, task_queue=task_queue)
    assert found[1][1] == "step a (work@1.0.0) failed after 1 attempt: RuntimeError: a down"
    assert [kind for kind, _ in found] == ["Kept", "OperationFailed", "RuntimeError"]
    assert forward(world)[:3] == ["a", "b", "c"]
    assert result.undone == ("c", "b")


async def test_stop_unwinds_all_the_same(serve: Serve, world: World, task_queue: str) -> None:
    """a!, b, then `stop` in c: what was done is undone, and c isn't waited for."""
    world.switch("fail-a")
    world.switch("hold-c")
    async with serve(work) as client:
        plan = typed(*STEPS, policy={"on_failure": "continue"}).to_json()
        handle = await start(client, "saga", plan, id=new_id(), task_queue=task_queue)
        await world.until("c")
        await handle.execute_update("stop")
        found = causes(await failure_of(handle))
    assert [kind for kind, _ in found] == ["RolledBack", "ExecutionStopped"]
    assert undone(world) == ["c", "b"]


def test_who_goes_on_gets_no_outputs() -> None:
    """With on_failure="continue" a step that refers to another's output is a mistake; one that uses a constant isn't."""
    steps: list[Any] = [
        {"name": "five", "kind": "constant", "value": 5},
        {"name": "a", "operation": "work", "input": {"number": {"$ref": "five"}}},
        {"name": "b", "operation": "work", "input": {"number": {"$ref": "a", "path": ["id"]}}},
    ]
    assert typed_mistakes(*steps, policy={"on_failure": "continue"}) == [
        'b: input: refers to a, which may have failed; with on_failure="continue" no step gets the output of another'
    ]


def test_sequences_say_themselves_what_they_go_on_after() -> None:
    """A sequence with on_failure="continue" is refused when it is declared."""
    with pytest.raises(DefinitionError) as refused:

        class Going(Sequence[EmptyInput, None], id="going", version="1.0.0", policy=CONTINUE):
            async def run(self, input: EmptyInput) -> None:
                """Do nothing."""

    assert refused.value.message.startswith('going@1.0.0: on_failure="continue" is for plans')


@pytest.mark.parametrize(("error", "cause"), [("first", "c down"), ("last", "undo of a down")])
async def test_the_last_error(serve: Serve, world: World, task_queue: str, error: Any, cause: str) -> None:
    """a, b, c! where the undos of b and a fail: the cause is c's failure, or with error="last" that of a's undo."""
    for name in ("fail-c", "fail-undo-b", "fail-undo-a"):
        world.switch(name)
    async with serve(work) as client:
        found = await failure(client, task_queue, Policy(error=error))
    assert found[0][0] == "Stuck" and "not undone: b" in found[0][1] and "not undone: a" in found[0][1]
    assert found[-1] == ("RuntimeError", cause)


@pytest.mark.parametrize(("error", "cause"), [("first", "b down"), ("last", "c down")])
async def test_the_last_of_two_failures(
    serve: Serve, world: World, task_queue: str, error: Any, cause: str
) -> None:
    """a, (b! beside c!), where c fails once b has failed: steps in flight settle before it is said which one counts."""

    @saga(id="two", version="1.0.0", policy=Policy(error=error))
    def two(dag: Dag, params: EmptyInput) -> None:
        """a, then b beside c."""
        dag.append("a", work, {})
        dag.append_parallel(dag.step("b", work, {}), dag.step("c", work, {}))

    for name in ("fail-b", "hold-c", "fail-c"):
        world.switch(name)
    async with serve(work, two) as client:
        handle = await start(client, two, EmptyInput(), id=new_id(), task_queue=task_queue)
        await eventually(lambda: {"b", "c"} <= set(world.calls))
        while "ACTIVITY_TASK_FAILED" not in await events_of(handle):
            await asyncio.sleep(0.1)
        world.switch("go-c")
        assert causes(await failure_of(handle, 60))[-1] == ("RuntimeError", cause)


async def test_a_plan_without_steps(serve: Serve, task_queue: str) -> None:
    """Refused by default; with allow_empty it completes, without an activity."""

    @saga(id="none", version="1.0.0", policy=Policy(allow_empty=True))
    def none(dag: Dag, params: EmptyInput) -> None:
        """Nothing at all."""

    assert typed_mistakes() == ["steps: there is no operation; a saga needs one"]
    async with serve(none) as client:
        handle = await client.start_workflow("none", id=new_id(), task_queue=task_queue)
        assert await handle.result() is None
        assert (await handle.query("status"))["state"] == "completed"


async def test_an_undo_that_asks_is_told_the_cause(serve: Serve, world: World, task_queue: str) -> None:
    """b fails: a's undo, which asks for it, is told b's error; without `cause=True` an undo is told none."""

    def made(name: str, **options: Any) -> Any:
        @operation(id=name, version="1.0.0")
        async def op(ctx: Context[World], input: EmptyInput) -> None:
            """Do nothing, or fail."""
            if ctx.deps.is_on(f"fail-{name}"):
                raise RuntimeError(f"{name} down")

        @op.undo(**options)
        async def undo_it(ctx: Context[World], input: EmptyInput, outcome: Outcome[None]) -> None:
            ctx.deps.record(name, str(outcome.cause))

        return op

    first, second, third = made("first", cause=True), made("second"), made("third")

    @saga(id="told", version="1.0.0")
    def told(dag: Dag, params: EmptyInput) -> None:
        """Three in a line."""
        for op in (first, second, third):
            dag.append(op.definition.id, op, {})

    world.switch("fail-third")
    async with serve(first, second, third, told) as client:
        await failure_of(await start(client, told, EmptyInput(), id=new_id(), task_queue=task_queue))
    assert world.calls == [("second", "None"), ("first", "RuntimeError: third down")]
