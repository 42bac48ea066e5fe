"""What tests share: the world outside the worker, and asking Temporal about runs."""

from __future__ import annotations

import asyncio
import fcntl
import json
import shutil
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest, ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.service import RPCError

TIMEOUT = 30.0


def binary(name: str) -> str:
    """Find a program beside this Python, or on the path."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    assert found, f"{name} isn't installed: run make test, which installs it"
    return found


def dev_server(port: int) -> list[str]:
    """Give the command that starts a dev server without its UI."""
    command = [binary("temporal"), "server", "start-dev", "--headless", "--ip", "127.0.0.1"]
    return [*command, "--port", str(port)]


@dataclass(frozen=True)
class World:
    """Side effects and calls, in a file that outlives workers. Handlers get it as ``ctx.deps``."""

    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def record(self, *call: Any) -> int:
        """Append a call; give how many equal ones there are now."""
        line = json.dumps(call)
        with (self.folder / "calls").open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(line + "\n")
            file.flush()
            file.seek(0)
            return file.read().splitlines().count(line)

    def append(self, name: str, line: str) -> None:
        """Append a line to a file of its own: for many calls, which :meth:`record` would count each time."""
        with (self.folder / name).open("a") as file:
            file.write(line + "\n")

    def effect(self, name: str, key: str) -> None:
        """Do something once for each key, in an order that is kept; one write, of which a kill leaves no half."""
        if f"{name}@{key}" not in self.lines("effects"):
            self.append("effects", f"{name}@{key}")

    @property
    def effects(self) -> list[str]:
        """The names of what was done once, in order."""
        return [line.split("@")[0] for line in self.lines("effects")]

    def lines(self, name: str) -> list[str]:
        """Give the lines of such a file."""
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    @property
    def calls(self) -> list[Any]:
        """All calls in order; one that was recorded with a single value is that value."""
        path = self.folder / "calls"
        rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [row[0] if len(row) == 1 else tuple(row) for row in rows]

    def switch(self, name: str, on: bool = True) -> None:
        """Turn a named switch on or off, seen by every process."""
        path = self._switch(name)
        path.touch() if on else path.unlink(missing_ok=True)

    def is_on(self, name: str) -> bool:
        """Whether a named switch is on."""
        return self._switch(name).exists()

    def _switch(self, name: str) -> Path:
        return self.folder / f"switch-{name.replace('/', '~')}"

    async def wait(self, name: str, timeout: float = TIMEOUT) -> None:
        """Wait until a switch is on (in a handler: a gate that the test opens)."""
        await eventually(lambda: self.is_on(name), timeout)

    async def until(self, *call: Any, timeout: float = TIMEOUT) -> None:
        """Wait until a call was recorded."""
        wanted = call[0] if len(call) == 1 else call
        await eventually(lambda: wanted in self.calls, timeout)


async def eventually(condition: Callable[[], Any], timeout: float = TIMEOUT) -> None:
    """Wait until a condition holds; the timeout only ends a test that has failed."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.02)


async def deleted(client: Client, id: str, run_id: str | None = None) -> None:
    """Delete a closed run, as retention does, and wait until it is gone."""
    run_id = run_id or (await client.get_workflow_handle(id).describe()).run_id
    execution = WorkflowExecution(workflow_id=id, run_id=run_id)
    request = DeleteWorkflowExecutionRequest(namespace=client.namespace, workflow_execution=execution)
    await client.workflow_service.delete_workflow_execution(request)
    with pytest.raises(RPCError, match="not found"):
        while True:
            await client.get_workflow_handle(id, run_id=run_id).describe()
            await asyncio.sleep(0.1)


def new_id(name: str = "run") -> str:
    """Give a workflow id of its own."""
    return f"{name}-{uuid.uuid4().hex[:8]}"


async def failure_of(handle: WorkflowHandle[Any, Any], timeout: float = TIMEOUT) -> BaseException:
    """Wait for a run that fails, and give its failure."""
    try:
        value = await asyncio.wait_for(handle.result(), timeout)
    except WorkflowFailureError as error:
        assert error.cause is not None
        return error.cause
    raise AssertionError(f"the run completed with {value!r}")


def causes(error: BaseException) -> list[tuple[str, str]]:
    """Give type and message of a failure and its causes, outermost first."""
    found = []
    current: BaseException | None = error
    while current is not None:
        found.append(
            (
                getattr(current, "type", None) or type(current).__name__,
                getattr(current, "message", str(current)),
            )
        )
        current = current.__cause__
    return found


async def events_of(handle: WorkflowHandle[Any, Any]) -> list[str]:
    """Give the types of a run's events, such as ``ACTIVITY_TASK_SCHEDULED``.

    Workflow tasks that timed out, as they do on a busy machine, are left out: they were tried again.
    """
    names: list[str] = []
    async for event in handle.fetch_history_events():
        names.append(EventType.Name(event.event_type).removeprefix("EVENT_TYPE_"))
        if names[-3:] == ["WORKFLOW_TASK_SCHEDULED", "WORKFLOW_TASK_STARTED", "WORKFLOW_TASK_TIMED_OUT"]:
            del names[-3:]
    return names


async def reset(client: Client, handle: WorkflowHandle[Any, Any], event_id: int) -> WorkflowHandle[Any, Any]:
    """Reset a run to the workflow task that ended at an event; give the new run."""
    described = await handle.describe()
    answer = await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=handle.id, run_id=described.run_id),
            reason="test",
            workflow_task_finish_event_id=event_id,
            request_id=uuid.uuid4().hex,
        )
    )
    return client.get_workflow_handle(handle.id, run_id=answer.run_id)
