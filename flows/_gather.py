"""Calls in parallel, with a limit; a failure lets the others settle."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

from temporalio import workflow

from flows._step import wait_for

T = TypeVar("T")


async def gather(calls: Sequence[Awaitable[T]], limit: int) -> list[T]:
    """See :meth:`flows.Sequence.gather`."""
    waiting = list(enumerate(calls))
    running: dict[asyncio.Future[T], int] = {}
    results: dict[int, asyncio.Future[T]] = {}
    try:
        while running or (waiting and not _failed(results)):
            while waiting and len(running) < limit and not _failed(results):
                index, call = waiting.pop(0)
                running[asyncio.ensure_future(call)] = index
            done, _ = await workflow.wait(list(running), return_when=asyncio.FIRST_COMPLETED)
            results |= {running.pop(task): task for task in done}
    except asyncio.CancelledError:
        for task in running:
            task.cancel()
        await wait_for(running)
        raise
    finally:
        for _, call in waiting:
            _close(call)
    failed = _failed(results)
    if failed is not None:
        failed.result()
    return [results[index].result() for index in range(len(calls))]


def _failed(results: dict[int, asyncio.Future[Any]]) -> asyncio.Future[Any] | None:
    """Give the call that failed first, in history order."""
    return next((t for t in results.values() if t.cancelled() or t.exception() is not None), None)


def _close(call: Awaitable[Any]) -> None:
    """End a call that never began, so that Python doesn't warn."""
    close = getattr(call, "close", None)
    if close is not None:
        close()
