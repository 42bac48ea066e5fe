"""A worker that kills itself at chosen moments: before and after a call of a handler, or a workflow task that it answers.

Moments are ``before b 1``, ``after undo b 3`` (that call of b's undo), ``before task root 2`` and ``after task s 2``
(the second task that the run, or its child ``s``, answers). Nothing is answered, and no handler begins, while it dies.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import grpc
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryRequest, WorkflowServiceStub
from temporalio.client import Client
from temporalio.worker import Worker

from activities import Registry
from flows import CounterstepPlugin
from tests.support import World

_CLOSED = ("completed", "failed", "timed_out", "canceled")


def answered(events: Iterable[HistoryEvent]) -> int:
    """Count a run's answered tasks: where one only asks for more time for its local steps, the next is there at once."""
    kinds = [event.event_type for event in events]
    pairs = zip(kinds, [*kinds[1:], None], strict=True)
    more_time = EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED
    return sum(k == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED and then != more_time for k, then in pairs)


def _scheduled(events: Iterable[HistoryEvent]) -> dict[int, str]:
    """Give the calls that a run asked for, such as ``a`` and ``undo b``."""
    found = {}
    for event in events:
        if event.HasField("activity_task_scheduled_event_attributes"):
            step, _, undo = event.activity_task_scheduled_event_attributes.activity_id.partition(".")
            found[event.event_id] = f"undo {step}" if undo else step
    return found


def dispatched(events: Sequence[HistoryEvent]) -> Counter[str]:
    """Count how often the server sent each call to a worker, by its own word."""
    calls, found = _scheduled(events), Counter[str]()
    for event in events:
        if event.HasField("activity_task_started_event_attributes"):
            started = event.activity_task_started_event_attributes
            found[calls[started.scheduled_event_id]] += started.attempt
    return found


def _in_flight(events: Sequence[HistoryEvent]) -> list[str]:
    """Give the calls that a run waits for."""
    found = _scheduled(events)
    for event in events:
        for end in _CLOSED:
            if event.HasField(name := f"activity_task_{end}_event_attributes"):  # type: ignore[arg-type]
                del found[getattr(event, name).scheduled_event_id]
    return list(found.values())


class Mortal:
    """What handlers get: the world, and whether they are to die there.

    Attributes:
        world: has the moments (``die``), the deaths, the runs and all calls, outside the worker.
    """

    def __init__(self, folder: str, address: str) -> None:
        """Take the world's folder, and where Temporal is."""
        self.world = World(Path(folder))
        self._temporal = WorkflowServiceStub(grpc.insecure_channel(address))
        self._answering = asyncio.Lock()
        self._ids: dict[str, str] = {}
        self._leaving: set[str] = set()

    async def before(self, name: str, key: str) -> None:
        """Record a call, unless the worker dies before it."""
        async with self._answering:
            self._die(f"before {name} {self.world.calls.count((name, key)) + 1}")
            self.world.record(name, key)

    async def after(self, name: str, key: str) -> None:
        """Die, maybe, with a call's effect there and its end unknown."""
        async with self._answering:
            self._die(f"after {name} {self.world.calls.count((name, key))}")

    def watch(self, worker: Worker) -> None:
        """Take note of each run that the worker serves, and of each task that it answers."""
        bridge: Any = worker._bridge_worker
        poll, complete = bridge.poll_workflow_activation, bridge.complete_workflow_activation

        async def polled() -> Any:
            activation = await poll()
            for job in activation.jobs:
                if job.HasField("initialize_workflow"):
                    self._meet(activation.run_id, job.initialize_workflow.workflow_id)
                if job.HasField("remove_from_cache"):
                    self._leaving.add(activation.run_id)
            return activation

        async def completed(completion: Any) -> None:
            async with self._answering:
                if completion.run_id not in self._leaving:
                    self._at_task("before", completion.run_id, 1)
                await complete(completion)
                self._at_task("after", completion.run_id, 0)

        bridge.poll_workflow_activation, bridge.complete_workflow_activation = polled, completed

    def _meet(self, run: str, workflow: str) -> None:
        self._ids[run] = workflow
        self._leaving.discard(run)
        if workflow not in self.world.lines("runs"):
            self.world.append("runs", workflow)

    def _at_task(self, when: str, run: str, more: int) -> None:
        if any(moment.startswith(f"{when} task") for moment in self.world.lines("die")):
            name = self._ids[run].partition("/")[2] or "root"
            self._die(f"{when} task {name} {answered(self._events(self._ids[run])) + more}")

    def _die(self, moment: str) -> None:
        """Kill this process if the test wants it to die here, once."""
        died = [json.loads(line)[0] for line in self.world.lines("deaths")]
        if moment in self.world.lines("die") and moment not in died:
            runs = self.world.lines("runs")
            in_flight = [call for run in runs for call in _in_flight(self._events(run))]
            self.world.append("deaths", json.dumps([moment, len(self.world.calls), in_flight]))
            os.kill(os.getpid(), signal.SIGKILL)

    def _events(self, workflow: str) -> list[HistoryEvent]:
        """Ask for a run's history, while all else in this process waits."""
        request = GetWorkflowExecutionHistoryRequest(
            namespace="default", execution=WorkflowExecution(workflow_id=workflow)
        )
        return list(self._temporal.GetWorkflowExecutionHistory(request).history.events)


async def serve(
    address: str,
    queue: str,
    folder: str,
    *definitions: Any,
    began: Callable[[], None] = lambda: None,
    **options: Any,
) -> NoReturn:
    """Serve definitions until killed; say when that began."""
    mortal, second = Mortal(folder, address), timedelta(seconds=1)
    plugin = CounterstepPlugin(Registry(*definitions), deps=mortal, heartbeat_timeout=2 * second, **options)
    client = await Client.connect(address, plugins=[plugin])
    worker = Worker(client, task_queue=queue, sticky_queue_schedule_to_start_timeout=second / 5)
    mortal.watch(worker)
    async with worker:
        began()
        while True:
            await asyncio.sleep(3600)
