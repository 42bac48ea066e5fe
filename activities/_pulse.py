"""Heartbeats for every running operation, so that a lost worker is told from a slow operation.

Two channels: the SDK's, by which a handler learns of a cancel, and direct calls from a thread, which go on
while a handler blocks the worker's event loop. Both always send the whole newest details, since the SDK's
throttled heartbeat overwrites a newer direct one.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator

from temporalio import activity
from temporalio.client import AsyncActivityCancelledError
from temporalio.service import RPCError

from activities._attempt import Attempt

TOLD_OF_CANCEL = 2.0
"""Seconds between heartbeats through the SDK: a handler learns of a cancel only by their answers."""


class _Thread:
    """One thread with a loop of its own, for all running operations of the process, made when needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def loop(self) -> asyncio.AbstractEventLoop:
        """Give the loop, starting the thread if there is none."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="counterstep-pulse", daemon=True).start()
            return self._loop


_THREAD = _Thread()


@contextlib.asynccontextmanager
async def pulse(attempt: Attempt) -> AsyncIterator[None]:
    """Heartbeat while the body runs; local activities have no heartbeats."""
    timeout = attempt.info.heartbeat_timeout
    if timeout is None:
        yield
        return
    period = timeout.total_seconds() / 3
    through_sdk = asyncio.create_task(_through_sdk(attempt, min(period, TOLD_OF_CANCEL)))
    direct = asyncio.run_coroutine_threadsafe(_direct(attempt, period), _THREAD.loop())
    try:
        yield
    finally:
        through_sdk.cancel()
        direct.cancel()


async def _through_sdk(attempt: Attempt, period: float) -> None:
    while True:
        await asyncio.sleep(period)
        activity.heartbeat(attempt.mark)


async def _direct(attempt: Attempt, period: float) -> None:
    handle = attempt.client.get_async_activity_handle(task_token=attempt.info.task_token)
    while True:
        await asyncio.sleep(period)
        with contextlib.suppress(RPCError, AsyncActivityCancelledError):
            await handle.heartbeat(attempt.mark)
