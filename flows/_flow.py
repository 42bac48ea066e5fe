"""Running a flow's body to one of its ends: completed, rolled back, stuck, kept, cancelled, refused."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pydantic_core
from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from activities import CounterstepError, DefinitionError, NotSerializable, ResultTooLarge, Status
from activities._failure import MESSAGE_LIMIT, Failure, cut, on_wire
from activities._json import PAYLOAD_LIMIT, Json, size
from activities._schema import Schema
from flows._before_reset import take_up
from flows._control import DEADLINE
from flows._errors import (
    DeadlineExceeded,
    ExecutionStopped,
    HistoryLimit,
    Kept,
    RolledBack,
    Stuck,
    first_of,
    original,
    unwinds,
)
from flows._full import Full, full
from flows._handed import Handed, handed
from flows._holding import Action, Hold
from flows._run import Run
from flows._scope import Scope
from flows._status import ENDED_WELL, leave_memo, still_held
from flows._step import wait_for
from flows._told import Told
from flows._undo import NotUndone, Unwinding, undo_one

CANCEL = "counterstep-cancel"
"""Local activity that cancels a run."""

Body = Callable[[], Awaitable[Any]]
Carry = Callable[["BaseException | None", Run], Json]


class Flow:
    """The run's own flow, from its first task to its end."""

    def __init__(self, scope: Scope, output: Schema[Any], carry: Carry | None = None) -> None:
        """Take the run's own scope, the type of its result, and what goes on as new where the flow can."""
        self._carry, self._refused = carry, 0
        self.scope = scope
        self.run = scope.run
        self.output = output

    async def main(self, body: Body) -> Any:
        """Run the body to an end.

        Returns:
            The run's result.

        Raises:
            RolledBack, Stuck, Kept, ResetAfterUndo: the run's end.
            asyncio.CancelledError: when it was cancelled and unwound.
        """
        control = self.run.control
        control.begin(task := asyncio.create_task(self._result(body)))
        deadline = asyncio.create_task(self._deadline())
        while not task.done():
            try:
                await workflow.wait([task])
            except asyncio.CancelledError:
                control.cancel()
        control.body = None
        deadline.cancel()
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if isinstance(error, Full) and not control.failed:
            return await self._continue(None)
        await self._check_reset()
        error = self._ended_by(error)
        if error is None and not control.ending:
            await self._check_reset(last=True)
            if not control.ending:
                return self._complete(task.result())
        return await self._fail(error or asyncio.CancelledError())

    def _ended_by(self, error: BaseException | None) -> BaseException | None:
        """Say why the body ended: what an author's signal handler raised counts before what comes of that, but no bug hides."""
        control, onward = self.run.control, (Full, workflow.ContinueAsNewError)
        bug = error is not None and not unwinds(error) and not isinstance(error, onward)
        if control.failed and not control.ending and not bug:
            error = control.failed
        if isinstance(error, workflow.ContinueAsNewError):
            return DefinitionError(
                f"{self.run.definition} continued as new by itself, so nothing in it could be undone"
            )
        return asyncio.CancelledError() if isinstance(error, Full) else error

    async def _result(self, body: Body) -> Any:
        """Run the body, and check what it returns before it counts as done."""
        value = await body()
        await self.scope.settle()  # what handlers have in flight is part of the flow
        who = f"{self.scope.definition}: result"
        try:
            dumped = self.output.dump(value, who)
        except CounterstepError as error:
            raise NotSerializable(error.message) from None
        if size(dumped) > PAYLOAD_LIMIT:
            raise ResultTooLarge(f"{who} has {size(dumped)} bytes, {PAYLOAD_LIMIT} can be recorded")
        return dumped if self.run.root is None else (await self._handed()).with_result(dumped, who)

    async def _handed(self) -> Handed:
        """Give what a child flow hands to its parent: the steps of all its runs."""
        run, scope = self.run, self.scope
        reading = asyncio.create_task(scope.all_records())
        await wait_for([reading])  # whoever asks for the run's end meanwhile is heard once the body has ended
        return handed(reading.result(), scope.graph, run.not_undone, pivoted=run.pivoted)

    async def _check_reset(self, *, last: bool = False) -> None:
        """Look into a reset that was noticed, whatever is asked meanwhile, before anything completes.

        Args:
            last: whether the run ends right after it.

        Raises:
            ResetAfterUndo: when something was undone before the reset.
        """
        task = asyncio.create_task(self.run.guard.check(last=last))
        if await wait_for([task]):
            self.run.control.cancel()
        if task.exception() is not None:
            self.run.board.move("refused")
        task.result()

    def _complete(self, result: Any) -> Any:
        self.scope.working.close()
        self.scope.end(Status.DONE, (_plain_json(result),))
        self.run.board.move("completed")
        if self.run.not_undone:
            leave_memo("stuck", "completed, but an inner flow left steps that are not undone", self._left())
        elif still_held():
            leave_memo("completed", "the deadline passed after the pivot", [])
        return result

    async def _fail(self, error: BaseException) -> Json:
        if not unwinds(error):
            raise error  # a bug: Temporal retries the task until fixed code arrives
        self.scope.working.close()
        unwinding = not self.run.pivoted and (
            self.run.control.ending or not self.run.keeps(self.scope.policy)
        )
        if unwinding:
            await self._settle()
            unwinding = not self.run.pivoted
        cancelled, cause = self.run.control.cancelled, self._asked() or _cause(error)
        if unwinding and not await self._unwind(cause):
            return await self._continue(cause)
        await self._check_reset(last=True)
        end = self._end(
            cause, cancelled=cancelled and not isinstance(cause, ExecutionStopped), unwound=unwinding
        )
        if isinstance(end, asyncio.CancelledError):
            await _cancelled_here()
        raise end

    async def _settle(self) -> None:
        """Wait for what is in flight beside the body, which a cancel meanwhile hurries."""
        task = asyncio.create_task(self.scope.settle())
        while not task.done():
            try:
                await workflow.wait([task])
            except asyncio.CancelledError:
                self.run.control.cancel()
        task.result()

    def _asked(self) -> CounterstepError | None:
        """Give the cause of an end that somebody, or the clock, asked for."""
        control, who = self.run.control, self.run.definition
        if control.stopped is not None:
            return ExecutionStopped(f"{who} was stopped{control.stopped}")
        if control.expired and not control.cancelled:
            return DeadlineExceeded(f"{who} didn't end within {self.scope.policy.deadline}")
        return None

    async def _deadline(self) -> None:
        """End the run when its time is over; after the pivot hold it instead, which no new step passes."""
        policy, run = self.scope.policy, self.run
        if policy.deadline is None:
            return
        left = policy.deadline - (workflow.now() - run.began)
        await workflow.sleep(max(left, timedelta(0)), summary="deadline")
        if not run.pivoted:
            run.control.expire()
            return
        await self.scope.before_hold()
        hold = await run.hold(
            Hold(DEADLINE, str(run.definition), typed=False),
            policy,
            f"the deadline of {policy.deadline} has passed",
        )
        if hold.action is Action.EXPIRED:
            run.control.expire()

    async def _continue(self, cause: BaseException | None) -> Json:
        """Go on as new: forward, or with unwinding and its cause.

        What is too large to be carried makes the run unwind while its history has room for that; what is undone
        needn't be carried, so that it may go on as new later.
        """
        assert self._carry is not None
        await self._check_reset(last=True)
        try:
            carried = self._carry(cause, self.run)
        except HistoryLimit as error:
            self._refused += 1
            return await self._fail(cause or error)
        workflow.continue_as_new(args=[carried], **self.run.onward)

    def _full(self) -> bool:
        return self._carry is not None and full(self._refused)

    async def unwind_on(self, error: BaseException | None) -> Json:
        """Go on with unwinding that began in an earlier run.

        Raises:
            RolledBack, Stuck, asyncio.CancelledError: the run's end.
        """
        self.run.unwind_asked = True  # it was decided there, whoever decided it
        return await self._fail(error or asyncio.CancelledError())

    async def _unwind(self, cause: BaseException | None) -> bool:
        """Undo in a task of its own, which no cancel reaches; say whether it came to its end."""
        self.scope.error = self._why(cause)
        self.run.board.move("unwinding")
        self.run.control.unwinding = True
        task = asyncio.create_task(unwind_scope(self.scope, self._why(cause), full=self._full))
        await wait_for([task])
        if isinstance(task.exception(), Full):
            return False
        task.result()
        return True

    def _why(self, cause: BaseException | None) -> Failure:
        """Give what undos are told of the cause."""
        if cause is not None:
            return original(Failure.of(cause))
        return Failure(type="CancelledError", message=f"{self.run.definition} was cancelled")

    def _end(self, cause: BaseException | None, *, cancelled: bool, unwound: bool) -> BaseException:
        """Say how the run ends; what was asked while it unwound changes nothing."""
        who = self.run.definition
        reason = str(Failure.of(cause)) if cause else "cancelled"
        if self.run.not_undone:
            text = stuck_text(f"{who} is stuck: {_plain(reason)}", self.run.not_undone)
            told = Told(not_undone=tuple(self.run.not_undone), kept=not unwound)
            return self._leave("stuck", text, Stuck(text, *told.details()), self._last() or cause)
        if cancelled:
            what = (
                "everything undone" if unwound else f"kept, since the pivot was passed; open: {self._open()}"
            )
            return self._leave("cancelled", what, asyncio.CancelledError(f"{who} was cancelled"), None)
        if unwound:
            return self._leave(
                "rolled_back", reason, RolledBack(f"{who} rolled back: {_plain(reason)}"), cause
            )
        kept = f"{who} failed, and what it did is kept: {_plain(reason)}"
        text = f"{kept}; open steps: {self._open()}" if self.run.pivoted else kept
        return self._leave("kept", reason, Kept(text), cause)

    def _last(self) -> BaseException | None:
        """Give the failure of the last undo that failed, where the policy wants that one told."""
        if self.scope.policy.error == "first":
            return None
        return next((l.failure.as_error() for l in reversed(self.run.not_undone) if l.failure), None)

    def _open(self) -> str:
        """Name the steps that have not ended well."""
        states = self.run.board.view()["steps"]
        names = {**self.run.planned, **states}
        return (
            ", ".join(step for step in names if states.get(step, "not started") not in ENDED_WELL) or "none"
        )

    def _leave(
        self, state: str, reason: str, end: BaseException, cause: BaseException | None
    ) -> BaseException:
        self.run.board.move(state)
        self.scope.end(Status.FAILED, error=cause or end)
        leave_memo(state, reason, self._left())
        end.__cause__ = cause
        return end

    def _left(self) -> list[str]:
        return [left.step for left in self.run.not_undone]


