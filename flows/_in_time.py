"""User code that flows ask in passing, builders and models, and that may never come back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from datetime import timedelta
from typing import TypeVar

from temporalio.exceptions import FailureError

from activities._failure import message_of, on_wire
from flows._errors import refusal

T = TypeVar("T")

LIMIT = timedelta(seconds=30)
"""How long a builder may take, with the checks of its plan; ``docs/sagas.md`` names it."""


async def in_time(work: Callable[[], T], who: str) -> T:
    """Call something in a thread of its own: if it takes its time, it holds up nobody else.

    The thread is a daemon outside of any pool: one that never ends neither takes a place that others need,
    nor keeps the worker from ending.

    Raises:
        InvalidPlan: when it isn't back within :data:`LIMIT`, or raises anything that is no failure of Temporal's.
    """
    return await in_thread(work, who, lambda error: _refused(error, who))


async def in_thread(work: Callable[[], T], who: str, raised: Callable[[BaseException], BaseException]) -> T:
    """Do as :func:`in_time`, with errors of the caller's own.

    Args:
        work: what is called.
        who: whose builder it is.
        raised: gives what is raised for what the work raises.

    Raises:
        InvalidPlan: when it isn't back within :data:`LIMIT`.
    """
    told: Future[T] = Future()
    told.set_running_or_notify_cancel()
    context = copy_context()
    name = f"building {who}"
    threading.Thread(target=lambda: context.run(_tell, told, work, raised), name=name, daemon=True).start()
    result = asyncio.wrap_future(told)
    await asyncio.wait([result], timeout=LIMIT.total_seconds())
    if not result.done():
        result.cancel()  # whatever comes of it, nobody asks any more
        took = f"isn't back after {LIMIT.total_seconds():g} seconds"
        raise refusal(who, [f"the builder: {took}; let it build a plan and wait for nothing"])
    return result.result()


def _tell(told: Future[T], work: Callable[[], T], raised: Callable[[BaseException], BaseException]) -> None:
    try:
        told.set_result(work())
    except BaseException as error:
        told.set_exception(raised(error))


def _refused(error: BaseException, who: str) -> BaseException:
    if isinstance(error, FailureError):
        return on_wire(error)  # its cause may be large
    refused = refusal(who, [f"the plan: raised {type(error).__name__}: {message_of(error)}"])
    refused.__cause__ = error
    return on_wire(refused)
