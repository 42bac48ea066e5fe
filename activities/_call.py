"""Calling a handler: async or in a thread, whatever it raises, whatever asks it to end."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, cast

from temporalio import activity

_EXECUTOR: contextvars.ContextVar[Executor | None] = contextvars.ContextVar(
    "counterstep_executor", default=None
)
"""The executor of the call that a handler is in."""


@dataclass(frozen=True)
class Called:
    """How a handler ended: with a value, or with an error."""

    value: Any = None
    error: BaseException | None = None


async def call(executor: Executor, handler: Callable[..., Any], *args: Any) -> Called:
    """Call a handler and wait for it.

    An ``async def`` handler is cancelled when the run cancels the step, when the attempt is reset or timed
    out, and when the worker stops. A ``def`` handler can't be interrupted: a cancel waits for it, so that its
    true outcome counts; a stopping worker leaves it behind. A paused attempt goes on to its end. What a
    ``def`` handler returns is awaited where it can be: a decorator may hide that it is ``async def``.
    """
    _EXECUTOR.set(executor)
    if inspect.iscoroutinefunction(handler):
        return await _ended(_guarded(handler(*args)), threaded=False)
    called = await _ended(_in_thread(executor, handler, args), threaded=True)
    return (
        await _ended(_guarded(called.value), threaded=False) if inspect.isawaitable(called.value) else called
    )


async def call_part(part: Callable[..., Any], *args: Any) -> Any:
    """Call a function on behalf of the handler that calls this, as that one is called itself.

    Raises:
        BaseException: what the function raised; a cancel that came while a ``def`` function ran.
    """
    called = await call(cast(Executor, _EXECUTOR.get()), part, *args)  # without one: the loop's own
    if called.error is not None:
        raise called.error
    if activity.in_activity() and activity.is_cancelled():
        raise asyncio.CancelledError("cancelled between two functions")
    return called.value


async def _ended(calling: Coroutine[Any, Any, Called], *, threaded: bool) -> Called:
    """Wait for the end of a call, whatever asks it to end meanwhile."""
    task = asyncio.create_task(calling)
    while True:
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError as cancelled:
            if task.done():
                return task.result()
            if _goes_on(threaded):
                continue
            if threaded:
                return Called(error=cancelled)
            task.cancel()


def asked_to_end() -> bool:
    """Whether the run itself asked for the cancel."""
    details = activity.cancellation_details()
    return details is not None and details.cancel_requested


def _goes_on(threaded: bool) -> bool:
    details = activity.cancellation_details()
    if details is None:
        return False
    over = details.worker_shutdown or details.reset or details.timed_out or details.not_found
    return not over and (details.paused or threaded) and (threaded or not details.cancel_requested)


async def _guarded(calling: Awaitable[Any]) -> Called:
    """Catch everything: ``SystemExit`` in a task would take the worker down."""
    try:
        return Called(await calling)
    except BaseException as error:
        return Called(error=error)


async def _in_thread(executor: Executor, handler: Callable[..., Any], args: tuple[Any, ...]) -> Called:
    def run() -> Called:
        try:
            return Called(handler(*args))
        except BaseException as error:
            return Called(error=error)

    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(executor, context.run, run)
