"""Jobs whose functions record their calls, add 1, wait and fail on demand."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHandle

from activities import Context
from flows import Action, Job, start
from flows._jobs import JobErrorHandler, JobFunc
from tests.conftest import Serve
from tests.sample import FAST
from tests.support import World, failure_of, new_id

PARTS = ("pre1", "pre2", "execute", "post1", "post2")


def _fail(world: World, name: str) -> None:
    """Raise, as the test wants: ``fail-NAME``, or ``exit-NAME`` for what is no ``Exception``."""
    if world.is_on(f"fail-{name}"):
        raise RuntimeError(f"{name} down")
    if world.is_on(f"exit-{name}"):
        raise SystemExit(f"{name} exits")


def part(name: str) -> JobFunc:
    """Make a function that adds 1. Those of odd names are ``def``, so that both kinds run side by side."""

    async def plus(ctx: Context[World], value: Any) -> Any:
        ctx.deps.record(f"{ctx.step}.{name}", value)
        if ctx.deps.is_on(f"hold-{ctx.step}.{name}"):
            await ctx.deps.wait(f"go-{ctx.step}.{name}")
        _fail(ctx.deps, f"{ctx.step}.{name}")
        return value + 1

    def plain(ctx: Context[World], value: Any) -> Any:
        ctx.deps.record(f"{ctx.step}.{name}", value)
        _fail(ctx.deps, f"{ctx.step}.{name}")
        return value + 1

    return plain if name.endswith("2") else plus


def rollback(ctx: Context[World], data: Any, error: Exception | None) -> None:
    """Record what it is told; fail on demand."""
    ctx.deps.record(f"rollback {ctx.step}", data, str(getattr(error, "message", error)))
    _fail(ctx.deps, f"rollback-{ctx.step}")


def job(name: str, handler: JobErrorHandler | None = rollback, **options: Any) -> Job:
    """Make a job of five functions that add 1 each."""
    pre1, pre2, execute, post1, post2 = map(part, PARTS)
    return Job(name, execute, [pre1, pre2], [post1, post2], handler, rollback_retry=FAST, **options)


a, b, c = job("a"), job("b"), job("c")


class Runs:
    """Starts runs of actions on one worker."""

    def __init__(self, client: Client, task_queue: str, world: World) -> None:
        self.client, self.queue, self.world = client, task_queue, world
        self.last: WorkflowHandle[Any, Any]

    async def start(self, type_: str, input: Any = 0, **options: Any) -> WorkflowHandle[Any, Any]:
        """Start a run."""
        options = {"id": new_id(), "task_queue": self.queue, **options}
        self.last = await start(self.client, type_, input, **options)
        return self.last

    async def __call__(self, type_: str, input: Any = 0) -> Any:
        """Run to the end, and give the result."""
        return await (await self.start(type_, input)).result()

    async def fails(self, type_: str, input: Any = 0) -> BaseException:
        """Run to the end, and give the failure."""
        return await failure_of(await self.start(type_, input))

    async def deployment(self, *job: str) -> dict[str, Any]:
        """Ask the last run for its deployment."""
        found: dict[str, Any] = await self.last.query("deployment", *job)
        return found

    async def errors(self) -> list[tuple[str, str]]:
        """Give the error rows of the last run."""
        return [(row["job"], row["error"]) for row in (await self.deployment())["errors"]]


@pytest.fixture
def runs(serve: Serve, world: World, task_queue: str) -> Any:
    """Serve actions: ``async with runs(action) as run``."""

    @asynccontextmanager
    async def serving(*actions: Any, **options: Any) -> AsyncIterator[Runs]:
        served = [entry for action in actions for entry in action.definitions]
        async with serve(*served, **options) as client:
            yield Runs(client, task_queue, world)

    return serving


def calls(world: World) -> list[str]:
    """Give the functions that were called, in order, without values."""
    return [call if isinstance(call, str) else call[0] for call in world.calls]


def rollbacks(world: World) -> list[str]:
    """Give the jobs whose rollback handlers were called, in order."""
    return [name.split()[1] for name in calls(world) if name.startswith("rollback ")]


def line(name: str, *jobs: Job, **options: Any) -> Action:
    """Make an action."""
    return Action(name, jobs, **options)


def shown(value: Any) -> str:
    """Give a value as JSON."""
    return json.dumps(value)
