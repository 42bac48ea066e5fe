"""Plan steps of kind ``flow``: child workflows, whose steps are undone in their place."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError

from activities import EmptyInput
from flows import Dag, InvalidPlan, Policy, Sequence, Step, saga, start
from tests.conftest import Serve
from tests.sagas.operations import Given, Made, work
from tests.sagas.test_running import diamond, forward, inner, undone
from tests.support import World, causes, eventually, failure_of, new_id


class Pair(Sequence[Given, Made], id="pair", version="1.0.0"):
    """p, then q with what p made."""

    async def run(self, input: Given) -> Made:
        """Run both."""
        first = await self.execute(work, input, step="p")
        return (await self.execute(work, Given(number=first.output.id, others=[1]), step="q")).output


@saga(id="with-flows", version="1.0.0")
def with_flows(dag: Dag, params: Given) -> Step[Made]:
    """a, then a sequence beside a saga, then z with what both made."""
    a = dag.append("a", work, {"number": params.number})
    pair = dag.flow("pair", Pair, {"number": a.ref("id")}, after=[a])
    nodes = dag.flow("nodes", inner, {"number": a.ref("id")}, after=[a])
    return dag.append("z", work, {"others": [pair.ref("id"), nodes.ref("id")]})


@saga(id="around", version="1.0.0")
def around(dag: Dag, params: EmptyInput) -> None:
    """a, a diamond as a child, z."""
    dag.append("a", work, {})
    dag.flow("nodes", diamond, {})
    dag.append("z", work, {})


@saga(id="around-stops", version="1.0.0", policy=Policy(on_undo_failure="stop"))
def around_stops(dag: Dag, params: EmptyInput) -> None:
    """The same; a failed undo ends unwinding."""
    around.build(dag, params)


@saga(id="held-around", version="1.0.0", policy=Policy(on_failure="hold"))
def held_around(dag: Dag, params: EmptyInput) -> None:
    """The same; a failed step is held."""
    around.build(dag, params)


def test_a_flow_step_is_data() -> None:
    """Section 5: the plan names the flow with its exact version; what refers to it comes after it."""
    plan = with_flows.plan(Given(number=1))
    step = plan.to_json()["steps"][1]
    assert {**step, "input": None} == {
        "kind": "flow",
        "name": "pair",
        "after": ["a"],
        "flow": "pair@1.0.0",
        "input": None,
        "description": "p, then q with what p made.",
    }
    assert plan.steps[-1].after == ("pair", "nodes")
    assert 'n1[/"pair"\\]' in plan.mermaid()


def test_mistakes_in_flow_steps_are_told_at_once() -> None:
    """Section 5: no flow, an input that can't fit, a field that isn't there: a line each."""

    @saga(id="wrong", version="1.0.0")
    def wrong(dag: Dag, params: EmptyInput) -> None:
        dag.flow("none", work, {})  # type: ignore[call-overload]
        pair = dag.flow("pair", Pair, {"number": "x"})
        dag.append("b", work, {"number": pair.ref("nope")})

    with pytest.raises(InvalidPlan) as refused:
        wrong.plan(EmptyInput())
    assert refused.value.message.splitlines() == [
        "wrong@1.0.0 can't be run, 3 mistakes:",
        "none: flow: it is none; give a sequence class, or what @saga made",
        "pair: input: number: Input should be a valid integer, unable to parse string as an integer",
        "b: input: refers to pair.nope, and there is no 'nope' in its output; pair has id, name",
    ]


def test_a_stage_of_a_flow_and_a_step() -> None:
    """Section 5: a step beside one that has edges of its own comes after what was appended before, too."""

    @saga(id="stage", version="1.0.0")
    def stage(dag: Dag, params: EmptyInput) -> None:
        a = dag.append("a", work, {})
        nodes = dag.flow("nodes", diamond, {}, after=[a])
        dag.append_parallel(nodes, dag.step("b", work, {}))
        dag.append("z", work, {})

    edges = {step.name: step.after for step in stage.plan(EmptyInput()).steps}
    assert edges == {"a": (), "nodes": ("a",), "b": ("a",), "z": ("nodes", "b")}


async def test_flows_run_beside_each_other(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """Section 5: flow steps get what they refer to, and give their results."""
    async with serve(work, Pair, inner, with_flows, cache=cache) as client:
        handle = await start(client, with_flows, Given(number=1), id=new_id(), task_queue=task_queue)
        result = await asyncio.wait_for(handle.result(), 60)
    calls = forward(world)
    assert (calls[0], set(calls[1:5]), calls[5:]) == ("a", {"p", "q", "x", "y"}, ["z"])
    assert result == Made(id=3, name="z")


async def test_a_childs_steps_are_undone_in_their_place(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """Issue point 5: a child flow that completed, then a failure after it: by the child's own edges, then a."""
    world.switch("fail-z")
    async with serve(work, diamond, around, cache=cache) as client:
        handle = await start(client, around, EmptyInput(), id=new_id(), task_queue=task_queue)
        failure = await failure_of(handle, 60)
    assert causes(failure)[0][0] == "RolledBack"
    ended = undone(world)
    assert (
        ended[0] == "nodes/d" and set(ended[1:3]) == {"nodes/b", "nodes/c"} and ended[3:] == ["nodes/a", "a"]
    )


