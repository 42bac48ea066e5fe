"""The runs of a sweep: each in a world of its own, with an operator if there is one, and with an end to patience."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from temporalio.client import WorkflowExecutionStatus, WorkflowHandle

from counterstep.reports import Kind, Report, fetch_report
from flows.testing._bugs import BodyFailed
from flows.testing._planning import Faults
from flows.testing._trial import Trial
from flows.testing._worker import FlowWorker, Ran, cancelled

Operator = Callable[[WorkflowHandle[Any, Any]], Awaitable[Any]]
PATIENCE = 120.0
"""Seconds that a run may take."""


class Impatient(Exception):
    """A run didn't end in time, and was terminated."""


@dataclass(frozen=True)
class Fresh:
    """A world that nobody has used yet.

    Attributes:
        deps: what the run's operations work on.
        input: of the run.
        before: what is there.
    """

    deps: Any
    input: Any
    before: Any


@dataclass(frozen=True)
class Bench:
    """Runs a flow again and again.

    Attributes:
        worker: that serves it.
        flow: what runs.
        input: a value, or a function of the dependencies.
        world: tells what is there.
        lifespan: yields dependencies.
        operator: what somebody does meanwhile.
        gate: how many runs may be open at once.
        cache: of workers.
    """

    worker: FlowWorker
    flow: Any
    input: Any
    world: Callable[[Any], Any]
    lifespan: Callable[[], AbstractAsyncContextManager[Any]]
    operator: Operator | None
    gate: asyncio.Semaphore
    cache: int

    @asynccontextmanager
    async def fresh(self) -> AsyncIterator[Fresh]:
        """Make a world, and an input that no other run has seen."""
        async with self.gate, self.lifespan() as deps:
            given = await _value(self.input(deps)) if callable(self.input) else copy.deepcopy(self.input)
            yield Fresh(deps, given, await self.look(deps))

    async def look(self, deps: Any) -> Any:
        """Tell what is there now, as a value of its own."""
        return copy.deepcopy(await _value(self.world(deps)))

    async def run(self, fresh: Fresh, faults: Faults, *, replace: bool = False) -> tuple[Ran, Trial]:
        """Run the flow to its end.

        Args:
            fresh: what it works on.
            faults: what goes wrong.
            replace: whether it has a worker of its own, which another replaces when a fault says so.

        Raises:
            Impatient: when it doesn't end.
        """
        options = {"task_queue": f"test-{uuid4().hex[:12]}"} if replace else {}
        handle, trial = await self.worker.begin(self.flow, fresh.input, faults, fresh.deps, **options)
        tasks = [asyncio.create_task(self._replaced(trial, options["task_queue"]))] if replace else []
        return await self.ended(handle, trial, *tasks), trial

    async def alone(
        self, fresh: Fresh, faults: Faults, *, cache: int, sandbox: bool = False
    ) -> tuple[Ran, Trial]:
        """Run the flow to its end on a worker of its own.

        Args:
            fresh: what it works on.
            faults: what goes wrong.
            cache: how many runs that worker keeps; with 0 it meets the run anew in each task, as after a restart.
            sandbox: whether the body runs in Temporal's sandbox, as it does in production.
        """
        queue = f"test-{uuid4().hex[:12]}"
        async with self.worker.another(queue, cache, sandbox=sandbox):
            handle, trial = await self.worker.begin(
                self.flow, fresh.input, faults, fresh.deps, task_queue=queue
            )
            return await self.ended(handle, trial), trial

    async def ended(self, handle: WorkflowHandle[Any, Any], trial: Trial, *tasks: asyncio.Task[Any]) -> Ran:
        """Wait for the end of a run, while its operator is at work.

        Raises:
            Impatient: when it doesn't come.
            Exception: what the operator raised while the run was open.
        """
        ending = asyncio.ensure_future(self.worker.ended(handle, trial))
        operating = asyncio.ensure_future(self._operate(handle))
        try:
            async with asyncio.timeout(PATIENCE):
                failed = await _failed(operating, ending, handle)
                if failed is None:
                    return await ending
        except TimeoutError:
            pending = await self._pending(handle)
            await _terminated(handle, trial)
            called = ", ".join(str(call.place) for call in trial.calls)
            raise Impatient(
                f"it didn't end within {PATIENCE:.0f} s; called were {called or 'no steps'}; {pending}"
            ) from None
        finally:
            await cancelled([ending, operating, *tasks])
        await _terminated(handle, trial)
        raise failed

    async def _pending(self, handle: WorkflowHandle[Any, Any]) -> str:
        """Say what a run waits for, as far as its history tells."""
        try:
            events = [event async for event in handle.fetch_history_events()]
            waiting = list(_undecided(await fetch_report(self.worker.client, handle.id)))
        except Exception as error:
            return f"its history can't be read: {error}"
        if waiting:
            return f"it waits for an operator: {', '.join(waiting)}; let `operator` decide"
        failed = [event.activity_task_failed_event_attributes for event in events]
        errors = [one.failure.message.splitlines()[0] for one in failed if one.failure.message]
        if errors:
            return f"the last error of a step: {errors[-1]}"
        passes = "" if self.worker.skips_time else ", and `temporal=Temporal()` lets a time pass at once"
        return f"where it waits for somebody, `operator` does what that one does{passes}"

    async def _operate(self, handle: WorkflowHandle[Any, Any]) -> None:
        if self.operator is not None:
            await self.operator(handle)

    async def _replaced(self, trial: Trial, queue: str) -> None:
        """Serve a run, with another worker from the moment on that its fault names."""
        async with self.worker.another(queue, self.cache, sandbox=False):
            await trial.replace.wait()
        async with self.worker.another(queue, self.cache, sandbox=False):
            await trial.over.wait()


def told(error: Exception) -> str:
    """Say in a cell of the table what kept a run from being looked at."""
    if isinstance(error, (Impatient, BodyFailed)):
        return str(error)
    root: BaseException = error
    while root.__cause__ is not None:
        root = root.__cause__
    cause = "" if root is error else f", since {type(root).__name__}: {root}"
    return f"{type(error).__name__}: {error}{cause}"


async def _failed(
    operating: asyncio.Future[None], ending: asyncio.Future[Ran], handle: WorkflowHandle[Any, Any]
) -> BaseException | None:
    """Give what an operator raised, unless its run has closed: then nobody can do anything to it any more."""
    either: list[asyncio.Future[Any]] = [operating, ending]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if ending.done() or operating.cancelled():
        return None
    failed = operating.exception()
    if failed is None:
        return None
    status = (await handle.describe()).status
    return failed if status is WorkflowExecutionStatus.RUNNING else None


def _undecided(report: Report[Any, Any]) -> Iterator[str]:
    """Say what waits for an operator."""
    for part in report.walk():
        for one in part.run.waiting if part.run else ():
            yield f"{one.step} is {one.state}"
        if part.kind is Kind.APPROVAL and part.outcome is None:
            yield f"{part.step} isn't approved"


async def _terminated(handle: WorkflowHandle[Any, Any], trial: Trial) -> None:
    trial.over.set()
    with contextlib.suppress(Exception):
        await handle.terminate("the test's patience is over")


async def _value(given: Any) -> Any:
    return await given if inspect.isawaitable(given) else given
