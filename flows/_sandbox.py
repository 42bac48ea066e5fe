"""Temporal's sandbox as we use it: the framework passes through, and of a module's flows one is declared.

The sandbox executes a user's modules again for each run. To make a class a Temporal workflow takes milliseconds
there, so that only the run's own flow becomes one at once; another does when its ``run`` is asked for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

PASSED_THROUGH = ("activities", "flows", "counterstep", "pydantic", "pydantic_core", "semver", "rich")

_RUNNING: ContextVar[str | None] = ContextVar("counterstep_running", default=None)


class OneFlow(SandboxedWorkflowRunner):
    """The SDK's sandbox, which says whose run it is made for."""

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """See base class."""
        token = _RUNNING.set(det.defn.name)
        try:
            return super().create_instance(det)
        finally:
            _RUNNING.reset(token)


class Later:
    """Stands for a flow's ``run`` until somebody asks for it, where the sandbox was made for another flow."""

    def __init__(self, declare: Callable[[], None]) -> None:
        """Take what makes the class a workflow, with a ``run`` in this one's place."""
        self._declare = declare

    def __get__(self, instance: Any, owner: Any) -> Any:
        """Declare the class that this stands in, and give its ``run``."""
        self._declare()
        return (owner if instance is None else instance).run


def another_runs(type_: str) -> bool:
    """Whether the sandbox is being made for a run of another flow."""
    return _RUNNING.get() not in (None, type_)


def with_passthrough(given: WorkflowRunner | None) -> WorkflowRunner:
    """Let the framework into the sandbox as it is; another runner than the SDK's sandbox stays as it is."""
    runner = given or SandboxedWorkflowRunner()
    if not isinstance(runner, SandboxedWorkflowRunner):
        return runner
    restrictions = runner.restrictions.with_passthrough_modules(*PASSED_THROUGH)
    if type(runner) is SandboxedWorkflowRunner:
        return OneFlow(runner_class=runner.runner_class, restrictions=restrictions)
    return dataclasses.replace(runner, restrictions=restrictions)
