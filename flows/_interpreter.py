"""Running a recorded plan. Knows plans and nothing of user code.

A plan is a run of its own, or stands inline in a sequence, under whose path its steps are known outside; there it
never goes on as new.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any

from temporalio import workflow

from activities import Definition, Failure, InvalidInput
from activities._json import Json
from activities._wire import StepHeader
from counterstep.reports import Report
from flows._carry import Carried, records_of, restore, take_along
from flows._child import ChildSpec
from flows._errors import OperationFailed, SequenceFailed
from flows._executing import Spec, bounded
from flows._full import Full, full
from flows._holding import Action, Hold
from flows._lost import lost_a_task, row_ended
from flows._plan import ApprovalStep, FlowStep, OperationStep, PlanStep, WaitStep
from flows._ready import Ready
from flows._recorded import Recorded
from flows._run import Run
from flows._scope import Scope
from flows._step import wait_for
from flows._template import fill

CarryOut = Callable[[Spec | ChildSpec], Awaitable[Report[Any, Any]]]

TIMED = ("wait", "approval")
"""Steps that may go on in the next run."""


class Interpreter:
    """Runs a plan's steps, as parallel as it allows, ready ones in plan order."""

    def __init__(
        self, scope: Scope, plan: Recorded, carried: Carried | None = None, carry_out: CarryOut | None = None
    ) -> None:
        """Take the plan's scope, the plan, what an earlier run carried here, and what runs a step."""
        self._inline, self._carry_out = bool(scope.path), carry_out or scope.carry_out
        self._scope, self._run, self._plan, self._policy = scope, scope.run, plan, plan.head.policy
        self._names = tuple(plan.after)
        self._continues = self._policy.on_failure == "continue"
        self._failures: list[BaseException] = [f.as_error() for f in carried.failures] if carried else []
        self._running: dict[asyncio.Task[None], str] = {}
        self._settles = False
        self._asks = self._repeats = 0
        self._began: dict[str, tuple[datetime, float | None]] = {}
        self._earlier = carried.records if carried else ()
        self._timers: dict[str, float | None] = {**carried.waits, **carried.approvals} if carried else {}
        self._ended_well = dict.fromkeys(carried.ended if carried else ())
        self._outputs: dict[str, Json] = plan.constants()
        self._ready = Ready(plan.after, self._ended_well)
        scope.before_hold, scope.lacks = self._before_hold, self._lacks
        scope.graph = self._edges() | (carried.after if carried else {})
        work = [self._named(name) for name in self._names if plan.kind(name) not in ("constant", "subsaga")]
        self._run.planned |= dict.fromkeys(work)
        if not self._inline:
            self._run.board.total = len(work)
        if carried is not None:
            restore(carried, self._run)
            scope.earlier = lambda: records_of(carried, plan, self._run)
            self._outputs |= carried.outputs
            self._outputs |= {row["step"]: row["output"][0] for row in carried.records if "output" in row}

    def _named(self, name: str) -> str:
        """Give the name by which a step is known outside the plan."""
        return self._scope.path + name

    def _lacks(self, name: str, output: tuple[Json, ...]) -> str | None:
        return self._plan.lacks(name.removeprefix(self._scope.path), output)

    def _edges(self) -> dict[str, tuple[str, ...]]:
        if not self._inline:
            return self._plan.after
        return {self._named(name): tuple(map(self._named, a)) for name, a in self._plan.after.items()}

    async def run(self) -> Json:
        """Run the plan.

        Returns:
            The output of the step that the plan names as its result; ``None`` if it names none.

        Raises:
            CounterstepError: when the flow around it ended meanwhile.
            OperationFailed: the first failure in history order (or the last one, where the policy says so), once the
                steps in flight have settled.
            Full: when the history is, and nothing but timers is in flight; :meth:`carry` gives what goes along.
        """
        try:
            while await self._something():
                await self._one_ends()
                if self._failed and not self._settles:
                    await self._settle()
        except (asyncio.CancelledError, Full):
            for task in self._running:
                task.cancel()
            await wait_for(self._running)
            raise
        if self._failures:
            raise self._failures[-1 if self._policy.error == "last" else 0]
        self._scope.working.refuse()
        return self._output(self._plan.head.result) if self._plan.head.result else None

    async def _one_ends(self, *others: asyncio.Task[None]) -> None:
        """Wait until a step ends, or something else does."""
        await workflow.wait([*self._running, *others], return_when=asyncio.FIRST_COMPLETED)
        for task in [t for t in self._running if t.done()]:
            self._ended(self._running.pop(task), task)

    async def _settle(self) -> None:
        """Let the steps in flight settle, as the policy says; first of all, local ones that were lost are done again.

        A workflow task did them that Temporal didn't take: they took effect, and the history has nothing of them. Done again
        under their keys, they are undone like any other.
        """
        self._settles = True
        if await self._lost():
            await self._repeat()
        if self._policy.settle == "cancel":
            for task in self._running:
                task.cancel()

    async def _before_hold(self) -> None:
        """Let nothing begin until a failed step is held, or the deadline holds the run, but local steps that were lost."""
        self._asks += 1
        try:
            if await self._lost():
                await self._repeat()
        finally:
            self._asks -= 1

    async def _lost(self) -> bool:
        """Say whether local steps were lost, once all is taken in that this task told of."""
        with self._run.control.asking():
            await workflow.wait_condition(lambda: True)
            return self._may_have_lost() and await lost_a_task()

    async def _repeat(self) -> None:
        """Do local steps in a row, for as long as a workflow task may have done."""
        row = asyncio.create_task(row_ended(self._run.control.local))
        self._repeats += 1
        try:
            while not row.done():
                self._start()
                await self._one_ends(row)
        finally:
            self._repeats -= 1
            row.cancel()

    def _may_have_lost(self) -> bool:
        """Whether local steps may have been done of which nothing is known: some have not begun, but could have."""
        if any(map(self._begins_here, self._ready)):
            return True
        begun = {*self._running.values(), *self._ended_well}
        left = (name for name in self._names if name not in begun)
        return bool(self._running) and any(map(self._plan.is_local, left))

    def _begins_here(self, name: str) -> bool:
        """Whether a step is local, or has nothing to wait for, so that a local one may follow."""
        return self._plan.kind(name) in ("constant", "subsaga") or self._plan.is_local(name)

    def carry(self, cause: BaseException | None, run: Run) -> Json:
        """Give what the next run needs.

        Raises:
            HistoryLimit: when it is larger than what one run may hand to the next.
        """
        records, planned = self._scope.records, self._plan.after
        carried = take_along(self._plan.text, run, records, cause, self._earlier, planned)
        graph = self._scope.graph or {}
        spliced = {name: edges for name, edges in graph.items() if planned.get(name) != edges}
        if run.control.unwinding:
            return carried.model_copy(update={"after": spliced}).pack()
        kept = {row["step"] for row in carried.records if "output" in row}
        outputs = {
            k: v for k, v in self._outputs.items() if k not in kept and self._plan.kind(k) != "constant"
        }
        left = self._left()
        return carried.model_copy(
            update={
                "ended": tuple(self._ended_well),
                "after": spliced,
                "outputs": outputs,
                "failures": tuple(map(Failure.of, self._failures)),
                "waits": {name: left[name] for name in left if self._plan.kind(name) == "wait"},
                "approvals": {name: left[name] for name in left if self._plan.kind(name) == "approval"},
            }
        ).pack()

    def _left(self) -> dict[str, float | None]:
        """Give the seconds that are left of each timer, as the next run gets them."""
        now = workflow.now()
        left = {
            name: None if seconds is None else max(seconds - (now - began).total_seconds(), 0.001)
            for name, (began, seconds) in self._began.items()
        }
        return {**self._timers, **left}

    async def _something(self) -> bool:
        """Start what may start, and say whether anything runs; a run that is held waits.

        Raises:
            Full: when the run should go on as new, and can.
        """
        while True:
            self._start()
            runs = bool(self._running)
            if (
                self._full
                and all(self._plan.kind(name) in TIMED for name in self._running.values())
                and (self._ready or runs)
            ):
                raise Full
            if runs or self._failed or not (self._ready and self._halted):
                return runs
            await workflow.wait_condition(lambda: not self._halted)

    @property
    def _full(self) -> bool:
        return self._overdue and not (self._failed or self._halted)

    @property
    def _overdue(self) -> bool:
        return not self._inline and full()

    @property
    def _failed(self) -> bool:
        """Whether something failed, and nothing goes on after it."""
        return bool(self._failures) and not self._continues

    def _start(self) -> None:
        """Start what is ready, up to the cap; nothing new after a failure, but what may have to be done again."""
        while len(self._running) < self._policy.max_parallel and (name := self._next()) is not None:
            step = self._plan[name]
            work = self._work(step)
            if work is None:
                self._done(step.name)
            else:
                self._running[asyncio.create_task(self._guarded(step, work))] = step.name

    def _next(self) -> str | None:
        """Take the first step that is ready, if any may start."""
        if not self._stopped:
            return self._ready.take()
        return self._ready.take(self._begins_here) if self._repeats else None

    @property
    def _stopped(self) -> bool:
        """Whether nothing new starts: something failed, or waits for an operator."""
        return bool(self._failed or self._halted or self._overdue or self._scope.working.closed)

    @property
    def _halted(self) -> bool:
        """Whether an operator is waited for, or is about to be: by a failed step, or by the deadline."""
        return bool(self._asks or self._run.control.holds)

    async def _guarded(self, step: PlanStep, work: Coroutine[Any, Any, None] | None) -> None:
        """Note failures in the order in which history tells of them."""
        while work is not None:
            try:
                return await work
            except (asyncio.CancelledError, GeneratorExit):  # asked to end, or no workflow any more
                raise
            except BaseException as error:
                decided = await self._held(step, error)
                if decided is None:
                    self._failures.append(error)
                    raise
            work = self._work(step) if decided.action is Action.RETRY else self._skipped(step, decided)

    async def _held(self, step: PlanStep, error: BaseException) -> Hold | None:
        """Hold what fails after the pivot and isn't held already; ``None`` where it fails all the same."""
        held = isinstance(error, (OperationFailed, SequenceFailed))
        if held or not (self._run.pivoted and self._scope.may_hold and self._run.holds(self._policy)):
            return None
        hold = Hold(self._named(step.name), step.kind, typed=False, lacks=self._lacks)
        await self._before_hold()
        await self._run.hold(hold, self._policy, str(Failure.of(error)))
        return hold if hold.action in (Action.RETRY, Action.SKIP) else None

    async def _skipped(self, step: PlanStep, hold: Hold) -> None:
        self._outputs[step.name] = hold.value[0] if hold.value else None
        self._run.board.set(self._named(step.name), "skipped")

    def _work(self, step: PlanStep) -> Coroutine[Any, Any, None] | None:
        """Give what has to be done for a step; ``None`` where there is nothing to wait for."""
        if isinstance(step, OperationStep):
            return self._operation(step)
        if isinstance(step, FlowStep):
            return self._flow(step)
        if isinstance(step, WaitStep):
            return self._wait(step)
        if isinstance(step, ApprovalStep):
            return self._approval(step)
        return None

    async def _operation(self, step: OperationStep) -> None:
        report = await self._carry_out(self._spec(step))
        self._outputs[step.name] = report.result[0] if report.result else None

    def _spec(self, step: OperationStep) -> Spec:
        assert step.timeout is not None and step.retry is not None, "a plan that runs is complete"
        definition = Definition.parse(step.operation)
        return Spec(
            name=self._named(step.name),
            definition=Definition(definition.id, definition.version, step.description),
            data=self._input(step.input, f"{self._named(step.name)} ({step.operation})"),
            header=self._header(step),
            timeout=step.timeout,
            retry=step.retry,
            local=bool(step.local),
            task_queue=step.task_queue,
            at_most_once=bool(step.at_most_once),
            undo=step.undo,
            pivot=step.pivot,
        )

    def _header(self, step: OperationStep) -> StepHeader:
        """Make a step's header; a plan that isn't that of a root's run isn't at hand to who undoes that run."""
        told = not (self._inline or self._run.root)
        no_undo = step.undo is None and not told
        return self._run.step_header(flows=self._scope.flows, pivot=step.pivot, no_undo=no_undo)

    async def _flow(self, step: FlowStep) -> None:
        definition = Definition.parse(step.flow)
        spec = ChildSpec(
            name=self._named(step.name),
            definition=Definition(definition.id, definition.version, step.description),
            data=self._input(step.input, f"{self._named(step.name)} ({step.flow})"),
            flows=self._scope.flows,
        )
        report = await self._carry_out(spec)
        self._outputs[step.name] = report.result[0] if report.result else None

    def _input(self, template: Json, who: str) -> Json:
        try:
            return bounded(fill(template, self._output), who)
        except LookupError as error:
            raise InvalidInput(f"{who}: input: {error.args[0]}") from None

    async def _wait(self, step: WaitStep) -> None:
        board, name = self._run.board, self._named(step.name)
        board.set(name, "waiting")
        try:
            await workflow.sleep(self._seconds(step.name, step.duration) or 0, summary=name)
        except (Exception, asyncio.CancelledError):
            board.set(name, "interrupted")
            raise
        board.set(name, "done")

    async def _approval(self, step: ApprovalStep) -> None:
        board, name = self._run.board, self._named(step.name)
        board.set(name, "waiting for approval")
        try:
            seconds = self._seconds(step.name, step.timeout)
            decision = await self._run.control.approval(
                name, name, None if seconds is None else timedelta(seconds=seconds)
            )
        except (Exception, asyncio.CancelledError):
            board.set(name, "not approved")
            raise
        self._outputs[step.name] = decision.model_dump(mode="json", exclude_none=True)
        board.set(name, "approved")

    def _seconds(self, name: str, total: timedelta | None) -> float | None:
        """Begin a timer, with what an earlier run left of it, and give its seconds; asked again, it is whole."""
        whole = None if total is None else total.total_seconds()
        seconds = self._timers.pop(name) if name in self._timers else whole
        self._began[name] = workflow.now(), seconds
        return seconds

    def _output(self, name: str) -> Json:
        """Give a step's output; a subsaga's is that of the step it names."""
        return self._outputs.get(self._plan.result_of(name))

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (task.exception() is None or self._continues):
            self._done(name)

    def _done(self, name: str) -> None:
        self._ended_well[name] = None
        self._began.pop(name, None)
        self._ready.ended(name)
