"""A worker for a test: serves definitions on a queue of its own, records every call, and lets steps go wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import uuid4

from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.worker import UnsandboxedWorkflowRunner, Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from activities import DefinitionError, Failure, Registry
from activities._wire import without_leg
from counterstep.reports import Kind, Report, StepHistory, fetch_report
from flows._actions import Action
from flows._linear import Workflow
from flows._module import load_modules, offered
from flows._plugin import CounterstepPlugin
from flows._saga import Saga
from flows._start import start
from flows.testing._bugs import body_failed, bug_of
from flows.testing._faults import Fault, error_first
from flows.testing._rig import Rig, RigInterceptor
from flows.testing._temporal import Temporal
from flows.testing._trial import Call, Place, Trial

AnyReport = Report[Any, Any]


class NoSuchStep(DefinitionError):
    """Something was injected into a step that the flow doesn't have, or that has no operation; the message lists those it has."""


class NotReached(DefinitionError):
    """Something was injected that never happened: the test would have shown nothing."""


@dataclass(frozen=True)
class Ran:
    """A run that has ended.

    Attributes:
        handle: of the run.
        report: of it, from its history.
        calls: every execution of a handler, in the order in which they began.
        result: as the flow returned it, in a tuple of one; empty when it failed.
        failure: how it failed.
    """

    handle: WorkflowHandle[Any, Any]
    report: AnyReport
    calls: Sequence[Call]
    result: tuple[Any, ...] = ()
    failure: Failure | None = None

    @property
    def state(self) -> str:
        """Its end: ``completed``, ``rolled_back``, ``stuck``, ``kept``, ``cancelled`` or ``refused``."""
        assert self.report.run is not None, "a run's report tells of the run"
        return self.report.run.state

    @property
    def output(self) -> Any:
        """What it returned.

        Raises:
            NoOutput: when it failed.
        """
        return self.result[0] if self.result else self.report.output

    @property
    def called(self) -> list[str]:
        """The steps and undos that were called, in order: ``["take-seat", "undo of take-seat"]``."""
        return [str(call.place) for call in self.calls]


