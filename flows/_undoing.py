"""The flow ``undo``: undoes what a closed run left in place, once.

The one that is started asks; the work is its child. The child's workflow id is the claim on the run's undoing, and
can be taken again only if the child failed.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue, RetryPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    ChildWorkflowError,
    WorkflowAlreadyStartedError,
)

from activities import Definition, InvalidInput
from activities._failure import Failure
from activities._json import PAYLOAD_LIMIT, size
from counterstep.reports import UNDOING
from flows._errors import Stuck
from flows._flow import stuck_text, unwind_scope
from flows._full import Full, full
from flows._interceptor import wrong_count
from flows._operated import Operated
from flows._packed import pack
from flows._policy import Policy
from flows._resume import Found, Owner, RunRef, ask, claim_id
from flows._run import Run
from flows._scope import Scope
from flows._start_input import start_value
from flows._status import leave_memo
from flows._step import wait_for
from flows._undo import NotUndone, UndoRecord
from flows._undone import AWAIT_UNDO, FIND_CLOSED, READ_LEFT, UNDO, Closed, Remains, Undone, Work

_DEFINITION = Definition(UNDO, "1.0.0", "Undo what a closed run left in place.")
_DETAILS_LIMIT = 64 * 1024
_NAMES_LIMIT = PAYLOAD_LIMIT // 3


@workflow.defn(name=UNDO)
class Undo:
    """Finds a closed run, and has what it left undone by the one workflow that may."""

    __counterstep_input__ = staticmethod(lambda count: wrong_count(count, UNDO))
    _state = "looking for the run"
    _claim: str | None = None

    @workflow.query(name="status", description="The state, and the workflow that does the work")
    def _status(self) -> dict[str, Any]:
        return {"flow": str(_DEFINITION), "state": self._state, "steps": {}, "undoing": self._claim}

    @workflow.run
    async def run(self, input: RawValue) -> Undone:
        """Undo a run; a cancel changes nothing.

        Raises:
            InvalidInput: when it is open, gone, or taken over.
            Stuck: naming the steps that are not undone.
        """
        task = asyncio.create_task(self._undo(input))
        await wait_for([task])
        self._state = "failed" if task.exception() else "completed"
        return task.result()

    async def _undo(self, input: RawValue) -> Undone:
        ref = RunRef.of(start_value(input, UNDO), "undo: the input")
        closed: Closed = await ask(FIND_CLOSED, ref, result_type=Closed, summary="find the run")
        found, info = closed.found, workflow.info()
        me = Owner(workflow_id=info.workflow_id, origin=info.original_execution_run_id)
        self._claim = claim_id(found.ref.workflow_id, found.origin)
        self._state = "undoing"
        try:
            return await self._work(Work(owner=me, found=found, previous=closed.previous))
        except WorkflowAlreadyStartedError:
            return await self._others(found)

    async def _work(self, work: Work) -> Undone:
        assert self._claim is not None
        try:
            undone: Undone = await workflow.execute_child_workflow(
                UNDOING,
                work,
                id=self._claim,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
                parent_close_policy=workflow.ParentClosePolicy.ABANDON,
                result_type=Undone,
                static_summary=f"undo {work.found.ref.workflow_id}",
            )
        except ChildWorkflowError as error:
            raise _as_ours(error) from None
        return undone

    async def _others(self, found: Found) -> Undone:
        """Wait for the one who was first."""
        self._state = "waiting for another undo of it"
        try:
            undone: Undone = await workflow.execute_activity(
                AWAIT_UNDO,
                found,
                result_type=Undone,
                start_to_close_timeout=timedelta(minutes=1),
                retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=100), backoff_coefficient=1),
                summary="who undoes it, and did it end?",
            )
        except ActivityError as error:
            raise _as_ours(error) from None
        return undone


def _as_ours(error: ChildWorkflowError | ActivityError) -> BaseException:
    """Give the failure of the work as the failure of who asked for it."""
    cause = error.cause
    if isinstance(cause, ApplicationError) and cause.type == InvalidInput.__name__:
        return InvalidInput(cause.message)
    if isinstance(cause, ApplicationError) and cause.type == Stuck.__name__:
        return Stuck(cause.message, *cause.details)
    why = Failure.of(cause) if cause else error
    return Stuck(
        f"the work of this undo didn't end by itself ({why}); what it undid is undone; start it again"
    )


@workflow.defn(name=UNDOING)
class Undoing(Operated):
    """Undoes what a closed run left in place. Its workflow id is the claim on that."""

    @workflow.run
    async def run(self, work: Work) -> Undone:
        """Undo; a cancel changes nothing, as in every unwinding.

        Raises:
            Stuck: naming the steps that are not undone.
        """
        self._asked.paused = work.paused
        self._scope = Scope(Run(_DEFINITION, control=self._asked), _DEFINITION, Policy())
        task = asyncio.create_task(self._undo(self._scope, work))
        await wait_for([task])
        return task.result()

    async def _undo(self, scope: Scope, work: Work) -> Undone:
        scope.run.board.move("unwinding")
        work = work.model_copy(update={"chain": scope.run.info.first_execution_run_id})
        packed: str = await ask(READ_LEFT, work, result_type=str, summary="what did the run leave in place?")
        remains = Remains.unpacked(packed)
        records = _prepare(scope, remains)
        await scope.run.guard.check()
        more = bool(remains.more)
        try:
            await unwind_scope(scope, remains.cause, full=full)
        except Full:
            more = True
        undone = (*work.undone_steps(), *(record.step for record in reversed(records) if record.undone))
        left = (*work.failed, *scope.run.not_undone)
        if more and not (scope.run.not_undone and remains.policy.on_undo_failure == "stop"):
            update = {"undone": pack(" ".join(undone)), "failed": _short(left), "paused": self._asked.paused}
            workflow.continue_as_new(work.model_copy(update=update))
        result = _result(work.found.ref, undone, remains.already, (*left, *remains.missing))
        scope.run.board.move("stuck" if result.not_undone else "completed")
        if result.not_undone:
            raise _stuck(result, remains.more)
        return result


def _prepare(scope: Scope, remains: Remains) -> list[UndoRecord]:
    """Hand a scope what it is to undo."""
    scope.policy, scope.graph = remains.policy, remains.after
    for order, taken in enumerate(remains.steps):
        record = taken.record(order)
        assert record is not None, "what has no undo isn't listed"
        scope.records.append(record)
        scope.children.append(partial(scope.run.report_of, taken))
    for missing in remains.missing:
        scope.run.board.set(missing.step, "not undone")
    return list(scope.records)


def _result(
    ref: RunRef, undone: tuple[str, ...], already: tuple[str, ...], left: tuple[NotUndone, ...]
) -> Undone:
    return Undone(
        workflow_id=ref.workflow_id,
        run_id=ref.run_id or "",
        undone=_listed(undone),
        already_undone=_listed(already),
        not_undone=left,
    )


def _stuck(result: Undone, more: int) -> Stuck:
    head = f"undo of {result.workflow_id} is stuck: {len(result.not_undone) + more} not undone"
    text = stuck_text(head, list(result.not_undone))
    leave_memo("stuck", text, [step.step for step in result.not_undone])
    details = result.model_dump(mode="json", exclude={"not_undone": {"__all__": {"failure"}}})
    return Stuck(text, *([details] if size(details) <= _DETAILS_LIMIT else []))


def _listed(names: tuple[str, ...]) -> tuple[str, ...]:
    """Give names, as many as fit into a result."""
    room, count = _NAMES_LIMIT, 0
    while count < len(names) and (room := room - len(names[count]) - 3) > 0:
        count += 1
    return names if count == len(names) else (*names[:count], f"… and {len(names) - count} more")


def _short(left: tuple[NotUndone, ...]) -> tuple[NotUndone, ...]:
    """Leave out what would make many failures too large to hand on."""
    return tuple(NotUndone(step.step, step.definition, step.reason[:200]) for step in left)
