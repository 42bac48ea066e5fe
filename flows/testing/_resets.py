"""Resetting runs that have ended, to each of their workflow tasks: nothing undone ever counts as done."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowHandle

from activities import Status
from counterstep.reports import Report, fetch_events, read_run
from flows.testing._bench import Bench, Fresh, told
from flows.testing._checks import difference
from flows.testing._coverage import Cell
from flows.testing._planning import Faults
from flows.testing._worker import FlowWorker, Ran, leaves_of

_ELSEWHERE = Cell("not applicable", why=("it isn't in the history of the newest run",))


@dataclass(frozen=True)
class After:
    """What must come of a reset.

    Attributes:
        refused: whether something was undone, so that the run must end with ``ResetAfterUndo``.
        world: that a run which goes on must leave; ``None`` leaves it open: a step that is for once only is done again.
        lost: how the run may end where a step that is for once only was in flight where it was reset to, by step: that is
            lost then, with an unknown outcome.
    """

    refused: bool
    world: Any
    lost: Mapping[str, frozenset[str]]


async def resets(
    bench: Bench, faults: Faults, steps: Collection[str], after: After
) -> AsyncIterator[tuple[str, Cell, int]]:
    """Run a flow to its end, reset it to each task of its steps, one after the other, and look at what comes of it.

    Args:
        bench: runs it.
        faults: what makes it unwind, if it is to.
        steps: those whose tasks to reset it to.
        after: what must come of it.

    Yields:
        Each step, its cell, and how many runs there were: a task that belongs to several steps is tried once.
    """
    async with bench.fresh() as fresh:
        ran, _ = await bench.run(fresh, faults)
        run_id, points = await _points(bench.worker, ran.handle)
        tried: dict[int, list[str]] = {}
        for step in steps:
            tasks = points.get(step, ())
            new = [task for task in tasks if task not in tried]
            for task in new:
                tried[task], undone = await _tried(bench, fresh, ran.handle, run_id, task, after)
                after = replace(after, refused=after.refused or undone)
            found = [f"(event {task}) {line}" for task in tasks for line in tried[task]]
            held = Cell("broken" if found else "held", len(tasks), tuple(found))
            yield step, held if tasks else _ELSEWHERE, len(new)


async def _tried(
    bench: Bench, fresh: Fresh, handle: WorkflowHandle[Any, Any], run_id: str, task: int, after: After
) -> tuple[list[str], bool]:
    """Reset a run to a task; say what is wrong with what came of it, and whether that undid something."""
    try:
        before = await bench.look(fresh.deps)
        again = await _reset(bench.worker.client, handle.id, run_id, task)
        return await _outcome(bench, fresh, again, after, before)
    except Exception as error:  # the other tasks may hold
        return [told(error)], False


async def _outcome(
    bench: Bench, fresh: Fresh, handle: WorkflowHandle[Any, Any], after: After, before: Any
) -> tuple[list[str], bool]:
    trial = bench.worker.watch(handle.id, fresh.deps)
    ran = await bench.ended(handle, trial)
    now = await bench.look(fresh.deps)
    if not after.refused:
        left = () if after.world is None else difference(after.world, now, "as after a run without faults")
        leaves = leaves_of(ran.report)
        undone = any(leaf.undo is not None for leaf in leaves.values())
        return [*_not(ran, _ends(leaves, after)), *left], undone
    called = [f"after the reset {call.place} was called" for call in trial.calls]
    kind = ran.failure.type if ran.failure else "no failure"
    refused = [] if kind == "ResetAfterUndo" else [f"the reset ended with {kind}, not with ResetAfterUndo"]
    return [*refused, *called, *difference(before, now, "as before the reset")], False


def _ends(leaves: Mapping[str, Report[Any, Any]], after: After) -> frozenset[str]:
    """Say how a run may end that goes on."""
    lost = [name for name in after.lost if name in leaves and leaves[name].outcome is Status.UNKNOWN]
    return frozenset[str]().union(*(after.lost[name] for name in lost)) or frozenset({"completed"})


def _not(ran: Ran, ends: frozenset[str]) -> list[str]:
    if ran.state in ends:
        return []
    return [f"after the reset it ended {ran.state}, not {' or '.join(sorted(ends))}: {ran.failure}"]


async def _points(
    worker: FlowWorker, handle: WorkflowHandle[Any, Any]
) -> tuple[str, Mapping[str, Sequence[int]]]:
    """Give the newest run, and for each step its workflow tasks, by the events that ended them.

    A task belongs to the steps that it scheduled, or whose undos it did; if it scheduled none, to those of the task before
    it. So every task belongs to some step, those of the unwinding too.
    """
    run_id = (await worker.client.get_workflow_handle(handle.id).describe()).run_id
    events = await fetch_events(worker.client, handle.id, run_id)
    asked: dict[int, list[str]] = {}
    by_id = {event.event_id: event for event in events}
    for step in read_run(handle.id, events).steps:
        event = by_id[step.order]
        attributes = getattr(event, event.WhichOneof("attributes") or "")
        name = worker.place(handle.id, step).step
        asked.setdefault(attributes.workflow_task_completed_event_id, []).append(name)
    latest = asked[min(asked)] if asked else []
    found: dict[str, list[int]] = {}
    for event in events:
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
            latest = asked.get(event.event_id, latest)
            for name in dict.fromkeys(latest):
                found.setdefault(name, []).append(event.event_id)
    return run_id, found


async def _reset(client: Client, workflow_id: str, run_id: str, event: int) -> WorkflowHandle[Any, Any]:
    answer = await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
            reason="sweep",
            workflow_task_finish_event_id=event,
            request_id=uuid4().hex,
        )
    )
    return client.get_workflow_handle(workflow_id, run_id=answer.run_id)