@dataclass
class FlowWorker:
    """A worker on a task queue of its own.

    Attributes:
        client: of its server.
        task_queue: that it serves.
        registry: what it serves.
        skips_time: whether its server skips time.
    """

    client: Client
    task_queue: str
    registry: Registry
    skips_time: bool
    _rig: Rig
    _faults: dict[Place, tuple[Fault, ...]] = field(default_factory=dict)

    def inject(self, step: str, *faults: Fault, undo: bool = False) -> None:
        """Let a step, or its undo, go wrong in the next run.

        Args:
            step: its full name; of a step in an inner flow with the path: ``dns/record``.
            faults: one for each execution, from the first on; those after them go well. Those of several calls at one place
                add up. An error wins over a repeat: it goes first, and no repeat follows one that ends the step.
            undo: whether its undo is meant.

        Raises:
            DefinitionError: when there is no fault, or one is none: ``error`` instead of ``error()``, say.
        """
        if not faults or {type(fault) for fault in faults} != {Fault}:
            given = ", ".join(map(repr, faults)) or "nothing"
            raise DefinitionError(f"inject takes faults, such as error() or crash(), not {given}")
        place = Place(step, undo)
        self._faults[place] = (*self._faults.get(place, ()), *faults)

    async def run(self, flow: Any, input: Any = None, **options: Any) -> Ran:
        """Run a flow to its end, with what was injected.

        Args:
            flow: as for :func:`flows.start`.
            input: the start input.
            options: of :func:`flows.start`, such as ``memo``.

        Raises:
            NoSuchStep: when something was injected into a step that isn't there, or where there is no operation, such as a
                wait; of a saga before it starts.
            NotReached: when something that was injected didn't happen.
            DefinitionError: when something can't be injected there, such as a cancel that a time-skipping server can't take.
            BodyFailed: when it can't end, since its body has a bug.
        """
        faults, self._faults = self._faults, {}
        self._check(flow, input, faults)
        handle, trial = await self.begin(flow, input, faults, self._rig.deps, **options)
        try:
            ran = await self.ended(handle, trial)
        except Exception:
            _refuse(trial)
            raise
        _refuse(trial)
        refuse_unknown(faults, [*trial.steps, *leaves_of(ran.report)], others_of(ran.report))
        if trial.missed:
            missed = ", ".join(map(str, trial.missed))
            raise NotReached(f"injected, but never reached: {missed}; called were {', '.join(ran.called)}")
        return ran

    async def begin(
        self, flow: Any, input: Any, faults: Mapping[Place, Sequence[Fault]], deps: Any, **options: Any
    ) -> tuple[WorkflowHandle[Any, Any], Trial]:
        """Start a run with dependencies of its own; whether its faults are reached is for the caller to see."""
        trial = self.watch(options.pop("id", None) or f"test-{uuid4().hex[:12]}", deps)
        trial.inject({place: error_first(several) for place, several in faults.items()})
        options.setdefault("task_queue", self.task_queue)
        return await start(self.client, flow, input, id=trial.workflow_id, **options), trial

    def watch(self, workflow_id: str, deps: Any) -> Trial:
        """Record what the newest run of a workflow id calls."""
        trial = self._rig.trials[workflow_id] = Trial(workflow_id, self.client, deps, self.skips_time)
        return trial

    def place(self, workflow_id: str, step: StepHistory) -> Place:
        """Say which step of the bench a step, or an undo, of a run's history is."""
        return self._rig.place(step.header, workflow_id, step.header.step or step.step, undo=step.is_undo)

    def another(self, task_queue: str, cache: int, *, sandbox: bool) -> Worker:
        """Make another worker on the same bench, with a task queue of its own."""
        return make_worker(self.client, self._rig, task_queue, cache, sandbox=sandbox)

    async def ended(self, handle: WorkflowHandle[Any, Any], trial: Trial) -> Ran:
        """Wait for a run's end and tell of it.

        Raises:
            BodyFailed: when it can't end, since its body has a bug.
        """
        result: tuple[Any, ...] = ()
        failure = None
        try:
            result = (await self._result(handle),)
        except WorkflowFailureError as error:
            failure = Failure.of(error.cause)
        finally:
            trial.over.set()
        report = await fetch_report(self.client, handle.id, handle.run_id)
        return Ran(handle, report, tuple(trial.calls), result, failure)

    async def _result(self, handle: WorkflowHandle[Any, Any]) -> Any:
        """Wait for a run's result, unless its body has a bug."""
        ending = asyncio.ensure_future(handle.result())
        watching = asyncio.ensure_future(bug_of(self.client, handle))
        either: list[asyncio.Future[Any]] = [ending, watching]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if ending.done() or watching.exception() is not None:
                return await ending
            await handle.terminate(watching.result())
            raise body_failed(watching.result())
        finally:
            await cancelled(either)

    def _check(self, flow: Any, input: Any, faults: Mapping[Place, Any]) -> None:
        found = flow.flow if isinstance(flow, (Action, Workflow)) else flow
        if faults and isinstance(found, Saga) and not isinstance(flow, Workflow):
            steps = found.plan(input, self.registry).steps
            others = {step.name: step.kind for step in steps if step.kind != "operation"}
            if "flow" in others.values():  # its steps are known once it ran
                faults = {place: several for place, several in faults.items() if place.step in others}
            refuse_unknown(faults, [step.name for step in steps if step.kind == "operation"], others)


