"""Running a recorded plan. Knows plans and nothing of user code."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from heapq import heapify, heappop, heappush
from typing import Any

from temporalio import workflow

from activities import Definition, InvalidInput
from activities._json import Json
from flows._executing import Spec, bounded
from flows._plan import ApprovalStep, ConstantStep, OperationStep, Plan, PlanStep, SubsagaStep, WaitStep
from flows._scope import Scope
from flows._step import wait_for
from flows._template import fill


class Interpreter:
    """Runs a plan's steps, as parallel as it allows, ready ones in plan order."""

    def __init__(self, scope: Scope, plan: Plan) -> None:
        """Take the run's scope and the plan."""
        self._scope, self._run, self._plan = scope, scope.run, plan
        self._steps = {step.name: step for step in plan.steps}
        self._places = {step.name: index for index, step in enumerate(plan.steps)}
        self._outputs: dict[str, Json] = {}
        self._failures: list[BaseException] = []
        self._followers: dict[str, list[str]] = {name: [] for name in self._steps}
        self._waiting = {step.name: len(step.after) for step in plan.steps}
        for step in plan.steps:
            for before in step.after:
                self._followers[before].append(step.name)
        self._ready = [self._places[name] for name, count in self._waiting.items() if count == 0]
        heapify(self._ready)
        scope.graph = {step.name: step.after for step in plan.steps}

    async def run(self) -> Json:
        """Run the plan.

        Returns:
            The output of the step that the plan names as its result; ``None`` if it names none.

        Raises:
            OperationFailed: the first failure in history order, once the steps in flight have settled.
        """
        running: dict[asyncio.Task[None], str] = {}
        try:
            while await self._something(running):
                await workflow.wait(list(running), return_when=asyncio.FIRST_COMPLETED)
                for task in [t for t in running if t.done()]:
                    self._ended(running.pop(task), task)
                if self._failures and self._plan.policy.settle == "cancel":
                    for task in running:
                        task.cancel()
        except asyncio.CancelledError:
            for task in running:
                task.cancel()
            await wait_for(running)
            raise
        if self._failures:
            raise self._failures[0]
        return self._output(self._plan.result) if self._plan.result else None

    async def _something(self, running: dict[asyncio.Task[None], str]) -> bool:
        """Start what may start, and say whether anything runs; a run that is held waits."""
        while not self._start(running):
            if not (self._ready and self._run.control.holds and not self._failures):
                return False
            await workflow.wait_condition(lambda: not self._run.control.holds)
        return True

    def _start(self, running: dict[asyncio.Task[None], str]) -> bool:
        """Start what is ready, up to the cap, and say whether anything runs; nothing new after a failure."""
        while self._ready and len(running) < self._plan.policy.max_parallel and not self._stopped:
            step = self._plan.steps[heappop(self._ready)]
            work = self._work(step)
            if work is None:
                self._done(step.name)
            else:
                running[asyncio.create_task(self._guarded(work))] = step.name
        return bool(running)

    @property
    def _stopped(self) -> bool:
        """Whether nothing new starts: something failed, or waits for an operator."""
        return bool(self._failures or self._run.control.holds)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """Note failures in the order in which history tells of them."""
        try:
            await work
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._failures.append(error)
            raise

    def _work(self, step: PlanStep) -> Coroutine[Any, Any, None] | None:
        """Give what has to be done for a step; ``None`` where there is nothing to wait for."""
        if isinstance(step, OperationStep):
            return self._operation(step)
        if isinstance(step, WaitStep):
            return self._wait(step)
        if isinstance(step, ApprovalStep):
            return self._approval(step)
        if isinstance(step, ConstantStep):
            self._outputs[step.name] = step.value
        return None

    async def _operation(self, step: OperationStep) -> None:
        report = await self._scope.carry_out(self._spec(step))
        self._outputs[step.name] = report.result[0] if report.result else None

    def _spec(self, step: OperationStep) -> Spec:
        assert step.timeout is not None and step.retry is not None, "a plan that runs is complete"
        self._run.room()
        definition = Definition.parse(step.operation)
        try:
            data = fill(step.input, self._output)
        except LookupError as error:
            raise InvalidInput(f"{step.name} ({step.operation}): input: {error.args[0]}") from None
        return Spec(
            name=step.name,
            definition=Definition(definition.id, definition.version, step.description),
            data=bounded(data, f"{step.name} ({step.operation})"),
            header=self._run.header(),
            timeout=step.timeout,
            retry=step.retry,
            local=bool(step.local),
            task_queue=step.task_queue,
            at_most_once=bool(step.at_most_once),
            undo=step.undo,
            pivot=step.pivot,
        )

    async def _wait(self, step: WaitStep) -> None:
        board = self._run.board
        board.set(step.name, "waiting")
        try:
            await workflow.sleep(step.duration, summary=step.name)
        except BaseException:
            board.set(step.name, "interrupted")
            raise
        board.set(step.name, "done")

    async def _approval(self, step: ApprovalStep) -> None:
        board = self._run.board
        board.set(step.name, "waiting for approval")
        try:
            decision = await self._run.control.approval(step.name, step.timeout)
        except BaseException:
            board.set(step.name, "not approved")
            raise
        self._outputs[step.name] = decision.model_dump(mode="json", exclude_none=True)
        board.set(step.name, "approved")

    def _output(self, name: str) -> Json:
        """Give a step's output; a subsaga's is that of the step it names."""
        step = self._steps[name]
        while isinstance(step, SubsagaStep) and step.result is not None:
            step = self._steps[step.result]
        return self._outputs.get(step.name)

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is None:
            self._done(name)

    def _done(self, name: str) -> None:
        for follower in self._followers[name]:
            self._waiting[follower] -= 1
            if self._waiting[follower] == 0:
                heappush(self._ready, self._places[follower])
