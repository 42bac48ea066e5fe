"""Random sagas with several faults each, run on Temporal, against the model: the calls, their order, the end, the report."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from temporalio.client import Client, WorkflowFailureError

from activities import Status
from counterstep.reports import Report, fetch_report, spans_of
from flows import start
from tests.conftest import Serve
from tests.random_plans.drawing import cases as drawn
from tests.random_plans.flows import Line, act, act_locally, grown, tree, write_faults
from tests.random_plans.model import Plan, Run, Trace, verify
from tests.reports.tracing import attributes, check, decoded
from tests.support import World, causes, new_id

AnyReport = Report[Any, Any]
Case = tuple[list[dict[str, Any]], dict[str, Any]]
AT_ONCE = 4


@dataclass
class Ground:
    """Where trees run.

    Attributes:
        client: of a server whose queue a worker polls.
        queue: that queue.
        world: of the worker; each run has a folder of its own in it.
        inline: whether a tree is inline in a sequence.
    """

    client: Client
    queue: str
    world: World
    inline: bool = False

    async def run(self, nodes: list[dict[str, Any]], policy: dict[str, Any]) -> None:
        """Run a tree, and verify what it did."""
        id, plan = new_id("tree"), Plan.of(nodes)
        own = World(self.world.folder / id)
        write_faults(own.folder, {self._path + name: leaf for name, leaf in plan.leaves.items()})
        handle = await self._start(id, nodes, policy)
        end, left = await _end(handle)
        rows: list[Any] = own.calls
        trace = Trace([(name.replace(self._path, "", 1), what, key) for name, what, key in rows])
        run = Run(plan, policy, trace, end, frozenset(step.removeprefix(self._path) for step in left))
        verify(self._as_saga(run))
        report = await fetch_report(self.client, id)
        _compare(report, Trace([tuple(row) for row in rows]), cancels=policy.get("settle") == "cancel")

    @property
    def _path(self) -> str:
        return "tree/" if self.inline else ""

    async def _start(self, id: str, nodes: list[dict[str, Any]], policy: dict[str, Any]) -> Any:
        within = {"id": id, "task_queue": self.queue, "run_timeout": timedelta(minutes=2)}
        if self.inline:
            return await start(self.client, Line, {"nodes": nodes, "policy": policy}, **within)
        data = tree.plan({"nodes": nodes}).model_dump(mode="json", by_alias=True)
        return await start(self.client, "saga", {**data, "policy": policy}, **within)

    def _as_saga(self, run: Run) -> Run:
        """Say how the saga ended: the sequence around it keeps what it left, and says so also where that is nothing."""
        unwound = self.inline and run.end == "Kept" and run.failed and not run.keeps
        return replace(run, end="RolledBack") if unwound else run


async def _end(handle: Any) -> tuple[str, list[str]]:
    """Give how a run ended, and the steps that its failure names as not undone."""
    try:
        await handle.result()
    except WorkflowFailureError as error:
        kind, message = causes(error.cause)[0]
        return kind, [line.split()[2] for line in message.split("\n")[1:]] if kind == "Stuck" else []
    return "completed", []


def _compare(report: AnyReport, trace: Trace, *, cancels: bool) -> None:
    """Refuse a report, and spans, that tell of other calls than those that were recorded.

    Of a step that is cancelled between two attempts Temporal keeps none of them.
    """
    told_of = [r for r in report.walk() if not r.is_flow]
    unseen = {r.step for r in told_of if cancels and not r.attempts and r.outcome is Status.FAILED}
    steps = [r for r in told_of if r.attempts]
    forward = {step: count for step, count in trace.calls(undo=False).items() if step not in unseen}
    assert {r.step: r.attempts for r in steps} == forward
    assert {r.step: r.undo.attempts for r in steps if r.undo} == dict(trace.calls(undo=True))
    told = [attributes(span) for span in check(decoded(spans_of(report))).values()]
    for kind, undo in (("operation", False), ("undo", True)):
        called = [one for one in told if one["counterstep.kind"] == kind and one.get("counterstep.attempts")]
        calls = {one["counterstep.step"]: one["counterstep.attempts"] for one in called}
        assert calls == (dict(trace.calls(undo=True)) if undo else forward)


Together = Callable[[list[Case]], None]


@contextmanager
def _running(
    serve: Serve, world: World, queue: str, cache: int, *, inline: bool = False
) -> Iterator[Together]:
    """Serve from a thread of its own, since hypothesis calls functions; give what runs several trees at once."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    serving = serve(act, act_locally, tree, grown, Line, cache=cache)

    def wait(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    async def together(ground: Ground, cases: list[Case]) -> None:
        await asyncio.gather(*(ground.run(*case) for case in cases))

    try:
        ground = Ground(wait(serving.__aenter__()), queue, world, inline)
        try:
            yield lambda cases: wait(together(ground, cases))
        finally:
            wait(serving.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _sweep(run: Together, count: int) -> None:
    @settings(
        max_examples=count // AT_ONCE, database=None, deadline=None, suppress_health_check=list(HealthCheck),
        print_blob=False,
    )  # fmt: skip
    @given(st.lists(drawn(), min_size=AT_ONCE, max_size=AT_ONCE))
    @example([([{"name": "x0", "fault": "fail"}], {})] * AT_ONCE)
    def sweep(cases: list[Case]) -> None:
        run(cases)

    sweep()


@pytest.mark.timeout(600)
def test_a_hundred_random_sagas(serve: Serve, world: World, task_queue: str) -> None:
    """Each calls what the model allows, in an order that it allows, ends as it says, and reports those very calls."""
    with _running(serve, world, task_queue, cache=1000) as run:
        _sweep(run, 100)


@pytest.mark.timeout(600)
def test_random_sagas_inline_in_a_sequence(serve: Serve, world: World, task_queue: str) -> None:
    """The same calls in the same orders are allowed where a sequence runs the saga inline."""
    with _running(serve, world, task_queue, cache=1000, inline=True) as run:
        _sweep(run, 40)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("inline", [False, True], ids=["alone", "inline"])
@pytest.mark.parametrize("uncached", [False, True], ids=["cached", "uncached"])
def test_a_thousand_random_sagas(
    serve: Serve, world: World, task_queue: str, uncached: bool, inline: bool
) -> None:
    """The same of a thousand, with the workflow cache and without."""
    with _running(serve, world, task_queue, cache=0 if uncached else 1000, inline=inline) as run:
        _sweep(run, 1000)
