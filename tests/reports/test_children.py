"""Reports of child runs: in inline flows, of one that ran again, and of workflows that aren't ours."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import Worker

from activities import Context, EmptyInput, operation
from counterstep.reports import fetch_report, spans_of
from counterstep.reports._shape import shape_of
from flows import Dag, Policy, Sequence, saga, start
from tests.conftest import Serve
from tests.reports.making import tree
from tests.sagas.operations import work
from tests.sagas.test_running import inner
from tests.support import World, failure_of, new_id
from tests.undoing import claim_of, done, undo


@operation(id="may-break", version="1.0.0")
async def may_break(ctx: Context[World], input: EmptyInput) -> None:
    """Fail while it is told to."""
    if ctx.deps.is_on("breaks"):
        raise ValueError("it broke")


class Inside(Sequence[EmptyInput, None], id="inside", version="1.0.0"):
    """A child."""

    async def run(self, input: EmptyInput) -> None:
        """Do one step."""
        await self.execute(may_break, input)


class Between(Sequence[EmptyInput, None], id="between", version="1.0.0"):
    """Runs inline, and has a child; what fails is held."""

    policy = Policy(on_failure="hold")

    async def run(self, input: EmptyInput) -> None:
        """Do a step, then the child."""
        await self.execute(Inside, input, step="child", child=True)


class Outer(Sequence[EmptyInput, None], id="outer", version="1.0.0"):
    """Has all that inline."""

    async def run(self, input: EmptyInput) -> None:
        """Run it."""
        await self.execute(Between, input)


@saga(id="within", version="1.0.0")
def within(dag: Dag, params: EmptyInput) -> None:
    """One child."""
    dag.flow("child", Inside, {})


@saga(id="planned", version="1.0.0", policy=Policy(on_failure="hold"))
def planned(dag: Dag, params: EmptyInput) -> None:
    """Has the child in a subsaga."""
    dag.subsaga("between", within, {})


@workflow.defn(sandboxed=False)
class Plain:
    """Not ours: a child of one id, twice."""

    @workflow.run
    async def run(self, nested: bool) -> None:
        """Run the child twice; it has none."""
        for _ in range(2 * nested):
            await workflow.execute_child_workflow(Plain.run, False, id=f"{workflow.info().workflow_id}/same")


@pytest.mark.parametrize(("flow", "kind"), [(Outer, "flow"), (planned, "subsaga")])
async def test_a_child_that_ran_again(
    serve: Serve, world: World, task_queue: str, flow: Any, kind: str
) -> None:
    """Each run of it has a report; the last one has the step's name, and decides how the flow around it ended."""
    step = "between/child"
    world.switch("breaks")
    async with serve(may_break, Inside, Between, within, flow) as client:
        handle = await start(client, flow, EmptyInput(), id=new_id(), task_queue=task_queue)
        for run in (step, f"{step}~2"):
            await _held(handle, step)
            await failure_of(client.get_workflow_handle(f"{handle.id}/{run}"))
            world.switch("breaks", on=run == step)
            await handle.execute_update("retry", {"step": step})
        await asyncio.wait_for(handle.result(), 60)
        report = await fetch_report(client, handle.id)
    assert tree(report) == [
        ("", "flow", "done"),
        ("between", kind, "done"),
        (f"{step}~1", "child", "failed"),
        ("may-break", "operation", "failed"),
        (f"{step}~2", "child", "failed"),
        ("may-break", "operation", "failed"),
        (step, "child", "done"),
        ("may-break", "operation", "done"),
    ]
    children = report.children[0].children
    assert [child.run and child.run.workflow_id for child in children] == [
        f"{handle.id}/{step}{again}" for again in ("", "~2", "~3")
    ]
    assert len({one.id for one in report.walk()}) == 8
    named = [node.name for node in shape_of(report)]
    assert named == ([step, "between"] if flow is planned else [f"{step}~1", f"{step}~2", step])
    spans = [span.context.span_id for span in spans_of(report)]
    assert len(spans) == len(set(spans)) == 8 + len((report, *children)), "a run has one more, for its start"


@saga(id="above", version="1.0.0", policy=Policy(on_failure="hold"))
def above(dag: Dag, params: EmptyInput) -> None:
    """A saga as a child."""
    dag.flow("child", inner, {})


async def test_the_undo_of_a_child_that_ran_again(serve: Serve, world: World, task_queue: str) -> None:
    """The undo's own report knows the child by the name of the run that left something."""
    world.switch("fail-y")
    async with serve(work, inner, above) as client:
        handle = await start(client, above, EmptyInput(), id=new_id(), task_queue=task_queue)
        await _held(handle, "child")
        world.switch("fail-y", on=False)
        await handle.execute_update("retry", {"step": "child"})
        await asyncio.wait_for(handle.result(), 60)
        assert await undo(client, task_queue, handle) == done("child~2/y", "child~2/x")
        report = await fetch_report(client, await claim_of(handle))
    assert tree(report) == [
        ("", "flow", "done"),
        ("child~2", "subsaga", "done"),
        ("child~2/y", "operation", "done"),
        ("child~2/x", "operation", "done"),
    ]


async def _held(handle: Any, step: str) -> None:
    deadline = asyncio.get_running_loop().time() + 30
    while (await handle.query("status"))["steps"].get(step) != "held":
        assert asyncio.get_running_loop().time() < deadline, "it isn't held"
        await asyncio.sleep(0.05)


async def test_children_of_workflows_that_are_not_ours(dev_address: str, task_queue: str) -> None:
    """Two children of one id are two reports; drawing them ends."""
    client = await Client.connect(dev_address)
    async with Worker(client, task_queue=task_queue, workflows=[Plain]):
        id = new_id()
        await client.execute_workflow(Plain.run, True, id=id, task_queue=task_queue)
        report = await fetch_report(client, id)
    assert [child.step for child in report.children] == [f"{id}/same~1", f"{id}/same"]
    assert [node.after for node in shape_of(report)] == [(), (f"{id}/same~1",)]
