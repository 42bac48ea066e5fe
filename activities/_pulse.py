"""Heartbeats for every running operation, so that a lost worker is told from a slow operation.

Two channels: the SDK's, by which a handler learns of a cancel, and direct calls from a thread, which go on
while a handler blocks the worker's event loop. Both always send the whole newest details, since the SDK's
throttled heartbeat overwrites a newer direct one.

Most operations end before their first heartbeat, so that nothing is started for one: it is entered in a
table that the thread looks through, and in the loop's own timers.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from contextvars import copy_context
from dataclasses import dataclass, field

from temporalio import activity
from temporalio.client import AsyncActivityCancelledError
from temporalio.service import RPCError

from activities._attempt import Attempt

TOLD_OF_CANCEL = 2.0
"""Seconds between heartbeats through the SDK: a handler learns of a cancel only by their answers."""

_LOOK = 0.1
"""Seconds between two looks of the thread."""


@contextlib.contextmanager
def pulse(attempt: Attempt) -> Iterator[None]:
    """Heartbeat while the body runs; local activities have no heartbeats."""
    timeout = attempt.info.heartbeat_timeout
    if timeout is None:
        yield
        return
    period = timeout.total_seconds() / 3
    through_sdk, direct = _ThroughSdk(attempt, min(period, TOLD_OF_CANCEL)), _Direct(attempt, period)
    _THREAD.add(direct)
    try:
        yield
    finally:
        _THREAD.remove(direct)
        through_sdk.cancel()


class _ThroughSdk:
    """Heartbeats of one execution through the SDK, from the loop that it runs on."""

    def __init__(self, attempt: Attempt, period: float) -> None:
        self._attempt, self._period, self._context = attempt, period, copy_context()
        self._arm()

    def cancel(self) -> None:
        self._next.cancel()

    def _arm(self) -> None:
        self._next = self._attempt.loop.call_later(self._period, self._beat, context=self._context)

    def _beat(self) -> None:
        activity.heartbeat(self._attempt.mark)
        self._arm()


@dataclass(eq=False)
class _Direct:
    """Heartbeats of one execution by direct calls.

    Attributes:
        attempt: whose details are sent.
        period: in seconds.
        due: when the next is sent, by the monotonic clock.
        sending: the call that is under way.
    """

    attempt: Attempt
    period: float
    due: float = field(init=False)
    sending: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.due = time.monotonic() + self.period

    def look(self, now: float) -> None:
        if self.due <= now and (self.sending is None or self.sending.done()):
            self.due = now + self.period
            self.sending = asyncio.create_task(self._send())

    async def _send(self) -> None:
        attempt = self.attempt
        handle = attempt.client.get_async_activity_handle(task_token=attempt.info.task_token)
        with contextlib.suppress(RPCError, AsyncActivityCancelledError):
            await handle.heartbeat(attempt.mark)


class _Thread:
    """One thread with a loop of its own, for all running operations of the process, made when needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[_Direct] = set()
        self._started = False

    def add(self, direct: _Direct) -> None:
        with self._lock:
            self._running.add(direct)
            if not self._started:
                self._started = True
                threading.Thread(
                    target=lambda: asyncio.run(self._run()), name="counterstep-pulse", daemon=True
                ).start()

    def remove(self, direct: _Direct) -> None:
        with self._lock:
            self._running.discard(direct)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            with self._lock:
                running = list(self._running)
            now = time.monotonic()
            for direct in running:
                direct.look(now)


_THREAD = _Thread()
