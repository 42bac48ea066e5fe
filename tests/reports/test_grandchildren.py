"""What a run undid of its children's children, wherever those stand: each step shows it, and none shows twice."""

from __future__ import annotations

from typing import Any

from counterstep.reports import Report, fetch_report
from flows import Dag, Sequence, saga, start
from tests.conftest import Serve
from tests.longrunning.operations import Around, Families, Kid, keyed
from tests.reports.looking import rows
from tests.sample import a, b
from tests.support import World, causes, failure_of, new_id


@saga(id="small", version="1.0.0")
def small(dag: Dag, params: int) -> None:
    """One step."""
    dag.append("x", a, params)


@saga(id="inner", version="1.0.0")
def inner(dag: Dag, params: int) -> None:
    """A step and a child."""
    dag.append("y", a, params)
    dag.flow("kid", small, 2)


@saga(id="sub", version="1.0.0")
def sub(dag: Dag, params: int) -> None:
    """Both in a subsaga."""
    dag.subsaga("n", inner, params)


class Calls(Sequence[int, None], id="calls", version="1.0.0"):
    """A child."""

    async def run(self, input: int) -> None:
        await self.execute(small, input, child=True, step="kid")


class Inline(Sequence[int, None], id="inline", version="1.0.0"):
    """A child of a flow inline."""

    async def run(self, input: int) -> None:
        await self.execute(Calls, input)


class Root(Sequence[int, None], id="root", version="1.0.0"):
    """Children of children; then a step."""

    async def run(self, input: int) -> None:
        await self.execute(sub, 1, child=True)
        await self.execute(Inline, 3, child=True)
        await self.execute(b, input)


class OverLegs(Sequence[int, None], id="over-legs", version="1.0.0"):
    """A child whose child has a child in each of its legs; then a step."""

    async def run(self, input: int) -> None:
        await self.execute(Around, input, child=True)
        await self.execute(keyed, "over", step="over")


async def rolled_back(serve: Serve, queue: str, flow: Any, *definitions: Any) -> Report[Any, Any]:
    """Give the report of a run that undid what its children's children did."""
    async with serve(*definitions, flow) as client:
        handle = await start(client, flow, 2, id=new_id(), task_queue=queue)
        assert causes(await failure_of(handle, 60))[0][0] == "RolledBack"
        return await fetch_report(client, handle.id)


def undone(report: Report[Any, Any]) -> list[tuple[str, str | None]]:
    """Give each step with an undo, and the flow that ran that, if it wasn't the step's own."""
    return [(one.step, one.undo.in_run and one.undo.in_run[0]) for one in report.walk() if one.undo]


async def test_in_subsagas_and_inline_flows(serve: Serve, world: World, task_queue: str) -> None:
    """A child that stands under a path in its parent is known by that to whoever undoes it."""
    world.switch("fail-b")
    report = await rolled_back(serve, task_queue, Root, a, b, small, inner, sub, Calls, Inline)
    assert rows(report) == [
        ("sub", "child", "done"),
        ("n", "subsaga", "done"),
        ("n/y", "operation", "done"),
        ("n/kid", "child", "done"),
        ("x", "operation", "done"),
        ("inline", "child", "done"),
        ("calls", "flow", "done"),
        ("calls/kid", "child", "done"),
        ("x", "operation", "done"),
        ("b", "operation", "failed"),
    ]
    assert report.run is not None
    root = report.run.workflow_id
    assert undone(report) == [("n/y", root), ("x", root), ("x", root)]


async def test_in_legs(serve: Serve, world: World, task_queue: str) -> None:
    """So is one in an earlier leg; one in the last leg had its name without."""
    world.switch("fail-over")
    report = await rolled_back(serve, task_queue, OverLegs, keyed, Kid, Families, Around)
    assert rows(report) == [
        ("around", "child", "done"),
        ("families", "child", "done"),
        ("leg:0", "leg", "done"),
        ("leg:0/kid", "child", "done"),
        ("x", "operation", "done"),
        ("leg:1", "leg", "done"),
        ("leg:1/kid", "child", "done"),
        ("x", "operation", "done"),
        ("leg:1/last", "operation", "done"),
        ("after", "operation", "done"),
        ("over", "operation", "failed"),
    ]
    assert report.run is not None
    root = report.run.workflow_id
    assert undone(report) == [("x", root), ("x", root), ("leg:1/last", root), ("after", root)]