async def cancelled(tasks: Sequence[asyncio.Future[Any]]) -> None:
    """Cancel what isn't done, and wait for its end."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _refuse(trial: Trial) -> None:
    if trial.refused is not None:
        raise DefinitionError(trial.refused)


def refuse_unknown(
    faults: Mapping[Place, Any], steps: Sequence[str], others: Mapping[str, str] | None = None
) -> None:
    """Refuse what was injected into a step that isn't there, or that has no operation.

    Args:
        faults: what was injected.
        steps: that have an operation.
        others: kinds of those that have none, by full name.

    Raises:
        NoSuchStep: naming it, and those that are.
    """
    known = ", ".join(dict.fromkeys(steps)) or "none"
    for place in faults:
        kind = (others or {}).get(place.step)
        if place.step in steps:
            continue
        if kind is None:
            raise NoSuchStep(f"there is no step {place.step!r} to inject anything into; its steps: {known}")
        named = f"{'an' if kind == 'approval' else 'a'} {kind}"
        raise NoSuchStep(
            f"{place.step!r} is {named}, and has no operation to inject anything into; steps that have one: {known}"
        )


def others_of(report: AnyReport, path: str = "") -> dict[str, str]:
    """Give what has no operation, by full name, with its kind: also what a report tells of by its plan alone, as constants."""
    found = {path + step.name: step.kind for step in report.plan if step.kind != "operation"}
    for child in report.children:
        if child.kind is not Kind.OPERATION:
            kind = "flow" if child.kind is Kind.CHILD else child.kind.value
            found |= {path + child.step: kind, **others_of(child, child_path(child, path))}
    return found


def leaves_of(report: AnyReport, path: str = "") -> dict[str, AnyReport]:
    """Give the reports of all operations, those in child runs too, by full name; those of a first leg have none of it."""
    found: dict[str, AnyReport] = {}
    for child in report.children:
        if child.is_flow:
            found |= leaves_of(child, child_path(child, path))
        elif child.kind is Kind.OPERATION and child.answered_from is None:
            found[path + child.step.removeprefix("leg:0/")] = child
    return found


def child_path(child: AnyReport, path: str) -> str:
    """Give the path of the steps of an inner flow, told that of the flow around it: inline, it has none of its own."""
    if child.kind is not Kind.CHILD:
        return path
    around, slash, own = without_leg(child.step).rpartition("/")
    return f"{path}{around}{slash}{child.run.workflow_id.rpartition('/')[2] if child.run else own}/"


@asynccontextmanager
async def serving(
    *served: Any,
    temporal: Temporal | None = None,
    deps: Any = None,
    lifespan: Callable[[], AbstractAsyncContextManager[Any]] | None = None,
    cache: int = 1000,
    sandbox: bool = True,
    **options: Any,
) -> AsyncIterator[FlowWorker]:
    """Serve definitions on a task queue of their own.

    Args:
        served: operations, flows, actions; or names of modules, as ``worker.py --module`` takes them. What comes later
            replaces what came before, as a :func:`fake` does.
        temporal: where; a time-skipping server of its own unless given.
        deps: what operations work on: one object, or ``{type: object}``.
        lifespan: yields it instead, as in a module.
        cache: how many runs the worker keeps; with 0 every workflow task replays the history.
        sandbox: whether bodies run in Temporal's sandbox, as they do in production; without it they run faster.
        options: of :class:`flows.CounterstepPlugin`: ``secrets``, ``data_converter``, ``heartbeat_timeout``.
    """
    registry, found = collected(served)
    async with AsyncExitStack() as stack:
        if lifespan is not None:
            deps = await stack.enter_async_context(lifespan())
        rig = Rig(deps)
        plugin = CounterstepPlugin(rig.registry(registry), **{**found, **options})
        where = temporal or Temporal()
        client = await stack.enter_async_context(where.client(plugin))
        queue = f"test-{uuid4().hex[:12]}"
        await stack.enter_async_context(make_worker(client, rig, queue, cache, sandbox=sandbox))
        yield FlowWorker(client, queue, registry, where.skips_time, rig)


def make_worker(client: Client, rig: Rig, queue: str, cache: int, *, sandbox: bool = True) -> Worker:
    """Make a worker on the bench."""
    return Worker(
        client,
        task_queue=queue,
        interceptors=[RigInterceptor(rig)],
        max_cached_workflows=cache,
        max_concurrent_activities=1000,
        graceful_shutdown_timeout=timedelta(0),
        workflow_runner=SandboxedWorkflowRunner() if sandbox else UnsandboxedWorkflowRunner(),
    )


def collected(served: Sequence[Any]) -> tuple[Registry, dict[str, Any]]:
    """Give what is served, and what modules say about how."""
    modules = [one for one in served if isinstance(one, str)]
    loaded = load_modules(modules) if modules else None
    registry = Registry()
    for one in served:
        entries = offered(one) if isinstance(one, str) else getattr(one, "definitions", (one,))
        registry.register(*entries, replace=True)
    about = {"data_converter": loaded.data_converter, "secrets": loaded.secrets} if loaded else {}
    return registry, {name: value for name, value in about.items() if value is not None}
