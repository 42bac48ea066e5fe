"""The one place where an activity is scheduled and settled.

Nothing is lost here, whatever arrives together: a cancel never hides a result, and an execution that was
lost is dispatched again with the same key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Protocol

from temporalio import workflow
from temporalio.common import RawValue, RetryPolicy
from temporalio.exceptions import FailureError, is_cancelled_exception
from temporalio.workflow import ActivityCancellationType

from activities import Retry
from activities._encode import sent
from activities._json import Json, size
from activities._settled import Again, Settled, ended_badly, ended_well
from activities._wire import MAX_LOSSES, SENT, StepHeader, Verdict, json_payload
from flows._interceptor import with_header
from flows._reset import Sending

_LOSS_DELAY = Retry(initial=timedelta(seconds=1))
_NOW = timedelta(0)
_TURNS = 4


@dataclass(frozen=True)
class Call:
    """An operation or an undo, ready to be scheduled.

    Attributes:
        activity_id: readable, at most 200 characters.
        type: the activity type.
        args: the values that it gets, as JSON.
        header: what it knows of where it stands.
        timeout: of one attempt, start to close.
        retry: how its failures are retried.
        local: whether it runs as a local activity.
        task_queue: where it runs; ``None`` is the flow's own.
        at_most_once: whether a loss is final.
        summary: shown in the Temporal UI.
        carried: what is known of earlier executions.
    """

    activity_id: str
    type: str
    args: tuple[Json, ...]
    header: StepHeader
    timeout: timedelta
    retry: Retry
    local: bool = False
    task_queue: str | None = None
    at_most_once: bool = False
    summary: str | None = None
    carried: Verdict = Verdict()

    @property
    def retried(self) -> bool:
        """Whether the server may call the handler more than once."""
        return not (self.local or self.at_most_once) and self.retry.max_attempts != 1

    @property
    def size(self) -> int:
        """Bytes of its arguments."""
        return sum(map(size, self.args))


class Gate(Protocol):
    """What an activity passes before it is scheduled."""

    async def ready(self, size: int, *, local: bool = False) -> None:
        """Wait until an activity with arguments of this size may be scheduled."""
        ...

    def sending(self, cancel: Callable[[], object]) -> Sending:
        """Take what Temporal is about to be asked for; a reset may take it back."""
        ...

    def begun(self, handle: asyncio.Task[Any], ask: Callable[[], object]) -> None:
        """Take that a local activity is at work, and how it is asked to cancel."""
        ...

    def recorded(self, handle: asyncio.Task[Any], size: int, bytes: int) -> bool:
        """Take that a local activity of this size has ended, and how many bytes are recorded of it; say if it was asked to."""
        ...


async def settle(gate: Gate, call: Call, room: Callable[[], bool] = lambda: True) -> tuple[Settled, bool]:
    """Schedule an activity, again where an execution was lost, and wait for its true end.

    Args:
        gate: what it passes first.
        call: what to schedule.
        room: whether the history has room for another attempt; without it, it ends as the last one did.

    Returns:
        How it ended, and whether a cancel arrived meanwhile, which the caller passes on.

    Raises:
        asyncio.CancelledError: when cancelled before it was scheduled at all.
    """
    await gate.ready(call.size, local=call.local)
    settled, cancelled = await _dispatch(gate, call, first=True)
    while not cancelled and (delay := _again(call, settled)) is not None and room():
        call = replace(call, carried=settled.verdict, header=_next(call, settled.verdict))
        try:
            if delay > _NOW:
                await workflow.sleep(delay, summary=f"{call.activity_id}: next attempt")
            await gate.ready(call.size, local=call.local)
            settled, cancelled = await _dispatch(gate, call)
        except asyncio.CancelledError:
            return settled, True
    return settled, cancelled


async def wait_for(tasks: Iterable[asyncio.Future[Any]]) -> bool:
    """Wait until tasks are done, whatever cancels arrive; say whether one did."""
    cancelled = False
    pending = [task for task in tasks if not task.done()]
    while pending:
        try:
            await workflow.wait(pending)
        except asyncio.CancelledError:
            cancelled = True
        pending = [task for task in pending if not task.done()]
    return cancelled


async def finished(handle: asyncio.Task[Any], ask: Callable[[], object] | None = None) -> bool:
    """Wait for the true end of an activity or a child, cancelling it when a cancel arrives; say whether one did.

    Args:
        handle: of the activity, or the child.
        ask: how it is asked to cancel; by its handle unless given.
    """
    try:
        await workflow.wait([handle])
    except asyncio.CancelledError:
        await cancel(handle, ask or handle.cancel)
        return True
    return False


async def cancel(handle: asyncio.Task[Any], ask: Callable[[], object]) -> None:
    """Ask an activity or a child to cancel and wait for its end, unless its result is in this very activation."""
    for _ in range(_TURNS):
        if handle.done():
            return
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            continue
    ask()
    await wait_for([handle])


async def _dispatch(gate: Gate, call: Call, *, first: bool = False) -> tuple[Settled, bool]:
    """Schedule it once and wait for its end.

    Raises:
        asyncio.CancelledError: when cancelled before it was scheduled.
    """
    handle, cancelled = await _sent(gate, call)
    settled = _classify(call, handle)
    if call.local:
        bytes = _bytes_of(handle)
        if first and settled.envelope is None:
            bytes += call.size
            cancelled = await _told(call) or cancelled
        asked = gate.recorded(handle, call.size, bytes)
        cancelled = cancelled or (asked and _was_cancelled(handle))
    return settled, cancelled


async def _sent(gate: Gate, call: Call) -> tuple[asyncio.Task[Any], bool]:
    """Schedule it, again where a reset took that back before Temporal was asked; say whether a cancel arrived since.

    Raises:
        asyncio.CancelledError: when cancelled before it was scheduled.
    """
    while True:
        handle = _schedule(call)
        sending = gate.sending(handle.cancel)
        if call.local:
            undo = call.type.endswith("/undo")  # which no cancel reaches
            gate.begun(handle, (lambda: None) if undo else handle.cancel)
        cancelled = await finished(handle)
        if not sending.taken_back:
            return handle, cancelled
        if call.local:
            gate.recorded(handle, call.size, 0)
        if cancelled:
            raise asyncio.CancelledError(f"cancelled before {call.activity_id} was scheduled")
        await gate.ready(call.size, local=call.local)


async def _told(call: Call) -> bool:
    """Record what a local step was sent with, of which Temporal alone tells how it ended; say whether a cancel arrived."""
    telling = asyncio.create_task(
        workflow.execute_local_activity(
            SENT,
            args=[call.activity_id, sent(call.args[0], call.header)],
            start_to_close_timeout=timedelta(minutes=1),
            summary=call.summary,
        )
    )
    cancelled = await wait_for([telling])
    telling.result()
    return cancelled


def _was_cancelled(handle: asyncio.Task[Any]) -> bool:
    return handle.cancelled() or is_cancelled_exception(handle.exception() or Exception())


def _bytes_of(handle: asyncio.Task[Any]) -> int:
    """Count what the marker of a local activity holds."""
    if handle.cancelled():
        return 0
    error = handle.exception()
    if error is None:
        return handle.result().payload.ByteSize()  # type: ignore[no-any-return]
    failure = error.failure if isinstance(error, FailureError) else None
    return failure.ByteSize() if failure else 0


def _classify(call: Call, handle: asyncio.Task[Any]) -> Settled:
    try:
        return ended_well(handle.result().payload, call.carried, local=call.local)
    except BaseException as error:
        return ended_badly(error, call.carried, retried=call.retried, local=call.local)


def _schedule(call: Call) -> asyncio.Task[Any]:
    carried = call.carried.to_json()
    args = [RawValue(json_payload(arg)) for arg in (*call.args, *([carried] if carried else []))]
    with with_header(call.header):
        return _start_local(call, args) if call.local else _start_remote(call, args)


def _start_local(call: Call, args: list[RawValue]) -> asyncio.Task[Any]:
    """Start it with one attempt: the flow counts them, so that it knows how each one ended."""
    return workflow.start_local_activity(
        call.type,
        args=args,
        activity_id=call.activity_id,
        result_type=RawValue,
        start_to_close_timeout=call.timeout,
        retry_policy=RetryPolicy(maximum_attempts=1, non_retryable_error_types=call.retry.names),
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=call.summary,
    )


def _start_remote(call: Call, args: list[RawValue]) -> asyncio.Task[Any]:
    limit = 1 if call.at_most_once else call.retry.max_attempts
    failures = call.carried.failures
    return workflow.start_activity(
        call.type,
        args=args,
        activity_id=call.activity_id,
        result_type=RawValue,
        task_queue=call.task_queue,
        start_to_close_timeout=call.timeout,
        retry_policy=call.retry.on_temporal(max(limit - failures, 1) if limit else 0, failures),
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=call.summary,
    )


def _again(call: Call, settled: Settled) -> timedelta | None:
    """Say after which delay a step is dispatched again; ``None`` if not at all."""
    verdict, limit = settled.verdict, call.retry.max_attempts
    if settled.again is None or (call.at_most_once and settled.again is not Again.ABSENT):
        return None
    if settled.again is Again.FAILURE:
        spent = limit and verdict.failures >= limit
        return None if spent else settled.delay or call.retry.delay(verdict.failures)
    if verdict.losses >= MAX_LOSSES:
        return None
    first = settled.again is Again.LOSS and verdict.losses == 1
    return _NOW if first else _LOSS_DELAY.delay(verdict.losses)


def _next(call: Call, verdict: Verdict) -> StepHeader:
    update: dict[str, Any] = {"run": workflow.info().run_id}
    if call.local:
        update["attempt"] = verdict.failures + verdict.losses + 1
    return call.header.model_copy(update=update)
