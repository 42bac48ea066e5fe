"""`edit` of what waits: an input that doesn't fit is refused and the step stays held; a parked undo has none to edit."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import Client

with workflow.unsafe.imports_passed_through():
    from activities import EmptyInput
    from flows import Dag, Policy, Sequence, saga, start
    from tests.conftest import Serve
    from tests.flows.operating import refused
    from tests.sagas.operations import Given, Made, work
    from tests.sagas.test_holding import holding, parking, shows
    from tests.sagas.test_running import undone
    from tests.support import World, causes, failure_of, new_id

MISFITS: list[tuple[Any, str]] = [
    ({"number": "x"}, "number: Input should be a valid integer, unable to parse string as an integer"),
    ({"number": 1, "others": 3}, "others: Input should be a valid array"),
    (None, "value: Input should be an object"),
]


class HeldInSequence(
    Sequence[int, int], id="held-in-sequence", version="1.0.0", policy=Policy(on_failure="hold")
):
    """Two steps, held when one fails."""

    async def run(self, input: int) -> int:
        first = await self.execute(work, Given(number=input), step="a")
        return (await self.execute(work, Given(number=first.output.id + 1), step="b")).output.id


@saga(id="piece", version="1.0.0")
def piece(dag: Dag, params: Given) -> Any:
    """One step."""
    return dag.append("x", work, {"number": params.number})


@saga(id="held-child", version="1.0.0", policy=Policy(on_failure="hold"))
def held_child(dag: Dag, params: EmptyInput) -> None:
    """A step, then a child flow."""
    dag.append("a", work, {})
    dag.flow("b", piece, {"number": 1})


class ParkingSequence(
    Sequence[int, int], id="parking-sequence", version="1.0.0", policy=Policy(on_undo_failure="park")
):
    """Three steps; a failed undo waits for an operator."""

    async def run(self, input: int) -> int:
        for number, name in enumerate("abc"):
            await self.execute(work, Given(number=number), step=name)
        return input


async def begin(client: Client, flow: Any, task_queue: str, input: Any = EmptyInput()) -> Any:
    """Start a flow; a task that Temporal loses where there is no cache, as it does beside a query, comes again soon."""
    soon = timedelta(seconds=2)
    return await start(client, flow, input, id=new_id(), task_queue=task_queue, task_timeout=soon)


@pytest.mark.parametrize("flow", [holding, HeldInSequence], ids=["saga", "sequence"])
async def test_an_edit_that_does_not_fit_is_refused(
    serve: Serve, world: World, task_queue: str, cache: int, flow: Any
) -> None:
    """Each misfit is told with its field; b stays held and wasn't called; then one that fits goes on."""
    world.switch("fail-b")
    async with serve(work, flow, cache=cache) as client:
        handle = await begin(client, flow, task_queue, 3 if flow is HeldInSequence else EmptyInput())
        await shows(handle, "b", "held")
        for input, why in MISFITS:
            said = await refused(handle, "edit", {"step": "b", "input": input, "by": "ann"})
            assert said == f"InvalidInput: b: input of work@1.0.0 doesn't fit Given: {why}"
            assert (await handle.query("status"))["steps"]["b"] == "held"
        assert world.calls == ["a", "b"]
        world.switch("fail-b", on=False)
        await handle.execute_update("edit", {"step": "b", "input": {"number": 9}})
        result = await handle.result()
    assert result == (9 if flow is HeldInSequence else Made(id=9, name="c"))
    assert world.calls == (["a", "b", "b"] if flow is HeldInSequence else ["a", "b", "b", "c"])


async def test_an_edit_that_does_not_fit_a_child_is_refused(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """A held child flow: the input is held to the flow's own; refused, no other child starts; a good one starts it."""
    world.switch("fail-x")
    async with serve(work, piece, held_child, cache=cache) as client:
        handle = await begin(client, held_child, task_queue)
        await shows(handle, "b", "held")
        said = await refused(handle, "edit", {"step": "b", "input": {"number": "x"}})
        assert said == f"InvalidInput: b: input of piece@1.0.0 doesn't fit Given: {MISFITS[0][1]}"
        assert (await handle.query("status"))["steps"]["b"] == "held"
        assert world.calls == ["a", "x"]
        world.switch("fail-x", on=False)
        await handle.execute_update("edit", {"step": "b", "input": {"number": 9}})
        await handle.result()
    assert world.calls == ["a", "x", "x"]


@pytest.mark.parametrize("flow", [parking, ParkingSequence], ids=["saga", "sequence"])
async def test_a_parked_undo_has_no_input_to_edit(
    serve: Serve, world: World, task_queue: str, cache: int, flow: Any
) -> None:
    """b's undo is parked: `edit` is refused, saying what may be asked; it stays parked, and `skip` counts it as done."""
    world.switch("fail-c")
    world.switch("fail-undo-b")
    async with serve(work, flow, cache=cache) as client:
        handle = await begin(client, flow, task_queue, 3 if flow is ParkingSequence else EmptyInput())
        await shows(handle, "b", "parked")
        before = world.calls
        for input in ({"number": 9}, {"number": "x"}):
            said = await refused(handle, "edit", {"step": "b", "input": input})
            assert said == "InvalidInput: b is parked without an input to edit; retry, skip or unwind it"
            assert (await handle.query("status"))["steps"]["b"] == "parked"
        assert world.calls == before
        await handle.execute_update("skip", {"step": "b"})
        assert causes(await failure_of(handle))[0][0] == "RolledBack"
    assert undone(world) == ["a"]
