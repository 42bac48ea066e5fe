"""Executing operations and flows in a sequence: names, equal calls, undo records, reports."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from temporalio import workflow

from activities import Definition, Failure, Operation, Retry, Status
from activities._json import Json
from activities._wire import StepHeader, Verdict
from counterstep.reports import Report
from flows._calls import call_digest
from flows._child import ChildSpec, ExecutingChild
from flows._declaration import Declaration
from flows._earlier import answered_by, left_of, resuming, take
from flows._errors import OperationFailed, SequenceFailed
from flows._executing import Executing, Spec, bounded
from flows._handed import in_a_row
from flows._holding import Action, Hold, Lacks
from flows._lost import repeated
from flows._names import check_name
from flows._policy import Policy
from flows._resume import Taken
from flows._run import Run
from flows._step import wait_for
from flows._undo import UndoRecord, UndoSpec
from flows._working import Working

AnyReport = Report[Any, Any]
AnySpec = Spec | ChildSpec
Started = Executing | ExecutingChild


class _Abandoned(Exception):
    """Who executed a shared call was cancelled. Never leaves the scope."""


Earlier = Callable[[], Awaitable[list[UndoRecord]]]
"""Gives the records of steps that earlier runs began: only unwinding needs them."""


@dataclass(frozen=True)
class Options:
    """How a call is made.

    Attributes:
        step: the author's name for it.
        retry: instead of the operation's own.
        force: run it even if an equal call succeeded.
        key: the call's own key, part of equality.
        series: id and order, if it is a member.
        hold: whether it may be held when it fails, where the policy says so.
    """

    step: str | None = None
    retry: Retry | None = None
    force: bool = False
    key: str | None = None
    series: tuple[str, int] | None = None
    hold: bool = True


class Scope:
    """A flow at work: the run's own, or one inline in it, as a namespace of its parent."""

    def __init__(
        self, run: Run, definition: Definition, policy: Policy, inside: tuple[Scope, str] | None = None
    ) -> None:
        """Begin a scope: the run's own, or one ``inside`` a parent, under a name."""
        self.run = run
        self.definition = definition
        self.policy = policy
        self.path = f"{inside[1]}/" if inside else ""
        self.may_hold = True
        self.lacks: Lacks | None = None
        self.before_hold: Callable[[], Awaitable[None]] = self._repeated  # what is lost is done again
        self.flows: tuple[str, ...] = (*inside[0].flows, str(definition)) if inside else ()
        self.working: Working = Working(inside[0].working if inside else None)
        self.records: list[UndoRecord] = []
        self.earlier: Earlier | None = None
        self.graph: dict[str, tuple[str, ...]] | None = None
        self.children: list[Callable[[], AnyReport]] = []
        self.input: Any = None
        self.result: tuple[Any, ...] = ()
        self.outcome: Status | None = None
        self.error: Failure | None = None
        self.began = workflow.now()
        self.finished: datetime | None = None

    async def all_records(self) -> list[UndoRecord]:
        """Give what may have to be undone, whichever run began it: also what was taken over and wasn't called again."""
        if self.earlier is not None:
            self.records, self.earlier = [*await self.earlier(), *self.records], None
        return [*self.records, *(() if self.path else self.run.taken_records.values())]

    def end(self, outcome: Status, result: tuple[Any, ...] = (), error: BaseException | None = None) -> None:
        """Record how the flow ended, for its report."""
        self.outcome, self.result, self.finished = outcome, result, workflow.now()
        self.error = None if error is None else Failure.of(error)

    def succeeded(
        self, op: Operation[Any, Any], input: Any, series: str, options: Options
    ) -> list[AnyReport]:
        """Give the members of a series that succeeded, in order."""
        digest = call_digest("operation", str(op.definition), self._dump(op, input), options.key)
        return [report for _, report in sorted(self.run.calls.series(digest, series).items())]

    async def execute(self, op: Operation[Any, Any], input: Any, options: Options) -> AnyReport:
        """Execute an operation, or answer from an equal call.

        Raises:
            OperationFailed: with the step's report.
            InvalidInput, NotSerializable: before anything is scheduled.
            HistoryLimit: when unwinding needs what is left of the history.
            asyncio.CancelledError: when the run is ending.
        """
        input = self._typed(op, input)
        data = self._dump(op, input)
        digest = call_digest("operation", str(op.definition), data, options.key)
        if options.force:
            return await self._new(op, input, data, digest, options)
        if options.series:
            member = f"{digest}/{options.series}"
            return await self._shared(member, lambda: self._new(op, input, data, digest, options))
        local = op.placement == "local"
        return await self.once(digest, lambda: self._new(op, input, data, digest, options), local=local)

    async def execute_child(self, flow: Declaration, input: Any, options: Options) -> AnyReport:
        """Execute a flow as a child workflow, or answer from an equal call.

        Raises:
            SequenceFailed: with its report.
            InvalidInput, NotSerializable, HistoryLimit: before anything is started.
            asyncio.CancelledError: when the run is ending.
        """
        who = f"{self.path}{flow.definition}"
        data = bounded(flow.input.dump(input, f"{who}: input"), who)
        digest = call_digest("flow", str(flow.definition), data, options.key)

        async def new() -> AnyReport:
            self.ending()
            taken = None if options.force else take(self.run, digest, options.series)
            if (answered := answered_by(self, flow, input, digest, taken)) is not None:
                return answered
            self.run.room()
            name = taken.step if taken else self._name(flow.definition, options)
            spec = ChildSpec(
                name=name,
                definition=flow.definition,
                data=data,
                load=lambda value: flow.output.load_value(value, f"{name}: output"),
                shown=(input,),
                key=options.key or None,
                flows=self.flows,
                **resuming(self.run, flow, taken),
            )
            report = await self.carry_out(spec, hold=options.hold)
            self.run.calls.add(digest, report)
            return report

        return await (new() if options.force else self.once(digest, new))

    async def once(
        self, digest: str, execute: Callable[[], Awaitable[AnyReport]], *, local: bool = False
    ) -> AnyReport:
        """Answer an equal call from the newest success, or share the execution that is in flight."""
        self.ending(local=local)
        answered = self.run.calls.answer(digest)
        return answered or await self._shared(digest, execute)

    async def _shared(self, digest: str, execute: Callable[[], Awaitable[AnyReport]]) -> AnyReport:
        while (shared := self.run.calls.in_flight.get(digest)) is not None:
            try:
                return await asyncio.shield(shared)
            except _Abandoned:
                continue  # only who asked first gave it up, perhaps for want of time
        mine: asyncio.Future[AnyReport] = asyncio.get_running_loop().create_future()
        self.run.calls.in_flight[digest] = mine
        try:
            mine.set_result(report := await execute())
            return report
        except BaseException as error:
            mine.set_exception(error if isinstance(error, Exception) else _Abandoned())
            mine.exception()
            raise
        finally:
            del self.run.calls.in_flight[digest]

    async def series(
        self, op: Operation[Any, Any], input: Any, series: str, n: int, options: Options
    ) -> list[AnyReport]:
        """Execute an operation until a series has ``n`` successes; see :meth:`flows.Sequence.execute_n`."""
        check_name("series", series)
        input = self._typed(op, input)
        digest = call_digest("operation", str(op.definition), self._dump(op, input), options.key)
        while missing := set(range(n)) - (found := self._members(op, input, digest, series)).keys():
            await self.execute(op, input, replace(options, series=(series, min(missing))))
        return [found[order] for order in range(n)]

    def ending(self, *, local: bool = False) -> None:
        """Begin nothing in a run that is to unwind, or in a flow that has ended.

        Args:
            local: whether it is a local step, or a flow that may have some: see :meth:`Control.refuses`.

        Raises:
            asyncio.CancelledError: when it is.
            CounterstepError: when it has.
        """
        if self.run.control.refuses(local=local):
            raise asyncio.CancelledError("the run is ending")
        self.working.refuse()

    async def settle(self) -> None:
        """Wait for steps that are in flight beside the body, as the policy says, before anything is undone."""
        await self.working.settle(lambda: self.policy.settle == "cancel" or self.run.control.ending)

    def _members(self, op: Operation[Any, Any], input: Any, digest: str, series: str) -> dict[int, AnyReport]:
        for taken in list(self.run.taken.get(digest, ())):
            mine = taken.header.series is not None and taken.header.series[0] == series
            if mine and answered_by(self, op, input, digest, taken) is not None:
                self.run.taken[digest].remove(taken)
        return self.run.calls.series(digest, series)

    async def _new(
        self, op: Operation[Any, Any], input: Any, data: Json, digest: str, options: Options
    ) -> AnyReport:
        """Run it in this run, unless an earlier run that this one goes on from has the answer."""
        self.ending(local=op.placement == "local")
        taken = None if options.force else take(self.run, digest, options.series)
        if (answered := answered_by(self, op, input, digest, taken)) is not None:
            return answered
        self.run.room()
        report = await self.carry_on(self._spec(op, input, data, options, taken), taken, hold=options.hold)
        self.run.calls.add(digest, report)
        return report

    async def carry_on(self, spec: Spec, taken: Taken | None, *, hold: bool = True) -> AnyReport:
        """Run a step that an earlier run may have left: if it never begins here, what is there is still to be undone."""
        left = left_of(self.run, taken) if taken else []
        try:
            return await self.carry_out(spec, hold=hold)
        except BaseException:
            if not self.run.board.shows(spec.name):
                self.run.taken_records |= {record.step: record for record in left}
            raise

    async def carry_out(self, spec: AnySpec, *, hold: bool = True) -> AnyReport:
        """Run a step of this scope; its report shows among the children from the moment it is scheduled."""
        if self.run.control.refuses(local=isinstance(spec, Spec) and spec.local):
            raise asyncio.CancelledError("the run is ending")
        with self.working.at_work():
            return await self._carried_out(spec, hold=hold)

    async def _carried_out(self, spec: AnySpec, *, hold: bool) -> AnyReport:
        executing: Started = spec.begin(self)
        before: Started | None = None

        def report() -> AnyReport:
            return executing.report

        self.children.append(report)
        passed = {spec.name} - self.run.pivots if spec.pivot else set()
        self.run.pivots |= passed
        while True:
            try:
                return await executing.execute()
            except (OperationFailed, SequenceFailed) as failure:
                next_ = await self._held(executing, spec, failure, wanted=hold)
                if isinstance(next_, Report):
                    return next_
                executing, before = next_.begin(self), executing
            except BaseException:
                executing = self._interrupted(executing, before, report, passed)
                raise

    def _interrupted(
        self,
        executing: Started,
        before: Started | None,
        report: Callable[[], AnyReport],
        passed: set[str],
    ) -> Started:
        """Leave no trace of what never was scheduled; what it was to replace stands again."""
        if executing.settled is not None:
            return executing
        if before is not None:
            return before.restored()
        self.children.remove(report)
        self.run.pivots -= passed
        return executing

    async def _held(
        self, executing: Started, spec: AnySpec, failure: OperationFailed | SequenceFailed, *, wanted: bool
    ) -> AnyReport | AnySpec:
        """Hold a failed step, and give what the operator decided: its report, or what runs instead.

        Raises:
            OperationFailed, SequenceFailed: when nothing is held, the run is to unwind, or the hold's time is over.
        """
        if not (wanted and self.may_hold and self.run.holds(self.policy)) or self.working.closed:
            raise failure
        why = failure.message
        while True:
            await self.before_hold()
            if not self.run.holds(self.policy):  # somebody unwinds it meanwhile
                raise failure
            hold = Hold(spec.name, str(spec.definition), lacks=self.lacks)
            await self.run.hold(hold, self.policy, why)
            if hold.action is Action.SKIP:
                return executing.skip(hold.value, f"skipped{hold.note}")
            if hold.action not in (Action.RETRY, Action.EDIT):
                raise failure
            again = await self._again(executing, hold.value if hold.action is Action.EDIT else ())
            if not isinstance(again, str):
                return again
            why = again

    async def _repeated(self) -> None:
        """Let local steps that were lost be done again, before a step is held."""
        await repeated(self.run.control.local)

    async def _again(self, executing: Started, data: tuple[Json, ...]) -> AnySpec | str:
        task = asyncio.create_task(executing.again(data))
        if await wait_for([task]):
            raise asyncio.CancelledError("cancelled while an effect was undone")
        return task.result()

    def came_after(self, records: Iterable[UndoRecord]) -> dict[str, tuple[str, ...]]:
        """Say what each step came after, in the order in which they began: all that was called before it."""
        if self.graph is not None:
            return self.graph
        return in_a_row(record.step for record in sorted(records, key=lambda r: r.order))

    def _spec(
        self, op: Operation[Any, Any], input: Any, data: Json, options: Options, taken: Taken | None
    ) -> Spec:
        name = taken.step if taken else self._name(op.definition, options)
        return Spec(
            name=name,
            definition=op.definition,
            data=data,
            header=self.taken_header(options, taken),
            timeout=op.timeout,
            retry=options.retry or op.retry,
            local=op.placement == "local",
            task_queue=op.task_queue,
            at_most_once=op.at_most_once,
            undo=UndoSpec.of(op),
            carried=taken.carried if taken else Verdict(),
            load=lambda value: op.output.load_value(value, f"{name}: output"),
            shown=(input,),
        )

    def _name(self, definition: Definition, options: Options) -> str:
        if options.step is not None:
            return self.run.names.explicit(self.path, options.step)
        series = options.series
        return self.run.names.give(self.path, f"{series[0]}.{series[1]}" if series else definition.id)

    def taken_header(self, options: Options, taken: Taken | None) -> StepHeader:
        """Make the header; a step that an earlier run left keeps its key."""
        common: dict[str, Any] = {"series": options.series, "key": options.key or None, "flows": self.flows}
        if taken is None:
            return self.run.step_header(**common)
        old = taken.header
        base = {"step": old.step, "path": old.path, "leg": old.leg, "flows": old.flows}
        origin = old.origin or old.run
        return self.run.step_header(**{**common, **base}, origin=origin, workflow=old.workflow)

    def _typed(self, op: Operation[Any, Any], input: Any) -> Any:
        return op.input.fit(input, f"{self.path}{op.definition}: input")

    def _dump(self, op: Operation[Any, Any], input: Any) -> Json:
        who = f"{self.path}{op.definition}"
        return bounded(op.input.dump(input, f"{who}: input"), who)
