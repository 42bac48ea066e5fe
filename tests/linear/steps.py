"""Steps that record what they do, skip and fail on demand; and looking at reports."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHandle

from activities import Context, Skip
from flows import Policy, linear
from flows.linear import Step, StepRegistry, Workflow, WorkflowReport
from tests.conftest import Serve
from tests.sample import FAST
from tests.support import World, causes, failure_of, new_id


async def run(ctx: Context[World]) -> None:
    """Run: record it, and do what the switches say."""
    await _do(ctx, ctx.step)


def undo(ctx: Context[World]) -> None:
    """Undo: the same, with switches of their own."""
    ctx.deps.record(f"undo {ctx.step}")
    if ctx.deps.is_on(f"skip-undo-{ctx.step}"):
        raise Skip("nothing to undo")
    if ctx.deps.is_on(f"fail-undo-{ctx.step}"):
        raise RuntimeError(f"undo of {ctx.step} down")


async def _do(ctx: Context[World], name: str) -> None:
    ctx.deps.record(name)
    if ctx.deps.is_on(f"hold-{name}"):
        await ctx.deps.wait(f"go-{name}")
    if ctx.deps.is_on(f"exit-{name}"):
        raise SystemExit(f"{name} exits")
    if ctx.deps.is_on(f"skip-{name}"):
        raise Skip("nothing to do")
    if ctx.deps.is_on(f"fail-{name}"):
        raise RuntimeError(f"{name} down")


def step(name: str) -> Step:
    """Make a step with both functions."""
    return Step(name, run, undo, undo_retry=FAST)


def line(names: str | list[str], id: str = "line", **options: Any) -> Workflow:
    """Build a workflow of such steps, with the preset unless told otherwise."""
    options = {"policy": Policy.automa(), **options}
    return StepRegistry(*(step(n) for n in dict.fromkeys(names))).build_workflow(id, list(names), **options)


class Runs:
    """Starts runs of linear workflows on one worker."""

    def __init__(self, client: Client, task_queue: str) -> None:
        self.client, self.queue = client, task_queue
        self.last: WorkflowHandle[Any, Any]

    async def start(self, type_: str = "line") -> WorkflowHandle[Any, Any]:
        """Start a run, as the CLI does it, without an input."""
        self.last = await self.client.start_workflow(type_, id=new_id(), task_queue=self.queue)
        return self.last

    async def __call__(self, type_: str = "line") -> WorkflowReport:
        """Run to the end; give the report."""
        assert await (await self.start(type_)).result() is None
        return await self.report()

    async def fails(self, type_: str = "line") -> tuple[list[tuple[str, str]], WorkflowReport]:
        """Run to the end; give the failure's causes, and the report."""
        found = causes(await failure_of(await self.start(type_)))
        return found, await self.report()

    async def report(self) -> WorkflowReport:
        """Give the last run's report from its history."""
        return await linear.fetch_workflow_report(self.client, self.last.id)


@pytest.fixture
def runs(serve: Serve, task_queue: str) -> Any:
    """Serve workflows: ``async with runs(workflow) as run``."""

    @asynccontextmanager
    async def serving(*workflows: Workflow, **options: Any) -> AsyncIterator[Runs]:
        served = dict.fromkeys(entry for workflow in workflows for entry in workflow.definitions)
        async with serve(*served, **options) as client:
            yield Runs(client, task_queue)

    return serving


def rows(report: WorkflowReport, action: str) -> list[tuple[str, str]]:
    """Give the steps and statuses of the runs, or of the rollbacks."""
    return [(row.step_id, row.status.value) for row in report.step_reports if row.action == action]


def done(world: World) -> list[str]:
    """Give the runs and undos that were called, once each, in order."""
    return list(dict.fromkeys(world.calls))
