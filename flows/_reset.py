"""A run that was reset after something in it was undone must not go on: nothing undone counts as done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from temporalio import workflow

from activities._json import Json
from flows._errors import ResetAfterUndo

UNDONE_IN_ORIGIN = "counterstep-undone"
"""Local activity that lists the steps of this run's origin that were undone, in any run of it."""

REFUSED = "refused: "
"""Begins the only item of that list where a child flow's root has the say."""


@dataclass
class Sending:
    """Something that Temporal is asked for when the workflow task at hand ends.

    Attributes:
        began: how many events the history had then.
        cancel: takes it back.
        taken_back: whether it was.
    """

    began: int
    cancel: Callable[[], object]
    taken_back: bool = False


class ResetGuard:
    """Notices a reset, live and in replay, and then asks once whether anything was undone.

    Temporal gives a reset run a new random seed at the reset point, before any code runs there but that which an update or a
    signal wakes that is applied again: what that asked for is taken back. A reset to the first task shows in the run id
    instead.
    """

    def __init__(self) -> None:
        """Begin to watch; must be made when the run begins."""
        self._pending = False
        self._noticed_one = False
        self._error: ResetAfterUndo | None = None
        self._asking: asyncio.Task[list[str]] | None = None
        self._ends = 0
        self._in_this_task: list[Sending] = []
        self._news = asyncio.Event()
        self._taking_back: asyncio.Task[None] | None = None
        workflow.register_random_seed_callback(self._noticed)
        self._of_reset = workflow.info().run_id != workflow.info().original_execution_run_id
        self._asked_at_start = False

    @property
    def replaying_before(self) -> bool:
        """Whether this run is a reset one that hasn't come to its reset point, or has it in the task at hand.

        What Temporal applies again of what came after that point is heard before the reset is noticed. Of a run that was
        reset before, only the first reset counts.
        """
        return self._of_reset and not self._noticed_one

    @property
    def passed(self) -> bool:
        """Whether this run is a reset one that has come to its reset point."""
        return self._of_reset and self._noticed_one

    @property
    def pending(self) -> bool:
        """Whether a reset was noticed and not yet looked into."""
        return self._pending

    @property
    def error(self) -> ResetAfterUndo | None:
        """Why the run must end, if it must."""
        return self._error

    async def check(self, *, last: bool = False) -> None:
        """Look into a reset that was noticed.

        Args:
            last: whether the run ends right after it: then it lets in first what else this task tells of, since a reset may
                be noticed in it.

        Raises:
            ResetAfterUndo: naming the steps that were undone.
        """
        self.see_start()
        if last and self._error is None and self._ends_here():
            await self._undone()  # of the answer nothing counts: this run may have undone something itself
        if self._pending and self._error is None:
            await self._look()
        if self._error is not None:
            raise self._error

    def _ends_here(self) -> bool:
        """Whether a reset run ends here, and isn't one that was reset whose end was put off here."""
        self._ends += self._of_reset
        return self._of_reset and workflow.patched(f"reset-at-end-{self._ends}")

    def sending(self, cancel: Callable[[], object]) -> Sending:
        """Take what Temporal is about to be asked for: a reset that is noticed in this very task takes it back.

        Args:
            cancel: asks for it no more.
        """
        one = Sending(workflow.info().get_current_history_length(), cancel)
        if self._of_reset:
            before = (other for other in self._in_this_task if other.began == one.began)
            self._in_this_task = [*before, one]
            if self._taking_back is None:
                self._news.clear()
                self._taking_back = asyncio.create_task(self._take_back())
        return one

    async def _take_back(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            for one in self._in_this_task:
                if one.began == workflow.info().get_current_history_length():
                    one.taken_back = True
                    one.cancel()

    def see_start(self) -> None:
        """Notice a reset to before anything was asked of Temporal; where nothing is, replay may run several tasks as one.

        Who asks something first must call it before that: an update in the same task may have that task end, and be done
        again without what Temporal knows of the next one.
        """
        if self._of_reset and not self._asked_at_start:
            self._asked_at_start = True
            if workflow.patched("reset-at-start"):
                self._noticed(0)

    async def _look(self) -> None:
        self._asking = self._asking or asyncio.create_task(self._undone())
        steps = await asyncio.shield(self._asking)
        self._pending, self._asking = False, None
        if steps and steps[0].startswith(REFUSED):
            self._error = ResetAfterUndo(f"this run was reset: {steps[0].removeprefix(REFUSED)}")
        elif steps:
            what = f"{', '.join(steps[:20])} {'was' if len(steps) == 1 else 'were'} undone"
            self._error = ResetAfterUndo(f"this run was reset after {what}; start a new run instead")

    async def _undone(self) -> list[str]:
        info = workflow.info()
        found: list[Json] = await workflow.execute_local_activity(
            UNDONE_IN_ORIGIN,
            args=[info.workflow_id, info.run_id],
            start_to_close_timeout=timedelta(minutes=1),
            summary="was anything undone before the reset?",
        )
        return [str(step) for step in found]

    def _noticed(self, _seed: int) -> None:
        self._pending = self._noticed_one = True
        self._news.set()
