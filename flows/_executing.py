"""One operation on its way through a run: recorded, scheduled, settled, reported; for sequences and sagas."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from temporalio import workflow

from activities import Definition, InvalidInput, Retry, Status
from activities._json import PAYLOAD_LIMIT, Json, size
from activities._settled import Settled
from activities._wire import StepHeader, Verdict
from counterstep.reports import ExecutionSeries, Report, report_id, step_summary
from flows._errors import OperationFailed
from flows._metrics import count_step
from flows._policy import Policy
from flows._run import Run
from flows._step import Call, settle
from flows._undo import UndoRecord, UndoSpec, undo_one, wants_undo

if TYPE_CHECKING:
    from flows._scope import Scope

AnyReport = Report[Any, Any]


@dataclass(frozen=True)
class Spec:
    """What is known of a step before it runs, as data.

    Attributes:
        name: full name.
        definition: of its operation.
        data: the input, as JSON.
        header: that it is sent with.
        timeout: of one attempt.
        retry: of its failures.
        local: whether it runs as a local activity.
        task_queue: where it runs.
        at_most_once: whether a loss is final.
        undo: how it is undone, if it is.
        carried: what is known of earlier executions.
        load: turns its output into what the report holds.
        shown: the input that the report holds, in a tuple of one; ``data`` if empty.
        pivot: whether there is no way back after it.
        attempts: made of it before an operator had it tried again.
    """

    name: str
    definition: Definition
    data: Json
    header: StepHeader
    timeout: timedelta
    retry: Retry
    local: bool = False
    task_queue: str | None = None
    at_most_once: bool = False
    undo: UndoSpec | None = None
    carried: Verdict = Verdict()
    load: Callable[[Json], Any] = staticmethod(lambda value: value)
    shown: tuple[Any, ...] = ()
    pivot: bool = False
    attempts: int = 0

    def begin(self, scope: Scope) -> Executing:
        """Begin to execute it in a scope."""
        return Executing(scope.run, scope.records, self, scope.policy)

    def call(self) -> Call:
        """Give what is scheduled."""
        return Call(
            activity_id=self.name,
            type=str(self.definition),
            args=(self.data,),
            header=self.header,
            timeout=self.timeout,
            retry=self.retry,
            local=self.local,
            task_queue=self.task_queue,
            at_most_once=self.at_most_once,
            summary=step_summary(self.name, self.definition),
            carried=self.carried,
        )


class Executing:
    """A step of a run.

    Attributes:
        report: as it stands.
        settled: how it ended, once it did.
    """

    def __init__(self, run: Run, records: list[UndoRecord], spec: Spec, policy: Policy) -> None:
        """Record the undo, before anything is scheduled."""
        self._run, self._records, self._spec, self._policy = run, records, spec, policy
        self._record = self._recorded()
        self.report = self._blank()
        self.settled: Settled | None = None

    async def execute(self) -> AnyReport:
        """Schedule it and wait for its true end.

        Raises:
            OperationFailed: with its report.
            asyncio.CancelledError: when a cancel arrived meanwhile, or before it was scheduled.
        """
        try:
            await self._run.begins(self._spec.name, local=self._spec.local)
            settled, cancelled = await settle(self._run.gate, self._spec.call(), self._run.has_room)
        except asyncio.CancelledError:
            if self._record is not None:
                self._records.remove(self._record)
            self._run.board.drop(self._spec.name)
            raise
        self._settle(settled)
        if cancelled:
            raise asyncio.CancelledError(f"cancelled in {self._spec.name}")
        if settled.error is not None:
            raise self._failed(settled) from settled.error
        return self.report

    async def again(self, data: tuple[Json, ...] = ()) -> Spec | str:
        """Give what runs when an operator says so: the same, under its key, knowing what came before.

        Args:
            data: another input, in a tuple of one: it runs under a new key, and an effect that may be there is
                undone first, as is a failed one where the policy wants those undone.

        Returns:
            What runs; or why it can't.
        """
        if data:
            return await self._edited(data[0])
        self._forget()
        carried = replace(self._verdict, failures=0, losses=0)
        return replace(self._spec, carried=carried, attempts=self._attempts)

    async def _edited(self, data: Json) -> Spec | str:
        settled = self.settled
        if self._record is not None and settled is not None and self._leaves(settled):
            left = await undo_one(self._run.gate, self._run, self._record)
            if left is not None:
                return f"what it left isn't undone, so it can't be edited: {left.reason}"
        self._forget()
        carried = Verdict(generation=self._verdict.generation + 1)
        return replace(self._spec, data=data, shown=(), carried=carried, attempts=self._attempts)

    @property
    def _verdict(self) -> Verdict:
        return self.settled.verdict if self.settled else Verdict()

    @property
    def _attempts(self) -> int:
        return self._spec.attempts + self._verdict.failures + self._verdict.losses

    def _leaves(self, settled: Settled) -> bool:
        """Whether something is to be undone under the key that it had."""
        return settled.status is Status.UNKNOWN or wants_undo(settled, self._policy)

    def skip(self, output: tuple[Json, ...], reason: str) -> AnyReport:
        """Count it as skipped; for the undo its outcome stays what it was."""
        result = tuple(self._spec.load(value) for value in output)
        self.report = replace(self.report, outcome=Status.SKIPPED, result=result, skipped=reason)
        self._run.settled(self._spec.name, Status.SKIPPED)
        return self.report

    def restored(self) -> Executing:
        """Take it back into account: what was to run instead never was scheduled."""
        if self._record is not None and self._record not in self._records:
            self._records.append(self._record)
        self._run.settled(self._spec.name, self.report.outcome or Status.UNKNOWN)
        return self

    def _forget(self) -> None:
        if self._record is not None:
            self._records.remove(self._record)

    def _recorded(self) -> UndoRecord | None:
        spec = self._spec
        if spec.undo is None:
            return None
        record = UndoRecord(
            self._run.order(), spec.name, str(spec.definition), spec.undo, spec.data, spec.header
        )
        self._records.append(record)
        self._run.undoable(size(spec.data))
        return record

    def _settle(self, settled: Settled) -> None:
        if self._record is not None:
            self._record.settled = settled
        self.settled = settled
        self.report = replace(
            self.report,
            outcome=settled.status,
            error=settled.failure,
            skipped=settled.skipped,
            saved=settled.verdict.saved,
            errors=settled.verdict.errors,
            metadata=settled.verdict.metadata,
            timestamp=workflow.now(),
            finished=workflow.now(),
        )
        self._run.settled(self._spec.name, settled.status)
        count_step(str(self._spec.definition), settled.status.value)
        # Last, since it may be refused: what is recorded took effect all the same.
        self.report = replace(self.report, result=tuple(self._spec.load(value) for value in settled.output))

    def _failed(self, settled: Settled) -> OperationFailed:
        assert settled.failure is not None
        tries = max(self._attempts, 1)
        what = "failed" if settled.status is Status.FAILED else "has an unknown outcome"
        step = f"step {self._spec.name} ({self._spec.definition})"
        message = f"{step} {what} after {tries} attempt{'s'[: tries > 1]}: {settled.failure.root}"
        return OperationFailed.of(message, self.report)

    def _blank(self) -> AnyReport:
        spec = self._spec
        return Report(
            id=report_id(self._run.identity(spec.name, spec.header)),
            definition=spec.definition,
            step=spec.name,
            input=spec.shown[0] if spec.shown else spec.data,
            execution_series=ExecutionSeries(*spec.header.series) if spec.header.series else None,
            key=spec.header.key,
            scheduled=workflow.now(),
        )


def bounded(data: Json, who: str) -> Json:
    """Give an input back if it can be recorded.

    Raises:
        InvalidInput: when it is too large.
    """
    if size(data) > PAYLOAD_LIMIT:
        raise InvalidInput(
            f"{who}: the input has {size(data)} bytes, {PAYLOAD_LIMIT} are allowed; "
            "pass a reference to where it is kept"
        )
    return data
