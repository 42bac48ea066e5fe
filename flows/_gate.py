"""What every activity passes before it is scheduled: the reset check, pause, a bound on one task's bytes."""

from __future__ import annotations

from temporalio import workflow

from flows._control import Control
from flows._reset import ResetGuard

TASK_LIMIT = 3 * 1024 * 1024
"""Bytes of arguments in one workflow task; at 4 MB the server terminates the run."""


class Gate:
    """The gate of one run."""

    def __init__(self, control: Control, guard: ResetGuard) -> None:
        """Take what may hold an activity back."""
        self._control = control
        self._guard = guard
        self._task = -1
        self._bytes = 0

    async def ready(self, size: int) -> None:
        """Wait until an activity with arguments of this size may be scheduled.

        Raises:
            ResetAfterUndo: when the run was reset after something in it was undone.
        """
        while True:
            await self._guard.check()
            await self._control.unpaused()
            if self._guard.pending or self._control.waits:
                continue
            if self._admit(size):
                return
            await workflow.sleep(0.001, summary="next workflow task")

    def _admit(self, size: int) -> bool:
        task = workflow.info().get_current_history_length()
        if task != self._task:
            self._task, self._bytes = task, 0
        if self._bytes and self._bytes + size > TASK_LIMIT:
            return False
        self._bytes += size
        return True
