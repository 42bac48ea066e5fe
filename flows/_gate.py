"""What every activity passes before it is scheduled: the reset check, pause, a bound on one task's bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from temporalio import workflow

from activities._json import LOCAL_LIMIT
from flows._control import Control, Local
from flows._reset import ResetGuard, Sending

TASK_LIMIT = 3 * 1024 * 1024
"""Bytes of arguments in one workflow task; at 4 MB the server terminates the run."""

MARKERS_LIMIT = 2 * 1024 * 1024
"""Bytes of local steps in one workflow task: a result, or what goes into the next run, may go out with them."""


class Gate:
    """The gate of one run."""

    def __init__(self, control: Control, guard: ResetGuard) -> None:
        """Take what may hold an activity back."""
        self._control = control
        self._guard = guard
        self._task = -1
        self._bytes = 0
        self._reserved = 0
        self._local = self._turning = False

    async def ready(self, size: int, *, local: bool = False) -> None:
        """Wait until an activity with arguments of this size may be scheduled.

        One that runs locally is let through with room for what it leaves, until it is :meth:`recorded`.

        Raises:
            ResetAfterUndo: when the run was reset after something in it was undone.
        """
        while True:
            await self._guard.check()
            again = local and await self._control.repeats()
            if not again:
                await self._control.unpaused()
            if self._guard.pending or (self._control.waits and not again):
                continue
            if self._admit(size, local):
                return
            await self._next_task(size, local)

    def sending(self, cancel: Callable[[], object]) -> Sending:
        """Take what Temporal is about to be asked for; see :meth:`flows._reset.ResetGuard.sending`."""
        return self._guard.sending(cancel)

    def begun(self, handle: asyncio.Task[Any], ask: Callable[[], object]) -> None:
        """Take that a local activity is at work, and how it is asked to cancel."""
        self._control.local[handle] = Local(workflow.info().get_current_history_length(), ask)

    def recorded(self, handle: asyncio.Task[Any], size: int, bytes: int) -> bool:
        """Take that a local activity of this size has ended, and how many bytes are recorded of it; say if it was asked to."""
        asked = self._control.local.pop(handle).asked
        self._reserved -= size + LOCAL_LIMIT
        self._bytes += bytes
        return asked

    def _admit(self, size: int, local: bool) -> bool:
        task = workflow.info().get_current_history_length()
        if task != self._task and not self._local:
            self._task, self._bytes = task, 0
        if self._turning or not self._fits(size, local):
            return False
        if local:
            self._local = True
            self._reserved += size + LOCAL_LIMIT
        else:
            self._bytes += size
        return True

    def _fits(self, size: int, local: bool) -> bool:
        taken, limit = self._bytes + self._reserved, TASK_LIMIT
        if local:
            size, limit = size + LOCAL_LIMIT, MARKERS_LIMIT
        return not taken or taken + size <= limit

    async def _next_task(self, size: int, local: bool) -> None:
        """Wait until there may be room: local activities in flight end, or the next workflow task begins.

        What local activities leave goes out when the task ends, and tasks that end only because one takes long are not
        to be told from it for certain: so once there was one, only a timer of our own counts as an end.
        """
        if self._reserved or self._turning:
            await workflow.wait_condition(
                lambda: not self._turning and (not self._reserved or self._fits(size, local))
            )
            return
        self._turning = ours = self._local
        try:
            await workflow.sleep(0.001, summary="next workflow task")
        finally:
            self._turning = self._turning and not ours
        if ours:
            self._bytes = 0