async def test_a_childs_steps_wait_for_each_others_undos(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """The same, where the undo of the child's last step fails and ends unwinding: no other undo has begun."""
    world.switch("fail-z")
    world.switch("fail-undo-nodes/d")
    async with serve(work, diamond, around_stops, cache=cache) as client:
        handle = await start(client, around_stops, EmptyInput(), id=new_id(), task_queue=task_queue)
        failure = await failure_of(handle, 60)
    assert causes(failure)[0][0] == "Stuck"
    assert {call[0] for call in world.calls if isinstance(call, tuple)} == {"undo nodes/d"}


async def test_cancel_reaches_a_child(serve: Serve, world: World, task_queue: str) -> None:
    """Section 4: a cancel goes on to a child in flight, which unwinds itself; then the parent does."""
    world.switch("hold-d")
    async with serve(work, diamond, around) as client:
        handle = await start(client, around, EmptyInput(), id=new_id(), task_queue=task_queue)
        await world.until("d")
        await handle.cancel()
        await asyncio.sleep(0.2)
        world.switch("go-d")
        await eventually(lambda: len(undone(world)) == 5)
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        assert (await handle.describe()).status == WorkflowExecutionStatus.CANCELED
        child = client.get_workflow_handle(f"{handle.id}/nodes")
        assert (await child.describe()).status == WorkflowExecutionStatus.CANCELED
    assert undone(world)[-1] == "a"


async def test_a_terminated_child_is_undone_by_its_parent(
    serve: Serve, world: World, task_queue: str
) -> None:
    """Section 4: what a terminated child did is read from its history, and undone in its place."""
    world.switch("hold-d")
    async with serve(work, diamond, around) as client:
        handle = await start(client, around, EmptyInput(), id=new_id(), task_queue=task_queue)
        await world.until("d")
        await client.get_workflow_handle(f"{handle.id}/nodes").terminate("test")
        failure = await failure_of(handle, 60)
        world.switch("go-d")
    assert causes(failure)[0][0] == "RolledBack"
    ended = undone(world)
    assert (
        ended[0] == "nodes/d" and set(ended[1:3]) == {"nodes/b", "nodes/c"} and ended[3:] == ["nodes/a", "a"]
    )


async def test_an_operator_runs_a_held_child_again(serve: Serve, world: World, task_queue: str) -> None:
    """Section 7: a failed child is held; `retry` starts it again under names, and keys, of its own."""
    world.switch("fail-d")
    async with serve(work, diamond, held_around) as client:
        handle = await start(client, held_around, EmptyInput(), id=new_id(), task_queue=task_queue)
        await eventually_held(handle, "nodes")
        world.switch("fail-d", on=False)
        await handle.execute_update("retry", {"step": "nodes"})
        await asyncio.wait_for(handle.result(), 60)
        status: Any = await handle.query("status")
    assert status["steps"]["nodes"] == "done"
    assert (forward(world).count("d"), set(undone(world))) == (2, {"a", "b", "c"})


async def eventually_held(handle: Any, step: str) -> None:
    """Wait until a step is held."""
    for _ in range(400):
        status = await handle.query("status")
        if status["steps"].get(step) == "held":
            return
        await asyncio.sleep(0.05)
    raise AssertionError(status)
