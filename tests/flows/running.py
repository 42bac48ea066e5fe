"""Running scripts on the dev server, and looking at what came out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHandle

from flows import start
from tests.conftest import Serve
from tests.flows.script import Do, Kept, Script
from tests.script_operations import SERVED
from tests.support import failure_of, new_id


@dataclass(frozen=True)
class Runner:
    """Starts scripts on one worker.

    Attributes:
        client: of the dev server.
        task_queue: that the worker serves.
        last: handles of all runs, the newest last.
    """

    client: Client
    task_queue: str
    runs: list[WorkflowHandle[Any, Any]]

    async def start(
        self, *script: Do, resume: Any = None, id: str | None = None, flow: Any = Script, **options: Any
    ) -> WorkflowHandle[Any, Any]:
        """Start a script; ``resume`` is the memo ``resume_from``."""
        memo = {} if resume is None else {"resume_from": resume}
        handle = await start(
            self.client,
            flow,
            list(script),
            id=id or new_id(),
            task_queue=self.task_queue,
            memo=memo,
            **options,
        )
        self.runs.append(handle)
        return handle

    async def __call__(self, *script: Do, **options: Any) -> list[Any]:
        """Run a script to its end; give its result."""
        handle = await self.start(*script, **options)
        result: list[Any] = await asyncio.wait_for(handle.result(), 60)
        return result

    async def fails(self, *script: Do, **options: Any) -> BaseException:
        """Run a script that fails; give its failure."""
        return await self.failure(await self.start(*script, **options))

    async def failure(self, handle: WorkflowHandle[Any, Any]) -> BaseException:
        """Wait for a run that fails; give its failure."""
        return await failure_of(handle, 60)

    @property
    def last(self) -> WorkflowHandle[Any, Any]:
        """The newest run."""
        return self.runs[-1]


Scripts = Callable[..., AbstractAsyncContextManager[Runner]]


@pytest.fixture
def scripts(serve: Serve, task_queue: str) -> Scripts:
    """Serve scripts: ``async with scripts() as run``; ``kept=True`` serves the one that keeps on failure."""

    @asynccontextmanager
    async def running(
        *more: Any, kept: bool = False, instead: Any = (), **options: Any
    ) -> AsyncIterator[Runner]:
        served = {str(d.definition): d for d in (*SERVED, Kept if kept else Script, *more)}
        async with serve(*served.values(), **options) as client:
            yield Runner(client, task_queue, [])

    return running


def outputs(results: list[Any]) -> list[Any]:
    """Give the outputs alone; a series gives a list."""
    return [outputs(r) if isinstance(r, list) else r and (r.get("output")) for r in results]


def column(results: list[Any], name: str) -> list[Any]:
    """Give one value of each report."""
    return [result[name] for result in results]
