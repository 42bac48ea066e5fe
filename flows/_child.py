"""A flow inside a flow, as a child workflow: it hands what would undo it to its parent, which undoes it in place.

One piece of code for ``execute(flow, child=True)`` in sequences and for the plan's ``flow`` steps.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pydantic_core
from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import (
    ApplicationError,
    CancelledError,
    ChildWorkflowError,
    WorkflowAlreadyStartedError,
)
from temporalio.workflow import ChildWorkflowCancellationType, ParentClosePolicy

from activities import Definition, InvalidInput, Status
from activities._failure import Failure
from activities._json import Json, size
from activities._settled import Settled
from activities._wire import StepHeader, json_payload
from counterstep.reports import READ_CHILD, Report, left_summary, report_id, step_summary
from flows._earlier import left_inside
from flows._errors import SequenceFailed
from flows._handed import ALL, LEAVES_NOTHING, REFUSED, Handed, spliced
from flows._interceptor import with_header
from flows._metrics import count_step
from flows._resume import RunRef, ask
from flows._root import Root
from flows._step import cancel, finished, wait_for
from flows._undo import NotUndone, UndoRecord, Unwinding

if TYPE_CHECKING:
    from flows._scope import Scope

AnyReport = Report[Any, Any]


@dataclass(frozen=True)
class ChildSpec:
    """What is known of a child flow before it runs, as data.

    Attributes:
        name: full name of the step.
        definition: of the flow.
        data: the input, as JSON.
        load: turns its output into what the report holds.
        shown: the input that the report holds, in a tuple of one; ``data`` if empty.
        pivot: never one itself; one that is passed inside it counts when it ends.
        again: how often an operator had it run again.
        key: of the call.
        resume_from: a run of it that an earlier run of its parent left.
        flows: definitions of the inline flows that it is in, outermost first.
    """

    name: str
    definition: Definition
    data: Json
    load: Callable[[Json], Any] = staticmethod(lambda value: value)
    shown: tuple[Any, ...] = ()
    pivot: bool = False
    again: int = 0
    key: str | None = None
    resume_from: RunRef | None = None
    flows: tuple[str, ...] = ()

    @property
    def namespace(self) -> str:
        """What the names of its steps begin with in its parent; a flow that runs again has names of its own."""
        return f"{self.name}~{self.again + 1}" if self.again else self.name

    def begin(self, scope: Scope) -> ExecutingChild:
        """Begin to execute it in a scope."""
        return ExecutingChild(scope, self)


class ExecutingChild:
    """A child flow of a run.

    Attributes:
        settled: how it ended, once it did.
    """

    def __init__(self, scope: Scope, spec: ChildSpec) -> None:
        """Take the scope whose records its steps join."""
        self._scope, self._run, self._spec = scope, scope.run, spec
        self._handed = Handed()
        self._records: list[UndoRecord] = []
        self._asking: asyncio.Task[None] | None = None
        self._report = self._blank()
        self.settled: Settled | None = None

    @property
    def report(self) -> AnyReport:
        """Its report as it stands, with what is known of its steps."""
        steps = (self._run.report_of(step) for step in self._handed.steps)
        return replace(self._report, children=tuple(steps))

    @property
    def _id(self) -> str:
        """Its workflow id."""
        return f"{self._run.info.workflow_id}/{self._spec.namespace}"

    async def execute(self) -> AnyReport:
        """Start it and wait for its true end.

        Raises:
            SequenceFailed: with its report, once what it left is among what may have to be undone.
            asyncio.CancelledError: when a cancel arrived meanwhile, or before it was started.
        """
        spec, run = self._spec, self._run
        try:
            await run.begins(spec.name)
            starting, cancelled = await self._begun()
        except asyncio.CancelledError:
            run.board.drop(spec.name)
            raise
        error, cancelled = await self._run_it(starting, cancelled)
        if cancelled:
            raise asyncio.CancelledError(f"cancelled in {spec.name}")
        if error is not None:
            raise self._failed(error) from error
        return self.report

    async def _begun(self) -> tuple[asyncio.Task[workflow.ChildWorkflowHandle[Any, Any]], bool]:
        """Start it, again where a reset took that back before Temporal was asked; say whether a cancel arrived since.

        Raises:
            asyncio.CancelledError: when cancelled before it was started at all.
        """
        gate = self._run.gate
        while True:
            await gate.ready(size(self._spec.data))
            starting = asyncio.create_task(self._start())
            sending = gate.sending(starting.cancel)
            cancelled = await wait_for([starting])
            if not sending.taken_back:
                return starting, cancelled
            if cancelled:
                raise asyncio.CancelledError(f"cancelled before {self._spec.name} was started")

    async def _run_it(
        self, starting: asyncio.Task[workflow.ChildWorkflowHandle[Any, Any]], cancelled: bool
    ) -> tuple[BaseException | None, bool]:
        """Let it run to its end, whatever arrives meanwhile; give its error, and whether a cancel arrived."""
        if (refused := starting.exception()) is not None:
            error = self._unstarted(refused)
            self._settle(Settled(Status.FAILED, error=error), Handed(took_over=False))
            return error, cancelled
        handle = starting.result()
        if cancelled:
            await cancel(handle, self._ask_to_cancel)
        else:
            cancelled = await finished(handle, self._ask_to_cancel)
        failure = CancelledError("cancelled") if handle.cancelled() else handle.exception()
        if failure is not None:
            return await self._ended_badly(failure, handle.first_execution_run_id, cancelled)
        payload = handle.result().payload
        output: Json = pydantic_core.from_json(payload.data) if payload.data else None
        self._settle(Settled(Status.DONE, output=(output,)), Handed.beside(payload))
        return None, cancelled

    def _ask_to_cancel(self) -> None:
        """Ask it to cancel, in whichever run it is: its handle names the first one, and a closed run hears nothing."""
        self._asking = asyncio.create_task(_cancel_newest(self._id))

    async def _start(self) -> workflow.ChildWorkflowHandle[Any, Any]:
        spec, run = self._spec, self._run
        root = run.root or Root(workflow_id=run.info.workflow_id, origin=run.origin, path="")
        resume = {"resume_from": spec.resume_from.model_dump()} if spec.resume_from else {}
        header = StepHeader(
            run=run.info.run_id, step=spec.name, key=spec.key, flows=spec.flows, **run.spans.child()
        )
        with with_header(header):
            return await workflow.start_child_workflow(
                str(spec.definition),
                args=[RawValue(json_payload(spec.data))],
                id=self._id,
                result_type=RawValue,
                cancellation_type=ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
                parent_close_policy=ParentClosePolicy.REQUEST_CANCEL,
                memo={**root.memo(spec.namespace, run.leg), **resume},
                static_summary=step_summary(spec.name, spec.definition),
            )

    def _unstarted(self, error: BaseException) -> BaseException:
        if isinstance(error, WorkflowAlreadyStartedError):
            return InvalidInput(
                f"workflow id {self._id!r} is in use by an open run; let it end, or end it, and start again"
            )
        return error

    async def _ended_badly(
        self, error: BaseException, run_id: str | None, cancelled: bool
    ) -> tuple[BaseException, bool]:
        cause = error.cause if isinstance(error, ChildWorkflowError) and error.cause else error
        kind = cause.type if isinstance(cause, ApplicationError) else ""
        left = Handed(took_over=kind not in REFUSED)
        if kind not in LEAVES_NOTHING:
            reading = asyncio.create_task(self._left(run_id))
            cancelled = await wait_for([reading]) or cancelled
            unread = reading.exception()
            left = self._untold(unread) if unread else reading.result()
        known = isinstance(cause, (ApplicationError, CancelledError))
        self._settle(Settled(Status.FAILED if known else Status.UNKNOWN, error=cause), left)
        return cause, cancelled

    async def _left(self, run_id: str | None) -> Handed:
        ref = RunRef(workflow_id=self._id, run_id=run_id)
        left: Handed = await ask(READ_CHILD, ref, result_type=Handed, summary=left_summary(self._spec.name))
        return left

    def _untold(self, error: BaseException) -> Handed:
        """Name a child whose steps can't be read, such as one with a child that is still open: nothing is lost silently."""
        reason = f"what it left can't be read: {Failure.of(error).message}"
        return Handed(not_undone=(NotUndone(ALL, str(self._spec.definition), reason),))

    def _settle(self, settled: Settled, left: Handed) -> None:
        """Take over what it left, and show how it ended."""
        spec, run, now = self._spec, self._run, workflow.now()
        if spec.resume_from is not None and left.took_over:
            left_inside(run, spec.namespace)  # what is left of that is what it left
        self._handed = left = left.under(f"{spec.namespace}/")
        run.not_undone += left.not_undone
        if left.pivoted:
            run.pivots.add(spec.name)
        for taken in left.steps:
            record = taken.record(run.order())
            if record is not None:
                self._records.append(record)
                run.undoable(size(taken.input))
        self._scope.records += self._records
        if self._scope.graph is not None:
            self._scope.graph = spliced(self._scope.graph, spec.name, left.edges())
        self.settled = settled
        self._report = replace(
            self._report, outcome=settled.status, error=settled.failure, timestamp=now, finished=now
        )
        run.settled(spec.name, settled.status)
        count_step(str(spec.definition), settled.status.value)
        result = tuple(spec.load(value) for value in settled.output)
        self._report = replace(self._report, result=result)

    def _failed(self, error: BaseException) -> SequenceFailed:
        why = Failure.of(error)
        return SequenceFailed.of(
            f"{self._spec.name} ({self._spec.definition}) failed: {why.message}", self.report
        )

    async def again(self, data: tuple[Json, ...] = ()) -> ChildSpec | str:
        """Give what runs when an operator says so, under new names; what it left is undone first.

        Args:
            data: another input, in a tuple of one.

        Returns:
            What runs; or why it can't.
        """
        left = await self._undo_left()
        if left:
            return f"what it left isn't undone, so it can't run again: {left[0]}"
        spec = replace(self._spec, again=self._spec.again + 1, resume_from=None)
        return replace(spec, data=data[0], shown=()) if data else spec

    async def _undo_left(self) -> list[NotUndone]:
        run, scope = self._run, self._scope
        left = await Unwinding(run.gate, run, self._records, self._handed.edges(), scope.policy).run()
        for record in self._records:
            if record.undone and record in scope.records:
                scope.records.remove(record)
        return left

    def skip(self, output: tuple[Json, ...], reason: str) -> AnyReport:
        """Count it as skipped; what it left is undone if the run unwinds."""
        result = tuple(self._spec.load(value) for value in output)
        self._report = replace(self._report, outcome=Status.SKIPPED, result=result, skipped=reason)
        self._run.settled(self._spec.name, Status.SKIPPED)
        return self.report

    def restored(self) -> ExecutingChild:
        """Take it back into account: what was to run instead never was started."""
        self._run.settled(self._spec.name, self._report.outcome or Status.UNKNOWN)
        return self

    def _blank(self) -> AnyReport:
        spec = self._spec
        return Report(
            id=report_id(self._run.identity(spec.name, self._run.header())),
            definition=spec.definition,
            step=spec.name,
            input=spec.shown[0] if spec.shown else spec.data,
            scheduled=workflow.now(),
            is_flow=True,
        )


async def _cancel_newest(id: str) -> None:
    with contextlib.suppress(ApplicationError):  # it has ended: its handle tells in a moment
        await workflow.get_external_workflow_handle(id).cancel()
