"""Random sagas with several faults each, run on Temporal, against the model: the calls, their order, the end, the report."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowUpdateFailedError,
)
from temporalio.service import RPCError, RPCStatusCode

from activities import Status
from counterstep.reports import Report, fetch_report, spans_of
from flows import start
from tests.conftest import Serve
from tests.random_plans.drawing import cases as drawn
from tests.random_plans.flows import Line, Walk, act, act_locally, grown, tree, write_faults
from tests.random_plans.model import DEADLINE, NEVER, Plan, Run, Trace, verify
from tests.reports.tracing import attributes, check, decoded
from tests.support import World, causes, new_id

AnyReport = Report[Any, Any]
End = tuple[str, frozenset[str]]
Case = tuple[list[dict[str, Any]], dict[str, Any], dict[str, Any] | None]
AT_ONCE = 4


class Around(StrEnum):
    """What is around a tree."""

    NOTHING = "alone"
    SEQUENCE = "inline"
    PARENT = "as a child"


@dataclass
class Ground:
    """Where trees run.

    Attributes:
        client: of a server whose queue a worker polls.
        queue: that queue.
        world: of the worker; each run has a folder of its own in it.
        around: what is around each tree: nothing, or a sequence that runs it inline, or as a child.
        cached: whether its worker has a workflow cache.
    """

    client: Client
    queue: str
    world: World
    around: Around = Around.NOTHING
    cached: bool = True

    async def run(
        self, nodes: list[dict[str, Any]], policy: dict[str, Any], ask: dict[str, Any] | None = None
    ) -> None:
        """Run a tree, ask something of it, and verify what it and its children did."""
        id, plan = new_id("tree"), Plan.of(nodes)
        if self.around is Around.SEQUENCE:
            policy = {name: value for name, value in policy.items() if name != "deadline"}  # only a run's own
        own = World(self.world.folder / id)
        write_faults(own.folder, {self._path + name: leaf for name, leaf in plan.leaves.items()})
        handle = await self._start(id, nodes, policy)
        asking = asyncio.create_task(_ask(handle, own, ask))
        end = await _end(handle)
        asked = self._heard(ask) if await asking and ask else frozenset[str]()
        rows: list[Any] = own.calls if self.cached else self._asked_for(own.calls, plan)
        ends = {"": self._within(end), **await self._children(id, plan)}
        run = Run(plan, policy, self._trace(rows), ends, asked | DEADLINE & set(policy))
        try:
            await self._judge(run, id, rows)
        except AssertionError as error:
            error.add_note(f"{self.around}: {(nodes, policy, ask)} of {id} heard {set(run.asked)}: {ends}")
            raise

    def _asked_for(self, rows: list[Any], plan: Plan) -> list[Any]:
        """Leave out what nobody asked for: without a cache the SDK may do a local activity again that ended long ago."""
        most = {
            self._path + name: 2 if leaf.get("fault") else 1
            for name, leaf in plan.leaves.items()
            if leaf.get("local")
        }
        ended, undoing, asked = Counter[str](), False, list[Any]()
        for row in rows:
            undoing = undoing or row[0].startswith("undo ")
            if not undoing or row[0] not in most or ended[row[0]] < most[row[0]]:
                asked.append(row)
            ended[row[0]] += row[1] == "ends"
        return asked

    async def _judge(self, run: Run, id: str, rows: list[Any]) -> None:
        """Verify what a tree and its children did, and what is reported of them."""
        verify(self._as_saga(run) if self.around is not Around.PARENT else await self._as_child(run, id))
        policies = (run.policy, *run.plan.policies)
        cancels = bool(run.asked) or any(
            one.get("settle") == "cancel" or "deadline" in one for one in policies
        )
        again = {self._path + name for name, leaf in run.plan.leaves.items() if leaf.get("local")}
        told = Trace([tuple(row) for row in rows])
        _compare(await fetch_report(self.client, id), told, cancels=cancels, again=again)

    @property
    def _path(self) -> str:
        return "" if self.around is Around.NOTHING else "tree/"

    def _heard(self, ask: dict[str, Any]) -> frozenset[str]:
        """Give what the tree hears of what its run is asked: a child is always cancelled."""
        return frozenset({"cancel" if self.around is Around.PARENT else ask["how"]})

    async def _start(self, id: str, nodes: list[dict[str, Any]], policy: dict[str, Any]) -> Any:
        within = {"id": id, "task_queue": self.queue, "run_timeout": timedelta(minutes=10)}
        if self.around is not Around.NOTHING:
            input = {"nodes": nodes, "policy": policy, "child": self.around is Around.PARENT}
            return await start(self.client, Line, input, **within)
        data = tree.plan({"nodes": nodes}).model_dump(mode="json", by_alias=True)
        return await start(self.client, "saga", {**data, "policy": policy}, **within)

    def _trace(self, rows: list[Any]) -> Trace:
        """Give what was recorded, by names in the tree; the sequence around it calls nothing by itself."""
        top = "tree" if self.around is Around.PARENT else ""
        whose = {by: "" if by == top else by.removeprefix(self._path) or "sequence" for *_, by in rows}
        return Trace(
            [(name.replace(self._path, "", 1), what, key, whose[by]) for name, what, key, by in rows]
        )

    def _within(self, end: End) -> End:
        return end[0], frozenset(step.removeprefix(self._path) for step in end[1])

    async def _children(self, id: str, plan: Plan) -> dict[str, End]:
        handles = {flow: self.client.get_workflow_handle(f"{id}/{self._path}{flow}") for flow in plan.flows}
        return {flow: await _end(handle) for flow, handle in handles.items()}

    def _as_saga(self, run: Run) -> Run:
        """Say how the saga ended: the sequence around it keeps what it left, and says so also where that is nothing."""
        unwound = self.around and run.end == "Kept" and run.fails and not run.keeps
        return replace(run, ends={**run.ends, "": ("RolledBack", run.left)}) if unwound else run

    async def _as_child(self, run: Run, id: str) -> Run:
        """Say how the child ended, which decides how the sequence around it does."""
        end = await _end(self.client.get_workflow_handle(f"{id}/tree"))
        assert run.asked or run.ends[""] == ("Kept" if end[0] == "RolledBack" else end[0], end[1])
        return replace(run, ends={**run.ends, "": end})


async def _ask(handle: Any, world: World, ask: dict[str, Any] | None) -> bool:
    """Ask what is to be asked once there were so many calls; say whether the run was there to hear it."""
    while ask is not None:
        if sum(what == "begins" for _, what, *_ in world.calls) >= ask["after"]:
            with suppress(RPCError, WorkflowUpdateFailedError):  # it has ended
                await (handle.cancel() if ask["how"] == "cancel" else handle.execute_update("stop", {}))
            return True
        if (await handle.describe()).status != WorkflowExecutionStatus.RUNNING:
            break
        await asyncio.sleep(0.02)
    return False


async def _end(handle: Any) -> End:
    """Give how a run ended, and the steps that its failure, and its memo, name as not undone."""
    try:
        await handle.result()
    except RPCError as error:
        assert error.status is RPCStatusCode.NOT_FOUND
        return NEVER, frozenset()
    except WorkflowFailureError as error:
        kind, message = causes(error.cause)[0]
        assert kind != "TimeoutError", f"{handle.id} never ended"
        memo = await (await handle.describe()).memo()
        left = [step for step in memo["counterstep"].get("not_undone", "").split(", ") if step]
        assert left == [line.split()[2] for line in message.split("\n")[1:][-len(left) :] if left]
        return kind.replace("CancelledError", "cancelled"), frozenset(left)
    return "completed", frozenset()


def _compare(report: AnyReport, trace: Trace, *, cancels: bool, again: set[str]) -> None:
    """Refuse a report, and spans, that tell of other calls than those that were recorded.

    Of a step that is cancelled between two attempts Temporal keeps none of them; of those that may be done again, since they
    are local, it knows only what it took. One that is cancelled before a worker heard of it counts as unknown.
    """
    told_of = dict(_named(report))
    failed = {step for step, r in told_of.items() if not r.attempts and r.outcome is Status.FAILED}
    unseen = failed if cancels else set()
    called = trace.calls(undo=False)
    unheard = {
        step for step, r in told_of.items() if step in again - set(called) and r.outcome is Status.UNKNOWN
    }
    steps = {step: r for step, r in told_of.items() if r.attempts and step not in unheard}
    known = {step: r.attempts for step, r in steps.items()}
    forward = {step: count for step, count in called.items() if step not in unseen}
    forward = _taken(forward, known, again)
    assert known == forward, f"told {known}, called {forward}; outcomes {_outcomes(told_of)}"
    undone = {step: r.undo.attempts for step, r in told_of.items() if r.undo and r.undo.attempts}
    backward = _taken(dict(trace.calls(undo=True)), undone, again)
    assert undone == backward
    told = [attributes(span) for span in check(decoded(spans_of(report))).values()]
    for kind, undo in (("operation", False), ("undo", True)):
        made = [one for one in told if one["counterstep.kind"] == kind and one.get("counterstep.attempts")]
        calls = {one["counterstep.step"]: one["counterstep.attempts"] for one in made}
        calls = calls if undo else {step: count for step, count in calls.items() if step not in unheard}
        assert calls == (backward if undo else forward)


def _outcomes(told: Mapping[str, AnyReport]) -> dict[str, str | None]:
    """Give how those ended that no attempt is told of."""
    return {step: r.outcome and r.outcome.value for step, r in told.items() if not r.attempts}


def _taken(calls: dict[str, int], known: dict[str, int], again: set[str]) -> dict[str, int]:
    """Give how often each step was called, in tasks that Temporal took."""
    return {step: min(n, known.get(step, n)) if step in again else n for step, n in calls.items()}


def _named(report: AnyReport, path: str = "") -> Iterator[tuple[str, AnyReport]]:
    """Give the steps by their names in the flow that all began with: a child names them by itself."""
    if report.run is not None:
        path = "".join(f"{name}/" for name in report.run.workflow_id.split("/")[1:])
    for child in report.children:
        yield from _named(child, path)
    if not report.is_flow:
        yield path + report.step, report


Together = Callable[[list[Case]], None]


@contextmanager
def _running(
    serve: Serve, world: World, queue: str, cache: int, around: Around = Around.NOTHING
) -> Iterator[Together]:
    """Serve from a thread of its own, since hypothesis calls functions; give what runs several trees at once."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    serving = serve(act, act_locally, tree, grown, Line, Walk, cache=cache)

    def wait(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    async def together(ground: Ground, cases: list[Case]) -> None:
        await asyncio.gather(*(ground.run(*case) for case in cases))

    try:
        ground = Ground(wait(serving.__aenter__()), queue, world, around, cached=cache > 0)
        try:
            yield lambda cases: wait(together(ground, cases))
        finally:
            wait(serving.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _sweep(run: Together, count: int, *, fresh: bool = False) -> None:
    """Draw so many trees and run them: always the same ones, or others each time."""

    @settings(
        max_examples=count // AT_ONCE, database=None, deadline=None, suppress_health_check=list(HealthCheck),
        print_blob=False, derandomize=not fresh,
    )  # fmt: skip
    @given(st.lists(drawn(), min_size=AT_ONCE, max_size=AT_ONCE))
    @example([([{"name": "x0", "fault": "fail"}], {}, None)] * AT_ONCE)
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
    with _running(serve, world, task_queue, cache=1000, around=Around.SEQUENCE) as run:
        _sweep(run, 40)


@pytest.mark.timeout(600)
def test_random_sagas_as_children(serve: Serve, world: World, task_queue: str) -> None:
    """The same where the saga is a child itself, of a sequence that keeps what it left."""
    with _running(serve, world, task_queue, cache=1000, around=Around.PARENT) as run:
        _sweep(run, 40)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("around", list(Around))
@pytest.mark.parametrize("uncached", [False, True], ids=["cached", "uncached"])
def test_a_thousand_random_sagas(
    serve: Serve, world: World, task_queue: str, uncached: bool, around: Around
) -> None:
    """The same of a thousand, with the workflow cache and without."""
    with _running(serve, world, task_queue, cache=0 if uncached else 1000, around=around) as run:
        _sweep(run, 1000, fresh=True)