async def _cancelled_here() -> None:
    """Have this run cancelled too, if the run before it was: only then does Temporal show it so."""
    if workflow.cancellation_reason() is not None:
        return
    info = workflow.info()
    asked = asyncio.create_task(
        workflow.execute_local_activity(
            CANCEL, args=[info.workflow_id, info.run_id], start_to_close_timeout=timedelta(seconds=30)
        )
    )
    await wait_for([asked])
    asked.result()
    with contextlib.suppress(asyncio.CancelledError):
        await workflow.wait_condition(lambda: workflow.cancellation_reason() is not None)


async def unwind_scope(
    scope: Scope, cause: Failure | None, *, full: Callable[[], bool] = lambda: False
) -> None:
    """Undo what a scope did; what couldn't be undone is kept in mind by the run.

    Args:
        scope: whose records are undone.
        cause: why, for the undos that ask for it.
        full: whether the history is full.

    Raises:
        Full: where the history is, before everything was undone.
    """
    run = scope.run
    await take_up(scope)
    records = await scope.all_records()
    for record in records:
        record.cause = cause if record.undo.cause else None
    run.board.set_all((r.step for r in records if r.wanted(scope.policy)), "to be undone")
    after = scope.came_after(records)
    unwinding = Unwinding(run.gate, run, records, after, scope.policy, full=full)
    try:
        run.not_undone += await unwinding.run()
    except Full:
        run.not_undone += unwinding.left
        for record in records:
            record.tried = record.undoing is not None and not record.undone
        raise
    scope.records = []


