"""What of a flow is at work, also in tasks that its body doesn't await: nothing is undone while it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from temporalio import workflow

from activities import CounterstepError


class Working:
    """The tasks in which a flow, or one inline in it, carries out steps."""

    def __init__(self, outer: Working | None = None) -> None:
        """Begin with none; what is at work inside is so outside."""
        self._outer = outer
        self._tasks: list[asyncio.Task[object]] = []
        self._closed = False

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Count the current task while it carries something out."""
        task = asyncio.current_task()
        assert task is not None, "a step is carried out in a task"
        around = list(self._around())
        for one in around:
            one._tasks.append(task)
        try:
            yield
        finally:
            for one in around:
                one._tasks.remove(task)

    def close(self) -> None:
        """Let nothing new begin: the flow has ended, or unwinds."""
        self._closed = True

    @property
    def closed(self) -> bool:
        """Whether the flow, or one around it, has ended or unwinds."""
        return any(one._closed for one in self._around())

    def refuse(self) -> None:
        """Refuse to begin something in a flow that has ended.

        Raises:
            CounterstepError: when it has; only handlers, and tasks that nobody awaits, come here.
        """
        if self.closed:
            raise CounterstepError(
                "the flow has ended or unwinds, so that no step can begin, or be undone by hand"
            )

    async def settle(self, hurried: Callable[[], bool]) -> None:
        """Wait until nothing is at work any more.

        Args:
            hurried: whether it is to be cancelled instead.
        """
        self.close()
        if not self._tasks:
            return
        await workflow.wait_condition(lambda: not self._tasks or hurried())
        for task in dict.fromkeys(self._tasks):
            task.cancel()
        await workflow.wait_condition(lambda: not self._tasks)

    def _around(self) -> Iterator[Working]:
        yield self
        if self._outer is not None:
            yield from self._outer._around()
