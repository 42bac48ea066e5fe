"""Temporal's sandbox as we use it: the framework passes through, and of a module's flows one is declared.

The sandbox executes a user's modules again for each run. To make a class a Temporal workflow takes milliseconds
there, so that only the run's own flow becomes one at once; another does when its ``run`` is asked for.

For each payload that goes in or out, the worker asks a run for the payload's context. The SDK enters the sandbox
for each such question, which takes more time than the run itself; no code of users is in the answer, so that ours
is given outside.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from temporalio import workflow
from temporalio.worker import (
    UnsandboxedWorkflowRunner,
    WorkflowInstance,
    WorkflowInstanceDetails,
    WorkflowRunner,
)
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

PASSED_THROUGH = (
    *("activities", "flows", "counterstep", "pydantic", "pydantic_core", "semver", "rich"),
    # Flows that are declared beside their tests: to execute it again takes 0.2 s for each run.
    *("pytest", "_pytest"),
)

_RUNNING: ContextVar[str | None] = ContextVar("counterstep_running", default=None)
_MADE: ContextVar[WorkflowInstance] = ContextVar("counterstep_made")


class OneFlow(SandboxedWorkflowRunner):
    """The SDK's sandbox, which says whose run it is made for, and answers for it outside."""

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """See base class."""
        token = _RUNNING.set(det.defn.name)
        try:
            return _Outside(super().create_instance(det), _MADE.get())
        finally:
            _RUNNING.reset(token)


class Inside(UnsandboxedWorkflowRunner):
    """Makes the instance in the sandbox, and shows it to :class:`OneFlow`."""

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """See base class."""
        made = super().create_instance(det)
        _MADE.set(made)
        return made


class _Outside(WorkflowInstance):
    """A run in its sandbox: activations go into it, questions about payloads to the instance itself."""

    def __init__(self, sandboxed: WorkflowInstance, inside: WorkflowInstance) -> None:
        self._sandboxed, self._inside = sandboxed, inside

    def activate(self, act: Any) -> Any:
        return self._sandboxed.activate(act)

    def get_info(self) -> workflow.Info:
        return self._sandboxed.get_info()

    def get_thread_id(self) -> int | None:
        return self._sandboxed.get_thread_id()

    def get_serialization_context(self, command_info: Any) -> Any:
        return self._inside.get_serialization_context(command_info)

    def get_external_store_context(self, command_info: Any) -> Any:
        return self._inside.get_external_store_context(command_info)


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
    if type(runner) is SandboxedWorkflowRunner and runner.runner_class is UnsandboxedWorkflowRunner:
        return OneFlow(runner_class=Inside, restrictions=restrictions)
    return dataclasses.replace(runner, restrictions=restrictions)