async def undo_step(scope: Scope, step: str) -> None:
    """Undo one step of a scope, in a task that no cancel reaches.

    Raises:
        Stuck: when its undo failed.
        CounterstepError: when there is nothing to undo.
    """
    scope.working.refuse()
    with scope.working.at_work():
        await _undone_now(scope, step)


async def _undone_now(scope: Scope, step: str) -> None:
    run = scope.run
    record = next((r for r in scope.records if r.step == step), None)
    if record is None or record.undone or record.settled is None or record.settled.status is Status.SKIPPED:
        raise CounterstepError(
            f"{step} has nothing to undo: it isn't a step of this flow with an undo, or it is undone"
        )
    task = asyncio.create_task(undo_one(run.gate, run, record))
    cancelled = await wait_for([task])
    left = task.result()
    if left is None and record in scope.records:
        scope.records.remove(record)
    if cancelled:
        raise asyncio.CancelledError(f"cancelled while {step} was undone")
    if left is not None:
        raise Stuck(f"step {step} is not undone: {left.reason}")


def stuck_text(head: str, left: list[NotUndone]) -> str:
    """Name every step that is not undone; the more there are, the shorter each reason."""
    room = max(MESSAGE_LIMIT // len(left), 150)
    return "\n".join([head, *(cut(f"not undone: {step}", room) for step in left)])


def _cause(error: BaseException) -> BaseException | None:
    first = first_of(error)
    if isinstance(first, asyncio.CancelledError):
        return None
    return first if isinstance(first, ApplicationError) else on_wire(first)


def _plain(reason: str) -> str:
    """Leave out our own type's name at the beginning of a reason."""
    kind, _, rest = reason.partition(": ")
    return (
        rest if kind in ("OperationFailed", "SequenceFailed", "SeriesFailed", "ExecutionStopped") else reason
    )


def _plain_json(result: Any) -> Json:
    return pydantic_core.from_json(result.payload.data) if isinstance(result, RawValue) else result
