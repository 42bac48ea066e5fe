"""The tree tells what was called: random sagas with random failures, against calls recorded outside the worker."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from temporalio.client import Client, WorkflowFailureError

from counterstep.reports import Report, fetch_report, saga_log, workflow_report
from flows import start
from tests.conftest import Serve
from tests.reports.flows import work
from tests.reports.looking import undos
from tests.support import World, new_id

AnyReport = Report[Any, Any]


@dataclass(frozen=True)
class Drawn:
    """A plan that was drawn: steps in order, each after some earlier ones.

    Attributes:
        after: numbers of the steps that each comes after.
        failing: those that fail.
        failing_undos: those whose undo fails.
        cancelled: the one during which the run is cancelled; then none fails.
        name: begins the names of its steps.
    """

    after: list[list[int]]
    failing: set[int]
    failing_undos: set[int]
    cancelled: int | None
    name: str

    def step(self, number: int) -> str:
        return f"{self.name}{number}"

    def plan(self) -> Any:
        """Give it as anybody types it."""
        steps = [
            {
                "kind": "operation",
                "name": self.step(number),
                "after": [self.step(n) for n in after],
                "operation": "work@1.0.0",
                "input": {"number": number},
                "retry": {"max_attempts": 2, "initial": "PT0.001S"},
            }
            for number, after in enumerate(self.after)
        ]
        return {"id": "drawn", "version": "1.0.0", "steps": steps}


@st.composite
def drawn(draw: st.DrawFn) -> Drawn:
    count = draw(st.integers(1, 7))
    after = [sorted(draw(st.sets(st.integers(0, n - 1), max_size=2))) if n else [] for n in range(count)]
    numbers = st.sets(st.integers(0, count - 1), max_size=2)
    cancelled = draw(st.none() | st.integers(0, count - 1))
    failing = draw(numbers) if cancelled is None else set()
    return Drawn(after, failing, draw(numbers), cancelled, f"s{new_id('')[1:]}x")


async def truth(client: Client, queue: str, world: World, case: Drawn) -> None:
    """Run it, and compare the report with what was recorded."""
    for switch, numbers in (("fail", case.failing), ("fail-undo", case.failing_undos)):
        for number in numbers:
            world.switch(f"{switch}-{case.step(number)}")
    if case.cancelled is not None:
        world.switch(f"hold-{case.step(case.cancelled)}")
    handle = await start(client, "saga", case.plan(), id=new_id("drawn"), task_queue=queue)
    if case.cancelled is not None:
        await world.until(case.step(case.cancelled))
        await handle.cancel()
    with contextlib.suppress(WorkflowFailureError):
        await asyncio.wait_for(handle.result(), 90)
    report = await fetch_report(client, handle.id)
    calls = [call for call in world.calls if case.name in str(call)]
    assert {r.step: r.attempts for r in report.children if r.attempts} == _forward(calls)
    assert {r.step: (r.undo.attempts, r.undo.outcome) for r in report.children if r.undo} == _undone(calls)
    assert {r.step for r in report.children if r.outcome == "failed"} == {
        case.step(n) for n in case.failing
    } & set(_forward(calls))
    if case.cancelled is not None:
        assert next(r for r in report.children if r.step == case.step(case.cancelled)).outcome == "unknown"
        assert report.run is not None and report.run.state in ("cancelled", "stuck")
    log = [line.split(maxsplit=2)[2] for line in saga_log(report).splitlines()[5:]]
    assert log.count("undo_finished") == list(undos(report).values()).count("done")
    assert log.count("started") == len(report.children)
    assert len(workflow_report(report).step_sequence) == len(case.after)


def _forward(calls: list[Any]) -> dict[str, int]:
    steps = [call for call in calls if isinstance(call, str) and " " not in call]
    return {step: steps.count(step) for step in steps}


def _undone(calls: list[Any]) -> dict[str, tuple[int, str]]:
    asked = [call[0].removeprefix("undo ") for call in calls if not isinstance(call, str)]
    ended = {call.removeprefix("undone ") for call in calls if str(call).startswith("undone ")}
    return {step: (asked.count(step), "done" if step in ended else "failed") for step in asked}


async def _many(serve: Serve, world: World, queue: str, cases: list[Drawn]) -> None:
    async with serve(work) as client:
        for case in cases:
            await truth(client, queue, world, case)


def _draw(count: int) -> list[Drawn]:
    """Draw so many plans."""
    cases: list[Drawn] = []

    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(drawn())
    def collect(case: Drawn) -> None:
        cases.append(case)

    collect()
    return cases


async def test_the_tree_tells_what_was_called(serve: Serve, world: World, task_queue: str) -> None:
    """Steps, attempts, outcomes and undos of eight random sagas, some cancelled: equal to the calls recorded outside."""
    await _many(serve, world, task_queue, _draw(8))


@pytest.mark.nightly
async def test_the_tree_tells_what_was_called_in_many(serve: Serve, world: World, task_queue: str) -> None:
    """The same of 150 random sagas."""
    await _many(serve, world, task_queue, _draw(150))
