"""Held steps and parked undos wait for an operator."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle, WorkflowUpdateFailedError

from activities import EmptyInput, Operation
from flows import Dag, Policy, Sequence, Step, saga, start
from tests.conftest import Serve
from tests.sagas.operations import Given, Made, work
from tests.sagas.test_running import undone
from tests.support import World, causes, failure_of, new_id


def chain(dag: Dag, operation: Operation[Given, Made] = work) -> Step[Made]:
    """a, b with a's id, c with b's."""
    a = dag.append("a", operation, {"number": 1})
    b = dag.append("b", operation, {"number": a.ref("id")})
    return dag.append("c", operation, {"number": b.ref("id")})


@saga(id="holding", version="1.0.0", policy=Policy(on_failure="hold"))
def holding(dag: Dag, params: EmptyInput) -> Step[Made]:
    """A line that is held when a step fails."""
    return chain(dag)


@saga(
    id="holding-shortly", version="1.0.0", policy=Policy(on_failure="hold", hold_timeout=timedelta(hours=1))
)
def holding_shortly(dag: Dag, params: EmptyInput) -> Step[Made]:
    """Held for an hour, then unwound."""
    return chain(dag)


@saga(
    id="holding-then-keeping",
    version="1.0.0",
    policy=Policy(on_failure="hold", hold_timeout=timedelta(hours=1), then="keep"),
)
def holding_then_keeping(dag: Dag, params: EmptyInput) -> Step[Made]:
    """Held for an hour, then kept."""
    return chain(dag)


@saga(id="holding-always", version="1.0.0", policy=Policy(on_failure="hold", undo_failed_step="always"))
def holding_always(dag: Dag, params: EmptyInput) -> Step[Made]:
    """Held when a step fails, which is undone too."""
    return chain(dag)


@saga(id="parking", version="1.0.0", policy=Policy(on_undo_failure="park"))
def parking(dag: Dag, params: EmptyInput) -> Step[Made]:
    """A line whose failed undos are parked."""
    return chain(dag)


class HoldingSequence(
    Sequence[int, int], id="holding-sequence", version="1.0.0", policy=Policy(on_failure="hold")
):
    """Two steps, held when one fails; the second isn't to be held."""

    async def run(self, input: int) -> int:
        first = await self.execute(work, Given(number=input), step="a")
        second = await self.execute(work, Given(number=first.output.id), step="b", hold=False)
        return second.output.id


FLOWS = (holding, holding_shortly, holding_then_keeping, parking, holding_always, HoldingSequence)


async def begin(
    client: Client, flow: Any, task_queue: str, input: Any = EmptyInput()
) -> WorkflowHandle[Any, Any]:
    """Start a flow."""
    return await start(client, flow, input, id=new_id(), task_queue=task_queue)


async def shows(handle: WorkflowHandle[Any, Any], step: str, state: str) -> None:
    """Wait until a step shows a state."""
    for _ in range(1000):
        if (await handle.query("status"))["steps"].get(step) == state:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(await handle.query("status"))


async def memo(handle: WorkflowHandle[Any, Any]) -> Any:
    """Give what the run's memo says, which needs no worker."""
    return (await (await handle.describe()).memo()).get("counterstep")


