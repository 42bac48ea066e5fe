"""Resetting runs that have ended, to the task that scheduled each step: nothing undone ever counts as done."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowHandle

from counterstep.reports import fetch_events, read_run
from flows.testing._bench import Bench, Fresh, told
from flows.testing._cases import Faults
from flows.testing._checks import difference
from flows.testing._coverage import Cell
from flows.testing._worker import Ran

_ELSEWHERE = Cell("not applicable", why=("it isn't in the history of the newest run",))


@dataclass(frozen=True)
class After:
    """What must come of a reset.

    Attributes:
        refused: whether something was undone, so that the run must end with ``ResetAfterUndo``.
        world: that a run which goes on must leave; ``None`` leaves it open: a step that is for once only is done again.
    """

    refused: bool
    world: Any


async def resets(
    bench: Bench, faults: Faults, steps: Collection[str], after: After
) -> AsyncIterator[tuple[str, Cell]]:
    """Run a flow to its end, reset it to each of its steps, one after the other, and look at what comes of it.

    Args:
        bench: runs it.
        faults: what makes it unwind, if it is to.
        steps: those to reset it to.
        after: what must come of it.
    """
    async with bench.fresh() as fresh:
        ran, _ = await bench.run(fresh, faults)
        client = bench.worker.client
        points = await _points(client, ran.handle)
        for step in steps:
            if step not in points:
                yield step, _ELSEWHERE
                continue
            try:
                before = await bench.look(fresh.deps)
                again = await _reset(client, ran.handle, points[step])
                found = await _outcome(bench, fresh, again, after, before)
            except Exception as error:  # the other steps may hold
                found = [told(error)]
            yield step, Cell("broken" if found else "held", 1, tuple(found))


async def _outcome(
    bench: Bench, fresh: Fresh, handle: WorkflowHandle[Any, Any], after: After, before: Any
) -> list[str]:
    trial = bench.worker.watch(handle.id, fresh.deps)
    ran = await bench.ended(handle, trial)
    now = await bench.look(fresh.deps)
    if not after.refused:
        left = () if after.world is None else difference(after.world, now, "as after a run without faults")
        return [*_not(ran, "completed"), *left]
    called = [f"after the reset {call.place} was called" for call in trial.calls]
    kind = ran.failure.type if ran.failure else "no failure"
    refused = [] if kind == "ResetAfterUndo" else [f"the reset ended with {kind}, not with ResetAfterUndo"]
    return [*refused, *called, *difference(before, now, "as before the reset")]


def _not(ran: Ran, state: str) -> list[str]:
    return [] if ran.state == state else [f"after the reset it ended {ran.state}, not {state}: {ran.failure}"]


async def _points(client: Client, handle: WorkflowHandle[Any, Any]) -> Mapping[str, int]:
    """Give for each step the workflow task that scheduled it, by the event that ended the task."""
    events = await fetch_events(client, handle.id)
    by_id = {event.event_id: event for event in events}
    found = {}
    for step in read_run(handle.id, events).forward():
        event = by_id[step.order]
        attributes = getattr(event, event.WhichOneof("attributes") or "")
        found[step.step] = attributes.workflow_task_completed_event_id
    return found


async def _reset(client: Client, handle: WorkflowHandle[Any, Any], event: int) -> WorkflowHandle[Any, Any]:
    described = await client.get_workflow_handle(handle.id).describe()
    run_id = handle.first_execution_run_id or described.run_id
    answer = await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=handle.id, run_id=run_id),
            reason="sweep",
            workflow_task_finish_event_id=event,
            request_id=uuid4().hex,
        )
    )
    return client.get_workflow_handle(handle.id, run_id=answer.run_id)
