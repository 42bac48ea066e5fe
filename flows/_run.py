"""The state of one run: what was called, what may be undone, what is asked of it, what is shown of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

from temporalio import workflow

from activities import Definition, Status
from activities._json import size
from activities._wire import Identity, StepHeader
from counterstep.reports import Report, report_id
from flows._calls import Calls
from flows._control import Control
from flows._errors import HistoryLimit
from flows._gate import Gate
from flows._holding import Action, Hold, decided
from flows._names import Names
from flows._policy import Policy
from flows._reset import ResetGuard
from flows._resume import RunRef, Taken, TakenOver, take_over, wanted
from flows._root import Root
from flows._spans import SPANS, RunSpans
from flows._status import Board
from flows._step import wait_for
from flows._undo import NotUndone, UndoRecord

EVENT_LIMIT = 50_000
BYTE_LIMIT = 46 * 1024 * 1024
EVENTS_AN_UNDO = 7
BYTES_AN_UNDO = 2048


class Run:
    """The state of one run, shared by the flow and every flow inline in it."""

    def __init__(
        self, definition: Definition, guard: ResetGuard | None = None, control: Control | None = None
    ) -> None:
        """Begin; must be made in the first activation, or given a guard that was."""
        self.definition = definition
        self.info = workflow.info()
        self.root = Root.of_run()
        self.control = control or Control()
        self.guard = guard or ResetGuard()
        self.gate = Gate(self.control, self.guard)
        self.names = Names()
        self.calls = Calls()
        self.board = Board(str(definition), self.control)
        self.taken: dict[str, list[Taken]] = {}
        self.taken_records: dict[str, UndoRecord] = {}
        self.not_undone: list[NotUndone] = []
        self.carried_origin: str | None = None
        self.spans = SPANS.get() or RunSpans()
        self.spans.began()
        self.leg = 0
        self.onward: dict[str, Any] = {}  # options of continue_as_new
        self.began = self.info.workflow_start_time
        self.pivots: set[str] = set()  # that were passed
        self.planned: dict[str, None] = {}  # steps that plans name, in plan order
        self.unwind_asked = False
        self.took_up = False  # what the runs before a reset left
        self._undoing: dict[str, datetime] = {}
        self._undos: dict[str, Report[Any, Any]] = {}
        self._order = 0
        self._undoable = 0
        self._undo_bytes = 0

    @property
    def pivoted(self) -> bool:
        """Whether there is no way back any more: a pivot was scheduled, in whichever flow of the run."""
        return bool(self.pivots)

    @property
    def origin(self) -> str:
        """The run id in which the flow itself began."""
        return self.carried_origin or self.info.original_execution_run_id

    def header(self, **more: Any) -> StepHeader:
        """Make the header of a step."""
        origin = None if self.origin == self.info.run_id else self.origin
        return StepHeader(
            run=self.info.run_id,
            **{"origin": origin, "leg": self.leg, **(self.root.header() if self.root else {}), **more},
        )

    def step_header(self, **more: Any) -> StepHeader:
        """Make the header of a step that begins now: it says where its span stands."""
        return self.header(**more, **self.spans.step(taken="origin" in more))

    def identity(self, step: str, header: StepHeader) -> Identity:
        """Give what a step's key and report id are made of."""
        return Identity(
            namespace=self.info.namespace,
            workflow=header.workflow or self.info.workflow_id,
            origin=header.origin or header.run,
            leg=header.leg,
            step=(header.path + (header.step or step)).removesuffix("/"),
        )

    async def go_on(self) -> None:
        """Take over the earlier run that the memo names, if any; a cancel meanwhile counts afterwards.

        Raises:
            InvalidInput: when that can't be.
            ResetAfterUndo: when this run was reset after something in it was undone.
        """
        ref = wanted()
        if ref is None:
            return
        task = asyncio.create_task(self._taken_over(ref))
        if await wait_for([task]):
            self.control.cancel()
        for taken in task.result().steps:
            self.names.reserve(taken.step)
            self.taken.setdefault(taken.digest, []).append(taken)
            if taken.header.pivot:
                self.pivots.add(taken.step)
            record = taken.record(self.order())
            if record is not None:
                self.taken_records[taken.step] = record
                self.undoable(size(taken.input))

    async def _taken_over(self, ref: RunRef) -> TakenOver:
        await self.guard.check()
        return await take_over(ref)

    def order(self) -> int:
        """Give the next number in the order of scheduling."""
        self._order += 1
        return self._order

    def undoable(self, size: int) -> None:
        """Count a step that may have to be undone."""
        self._undoable += 1
        self._undo_bytes += 2 * size + BYTES_AN_UNDO

    def forget_planned(self, path: str) -> None:
        """Expect no more steps under a path: the flow there failed, and is unwound."""
        self.planned = {name: None for name in self.planned if not name.startswith(path)}

    def room(self) -> None:
        """Make sure that unwinding still fits into the history.

        Raises:
            HistoryLimit: when another step would take its room.
        """
        if not self.has_room():
            written = f"{self.info.get_current_history_length()} events are written"
            raise HistoryLimit(
                f"{self.definition}: {written}, and undoing {self._undoable} steps needs the rest; "
                "split the work, or start parts of it as flows of their own"
            )

    def has_room(self) -> bool:
        """Whether unwinding still fits into the history after another step, or another attempt of one."""
        events = self.info.get_current_history_length() + EVENTS_AN_UNDO * (self._undoable + 2)
        size = self.info.get_current_history_size() + self._undo_bytes
        return events <= EVENT_LIMIT and size <= BYTE_LIMIT

    async def begins(self, step: str, *, local: bool = False) -> None:
        """Show that a step begins: what waits for the end of a pause hasn't, and doesn't if the run ends meanwhile.

        Raises:
            asyncio.CancelledError: when the run ends while it waits.
            ResetAfterUndo: when the run was reset after something in it was undone.
        """
        if self.control.waits:
            await self.guard.check()  # as the gate does: a pause doesn't put off what a reset is told
            if not (local and await self.control.repeats()):
                await self.control.unpaused()
            if self.control.refuses(local=local):
                raise asyncio.CancelledError("the run is ending")
        self.board.set(step, "running")

    def holds(self, policy: Policy) -> bool:
        """Whether a failed step waits for an operator."""
        ends = self.control.ending or self.unwind_asked
        return not ends and (self.pivoted or policy.on_failure == "hold")

    async def hold(self, hold: Hold, policy: Policy, why: str) -> Hold:
        """Hold a step until an operator decides."""
        decision = await decided(self.control.holds, hold, policy, self.board, why)
        if decision.action is Action.UNWIND and not hold.parked:
            self.unwind_asked = True
        return decision

    def keeps(self, policy: Policy) -> bool:
        """Whether a failure leaves everything in place, where nobody asks for anything else."""
        leaves = policy.on_failure in ("keep", "continue")
        expired = policy.on_failure == "hold" and policy.then == "keep"
        return self.pivoted or ((leaves or expired) and not self.unwind_asked)

    async def undo_parked(self, record: UndoRecord, why: str, policy: Policy) -> Action:
        """Park a step's undo until an operator decides."""
        decision = await self.hold(Hold(record.step, record.definition, parked=True), policy, why)
        return decision.action or Action.EXPIRED

    def take_back(self, steps: Iterable[str]) -> bool:
        """End the parking of undos, if all of them are parked and undecided."""
        holds = self.control.holds
        parked = {step for step, hold in holds.items() if hold.parked and hold.action is None}
        wanted = set(steps)
        if not parked.issuperset(wanted):
            return False
        for step in wanted:
            del holds[step]
        return True

    def undo_began(self, record: UndoRecord) -> None:
        """Show that a step is being undone; it answers no call any more."""
        self.calls.forget(report_id(self.identity(record.step, record.header)))
        self._undoing[record.step] = workflow.now()
        self.board.set(record.step, "undoing")

    def undo_ended(self, record: UndoRecord) -> None:
        """Keep the report of a step's undo."""
        self.board.set(record.step, "undone" if record.undone else "not undone")
        identity = self.identity(record.step, record.header)
        undoing = record.undoing
        self._undos[report_id(identity)] = Report(
            id=report_id(identity.model_copy(update={"step": f"{identity.step}.undo"})),
            definition=Definition.parse(record.definition),
            step=record.step,
            input=record.input,
            outcome=undoing.status if undoing else None,
            error=undoing.failure if undoing else None,
            skipped=undoing.skipped if undoing else None,
            errors=undoing.verdict.errors if undoing else (),
            metadata=undoing.verdict.metadata if undoing else None,
            timestamp=workflow.now(),
            scheduled=self._undoing.get(record.step),
            finished=workflow.now(),
        )

    @property
    def undo_names(self) -> set[str]:
        """The steps whose undo was run in this run."""
        return {undo.step for undo in self._undos.values()}

    def with_undo(self, report: Report[Any, Any]) -> Report[Any, Any]:
        """Give a report with that of its undo, if it has one."""
        undo = self._undos.get(report.id)
        return report if undo is None else replace(report, undo=undo)

    def report_of(self, taken: Taken) -> Report[Any, Any]:
        """Make the report of a step that another run left, with that of its undo."""
        report: Report[Any, Any] = Report(
            id=report_id(self.identity(taken.step, taken.header)),
            definition=Definition.parse(taken.definition),
            step=taken.step,
            input=taken.input,
            outcome=taken.status,
            error=taken.error,
            result=taken.output,
        )
        return self.with_undo(report)

    def settled(self, step: str, status: Status) -> None:
        """Show how a step ended."""
        self.board.set(step, status.value)