async def test_a_held_step_is_retried_with_its_key(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """b fails and is held, nothing is undone; repaired and retried, the run completes."""
    world.switch("fail-b")
    async with serve(work, *FLOWS, cache=cache) as client:
        handle = await begin(client, holding, task_queue)
        await shows(handle, "b", "held")
        assert (await handle.query("status"))["state"] == "running, held"
        assert await memo(handle) == {
            "state": "held",
            "reason": "b: step b (work@1.0.0) failed after 1 attempt: RuntimeError: b down",
        }
        world.switch("fail-b", on=False)
        await handle.execute_update("retry", {"step": "b", "by": "ann", "reason": "repaired"})
        assert await handle.result() == Made(id=1, name="c")
        assert await memo(handle) is None  # it ended as a plain success does
    assert world.calls == ["a", "b", "b", "c"]


async def test_retried_in_vain(serve: Serve, world: World, task_queue: str) -> None:
    """Every failure says how often the step was tried, whoever asked for it."""
    world.switch("fail-b")
    async with serve(work, *FLOWS) as client:
        handle = await begin(client, holding, task_queue)
        for _ in range(2):
            await shows(handle, "b", "held")
            await handle.execute_update("retry", {"step": "b"})
        await shows(handle, "b", "held")
        await handle.execute_update("unwind", {"step": "b"})
        told = causes(await failure_of(handle))[0][1]
    assert (
        told == "holding@1.0.0 rolled back: step b (work@1.0.0) failed after 3 attempts: RuntimeError: b down"
    )


async def test_a_held_step_is_skipped_with_an_output(serve: Serve, world: World, task_queue: str) -> None:
    """b is skipped with an output of the operator's: c gets it; a value that doesn't fit is refused, and b stays held."""
    world.switch("fail-b")
    async with serve(work, *FLOWS) as client:
        handle = await begin(client, holding, task_queue)
        await shows(handle, "b", "held")
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await handle.execute_update("skip", {"step": "b", "output": {"id": "x"}})
        assert str(refused.value.cause).startswith(
            "InvalidInput: b: output of work@1.0.0 doesn't fit Made: id: Input should be"
        )
        await handle.execute_update("skip", {"step": "b", "output": {"id": 41, "name": "by hand"}})
        assert await handle.result() == Made(id=41, name="c")
        assert (await handle.query("status"))["steps"]["b"] == "skipped"


async def test_a_skip_that_others_could_not_follow_is_refused(
    serve: Serve, world: World, task_queue: str
) -> None:
    """A step that others refer to, itself or by its subsaga, isn't skipped without what they refer to; it stays held."""

    @saga(id="within", version="1.0.0")
    def within(dag: Dag, params: EmptyInput) -> Step[Made]:
        """A step whose output is the subsaga's."""
        return dag.append("b", work, {})

    @saga(id="refers", version="1.0.0", policy=Policy(on_failure="hold"))
    def refers(dag: Dag, params: EmptyInput) -> Step[Made]:
        """A subsaga and a step; what comes after refers to both."""
        s = dag.subsaga("s", within, {})
        a = dag.append("a", work, {})
        return dag.append("c", work, {"number": s.ref("id"), "others": [a.ref("id")]})

    world.switch("fail-s/b")
    world.switch("fail-a")
    async with serve(work, within, refers) as client:
        handle = await begin(client, refers, task_queue)
        for step, wrong in (("s/b", {}), ("a", {"output": {"name": "by hand"}})):
            await shows(handle, step, "held")
            with pytest.raises(WorkflowUpdateFailedError) as refused:
                await handle.execute_update("skip", {"step": step, **wrong})
            lacks = "id of its output: give one that has it" if wrong else "its output: give one"
            assert str(refused.value.cause) == f"InvalidInput: {step} stays held: step c refers to {lacks}"
            await handle.execute_update("skip", {"step": step, "output": {"id": 7, "name": "by hand"}})
        assert await handle.result() == Made(id=14, name="c")


async def test_a_skipped_unknown_step_is_undone_all_the_same(
    serve: Serve, world: World, task_queue: str
) -> None:
    """b's outcome is unknown, b is skipped, c is unwound later: b is undone, since its outcome stays what it was."""
    world.switch("hang-b")
    world.switch("fail-c")
    async with serve(work, *FLOWS) as client:
        handle = await begin(client, holding, task_queue)
        await shows(handle, "b", "held")
        await handle.execute_update("skip", {"step": "b", "output": {"id": 1, "name": "b"}})
        await shows(handle, "c", "held")
        await handle.execute_update("unwind", {"step": "c"})
        assert causes(await failure_of(handle))[0][0] == "RolledBack"
    assert undone(world) == ["b", "a"]


async def test_a_held_step_is_edited(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """b runs again with another input; an unknown effect is undone before that."""
    world.switch("hang-b")
    async with serve(work, *FLOWS, cache=cache) as client:
        handle = await begin(client, holding, task_queue)
        await shows(handle, "b", "held")
        world.switch("hang-b", on=False)
        await handle.execute_update("edit", {"step": "b", "input": {"number": 9}})
        assert await handle.result() == Made(id=9, name="c")
    assert world.calls == ["a", "b", ("undo b", "unknown"), "undone b", "b", "c"]


async def test_a_failed_step_is_undone_before_it_is_edited_under_always(
    serve: Serve, world: World, task_queue: str
) -> None:
    """b failed, and failed steps are undone too: its first input and key are, once, before it runs with another input."""
    world.switch("fail-b")
    async with serve(work, *FLOWS) as client:
        handle = await begin(client, holding_always, task_queue)
        await shows(handle, "b", "held")
        world.switch("fail-b", on=False)
        world.switch("fail-c")
        await handle.execute_update("edit", {"step": "b", "input": {"number": 9}})
        await shows(handle, "c", "held")
        await handle.execute_update("unwind", {"step": "c"})
        await failure_of(handle)
    undos = [("undo c", "failed"), "undone c", ("undo b", "done"), "undone b", ("undo a", "done"), "undone a"]
    assert world.calls == ["a", "b", ("undo b", "failed"), "undone b", "b", "c", *undos]


async def test_unwind_ends_a_hold(serve: Serve, world: World, task_queue: str) -> None:
    """The operator gives up: the run unwinds, its cause is the step's failure."""
    world.switch("fail-c")
    async with serve(work, *FLOWS) as client:
        handle = await begin(client, holding, task_queue)
        await shows(handle, "c", "held")
        await handle.execute_update("unwind", {"step": "c", "by": "ann"})
        assert causes(await failure_of(handle))[-1] == ("RuntimeError", "c down")
    assert undone(world) == ["b", "a"]


async def test_a_retry_that_never_starts_forgets_nothing(serve: Serve, world: World, task_queue: str) -> None:
    """b is unknown and held; its retry waits behind a pause when the run is cancelled: b is undone all the same."""
    world.switch("hang-b")
    async with serve(work, *FLOWS) as client:
        handle = await begin(client, holding, task_queue)
        await shows(handle, "b", "held")
        await handle.execute_update("pause")
        await handle.execute_update("retry", {"step": "b"})
        await handle.cancel()
        await failure_of(handle)
        report = await handle.query("report")
    assert world.calls == ["a", "b", ("undo b", "unknown"), "undone b", ("undo a", "done"), "undone a"]
    assert [(child["step"], child["outcome"]) for child in report["children"]] == [
        ("a", "done"),
        ("b", "unknown"),
    ]


async def test_a_step_that_is_not_waiting_is_refused(serve: Serve, world: World, task_queue: str) -> None:
    """G37: a decision on another step is refused, naming what waits; malformed ones are refused too."""
    world.switch("fail-b")
    async with serve(work, *FLOWS) as client:
        handle = await begin(client, holding, task_queue)
        await shows(handle, "b", "held")
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await handle.execute_update("retry", {"step": "x"})
        assert "step 'x' isn't waiting; waiting now: b (held)" in str(refused.value.cause)
        await handle.execute_update("unwind", {"step": "b"})
        await failure_of(handle)


async def test_cancel_ends_a_hold(serve: Serve, world: World, task_queue: str) -> None:
    """Cancelled while held: it unwinds at once."""
    world.switch("fail-b")
    async with serve(work, *FLOWS) as client:
        handle = await begin(client, holding, task_queue)
        await shows(handle, "b", "held")
        await handle.cancel()
        await failure_of(handle)
        assert (await handle.describe()).status == WorkflowExecutionStatus.CANCELED
    assert undone(world) == ["a"]


@pytest.mark.parametrize(
    ("flow", "end", "calls"), [(holding_shortly, "RolledBack", ["a"]), (holding_then_keeping, "Kept", [])]
)
async def test_a_hold_ends_by_itself(
    skipping: Serve, world: World, task_queue: str, flow: Any, end: str, calls: list[str]
) -> None:
    """After its hold_timeout the run unwinds, or keeps, as `then` says."""
    world.switch("fail-b")
    async with skipping(work, *FLOWS) as client:
        handle = await begin(client, flow, task_queue)
        assert causes(await failure_of(handle, 60))[0][0] == end
    assert undone(world) == calls


async def test_a_parked_undo_is_retried(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """Issue point 4: b's undo fails and is parked, a's waits behind it; repaired and retried, the run is rolled back."""
    world.switch("fail-c")
    world.switch("fail-undo-b")
    async with serve(work, *FLOWS, cache=cache) as client:
        handle = await begin(client, parking, task_queue)
        await shows(handle, "b", "parked")
        assert undone(world) == []
        world.switch("fail-undo-b", on=False)
        await handle.execute_update("retry", {"step": "b"})
        assert causes(await failure_of(handle))[0][0] == "RolledBack"
    assert undone(world) == ["b", "a"]


async def test_a_parked_undo_may_be_given_up(serve: Serve, world: World, task_queue: str) -> None:
    """Unwind ends the parking: b counts as not undone, a is undone, the run is stuck."""
    world.switch("fail-c")
    world.switch("fail-undo-b")
    async with serve(work, *FLOWS) as client:
        handle = await begin(client, parking, task_queue)
        await shows(handle, "b", "parked")
        await handle.execute_update("unwind", {"step": "b"})
        found = causes(await failure_of(handle))
    assert found[0][1].split("\n")[1:] == ["not undone: b (work@1.0.0): RuntimeError: undo of b down"]
    assert undone(world) == ["a"]


async def test_sequences_are_held_too(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """A sequence's step is held before its failure reaches the body; hold=False isn't."""
    world.switch("fail-a")
    world.switch("fail-b")
    async with serve(work, *FLOWS, cache=cache) as client:
        handle = await begin(client, HoldingSequence, task_queue, 3)
        await shows(handle, "a", "held")
        world.switch("fail-a", on=False)
        await handle.execute_update("edit", {"step": "a", "input": {"number": 5}})
        found = causes(await failure_of(handle))
    assert found[-1] == ("RuntimeError", "b down")
    assert undone(world) == ["a"]
