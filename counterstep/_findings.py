"""What needs a human: asked of the server and read from histories, without a worker."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from shlex import quote
from typing import Any

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionDescription
from temporalio.service import RPCError, RPCStatusCode

from activities import InvalidInput, Status
from counterstep._connection import unreadable
from counterstep.reports import (
    INTERNAL,
    MARKS,
    UNDOING,
    Kind,
    Pending,
    Report,
    RunInfo,
    Waiting,
    fetch_report,
    pending_of,
)
from counterstep.serving import CodecError
from flows._lookup import runs_of_flow

AnyReport = Report[Any, Any]
MEMO = "counterstep"
_PROBLEMS = "TemporalReportedProblems"
_WAITING = ("held", "parked")
_CUT_OFF = ("Terminated", "TimedOut")
_ITS_OWN = ("running", "held", "parked", "paused", "unwinding")
"""States of an open flow, which looks after what its children left."""
_CLOSED = {"stuck": "stuck", "terminated": "left", "timed_out": "left"}
"""States of a closed flow that is to be undone with what its children left, and the kind of its finding."""
_UNDOES = (*INTERNAL, "undo")
"""Types whose closed runs left nothing of their own: what they didn't undo stands at the run that did it."""


@dataclass(frozen=True)
class Finding:
    """Something that needs a human.

    Attributes:
        kind: ``problem``, ``retrying``, ``held``, ``parked``, ``stuck``, ``left`` or ``unpolled``.
        workflow_id: of the run; of a task queue that nobody polls, one of the runs that wait for it.
        run_id: of the run.
        what: in one line.
        commands: that help; the first one first.
        step: if it is about one.
        task_queue: if it is about one.
    """

    kind: str
    workflow_id: str
    run_id: str
    what: str
    commands: tuple[str, ...]
    step: str | None = None
    task_queue: str | None = None


@dataclass(frozen=True)
class Bounds:
    """How far to look.

    Attributes:
        since: closed runs that closed within this time.
        attempts: from so many on, a step retries again and again.
        limit: runs of each kind that are looked at, the newest.
    """

    since: timedelta
    attempts: int = 5
    limit: int = 200


async def find(client: Client, bounds: Bounds, left_out: Callable[[str], None]) -> AsyncIterator[Finding]:
    """Find what needs a human, in this order: open runs, then closed ones, then task queues.

    Args:
        client: asks.
        bounds: how far to look.
        left_out: told of each run that can't be read, and why.

    Raises:
        temporalio.service.RPCError: UNIMPLEMENTED on a server without visibility.
        CodecError: when the codec server doesn't decode.
    """
    looking = _Looking(client, bounds, left_out)
    parts = (looking.open(), looking.stuck(), looking.cut_off(), looking.undone_in_part(), looking.unpolled())
    for part in parts:
        async for finding in part:
            yield finding


async def parked(client: Client, workflow_id: str) -> AsyncIterator[Finding]:
    """Find what waits for an operator where a run is being undone."""
    looking = _Looking(client, Bounds(since=timedelta(0)), lambda _: None)
    async for run in client.list_workflows('ExecutionStatus = "Running" AND WorkflowId STARTS_WITH "undo:"'):
        if run.id.startswith(f"undo:{workflow_id}:"):
            for finding in await looking._waiting(run):
                yield finding


class _Looking:
    """Looks; notes the task queues that open runs need."""

    def __init__(self, client: Client, bounds: Bounds, left_out: Callable[[str], None]) -> None:
        self._client, self._bounds, self._left_out = client, bounds, left_out
        self._queues: dict[tuple[str, bool], WorkflowExecution] = {}
        self._looked_at: set[str] = set()

    async def open(self) -> AsyncIterator[Finding]:
        async for run in self._list('ExecutionStatus = "Running"', MARKS):
            self._queues.setdefault((run.task_queue, True), run)
            for finding in (*_problems(run), *await self._waiting(run), *await self._retrying(run)):
                yield finding

    async def stuck(self) -> AsyncIterator[Finding]:
        async for run in self._closed("Failed"):
            if (await _memo(run)).get("state") == "stuck":
                for finding in await self._left(run, "stuck"):
                    yield finding

    async def cut_off(self) -> AsyncIterator[Finding]:
        for status in _CUT_OFF:
            async for run in self._closed(status):
                for finding in await self._left(run, "left"):
                    yield finding

    async def undone_in_part(self) -> AsyncIterator[Finding]:
        """Look at runs of any end whose `undo` failed."""
        async for undo in self._closed("Failed", f'WorkflowType = "{UNDOING}"'):
            id, _, origin = undo.id.removeprefix("undo:").rpartition(":")
            newest = await self._newest(id, origin, origin)
            run = await self._described(id, newest) if newest else None
            for finding in await self._left(run, "stuck") if run else ():
                yield finding

    async def unpolled(self) -> AsyncIterator[Finding]:
        for (queue, workflows), run in self._queues.items():
            if not await polled(self._client, queue, workflows):
                yield _unpolled(queue, workflows, run)

    def _list(self, query: str, without: Sequence[str]) -> AsyncIterator[WorkflowExecution]:
        types = ", ".join(f'"{name}"' for name in without)
        query = f"{query} AND WorkflowType NOT IN ({types})" if without else query
        return self._client.list_workflows(query, limit=self._bounds.limit)

    async def _closed(self, status: str, only: str | None = None) -> AsyncIterator[WorkflowExecution]:
        since = (datetime.now(UTC) - self._bounds.since).isoformat()
        query = f'ExecutionStatus = "{status}" AND CloseTime > "{since}"'
        async for run in self._list(f"{query} AND {only}" if only else query, () if only else _UNDOES):
            yield run

    async def _waiting(self, run: WorkflowExecution) -> list[Finding]:
        """Give what waits for an operator in a run whose memo says so: all that its history knows of, or the run."""
        if (await _memo(run)).get("state") not in _WAITING:
            return []
        report = await self._report(run)
        described = await self._described(run.id, run.run_id)
        memo = await _memo(described) if described else {}
        waiting = report.run.waiting if report and report.run else ()
        if not waiting and memo.get("state") in _WAITING:  # still: what the list says may be old
            return [_held_run(run, memo)]
        return [_held(run, one, str(memo.get("reason", ""))) for one in waiting]

    async def _described(self, id: str, run_id: str | None = None) -> WorkflowExecutionDescription | None:
        try:
            return await self._client.get_workflow_handle(id, run_id=run_id).describe()
        except RPCError as error:
            _only_gone(error)
            return None

    async def _retrying(self, run: WorkflowExecution) -> list[Finding]:
        described = await self._described(run.id, run.run_id)
        if described is None:
            return []
        pending = pending_of(described)
        for one in pending:
            self._queues.setdefault((one.task_queue or run.task_queue, False), run)
        return [_again(run, one) for one in pending if one.attempt >= self._bounds.attempts]

    async def _left(self, run: WorkflowExecution, kind: str) -> list[Finding]:
        """Say what a closed run left that can be undone, and that nobody has undone or taken over since."""
        if run.run_id in self._looked_at:
            return []
        self._looked_at.add(run.run_id)
        report = await self._report(run)
        info = report.run if report else None
        if report is None or info is None or info.run_id != run.run_id:
            return []
        if info.taken_over_by or info.undoing in ("running", "completed"):
            return []
        undoable = {step.name: step.undoable for step in report.planned}
        left = [s.step for s in report.walk() if _in_place(s) and undoable.get(s.step, True)]
        if not left or await self._newest(run.id, run.run_id, info.origin) not in (None, run.run_id):
            return []
        above, state = await self._above(run)
        if above is not None:
            return await self._left(above, _CLOSED[state]) if state in _CLOSED else []
        return [_in_place_of(run, kind, info, left)]

    async def _newest(self, id: str, run_id: str, origin: str) -> str | None:
        """Give the run that stands for a flow: the newest of its resets; ``None`` when that can't be told."""
        try:
            runs = await runs_of_flow(self._client, id, run_id, origin)
        except InvalidInput as error:
            self._left_out(f"{id}: {error.message}")
            return None
        return runs[-1].run_id if runs else None

    async def _above(self, run: WorkflowExecution) -> tuple[WorkflowExecution | None, str]:
        """Find the flow above a child flow whose it is what that left, and its state: it undid it, or is to be undone with it."""
        above: WorkflowExecution | None = run
        while above is not None and above.parent_id is not None:
            above = await self._described(above.parent_id, above.parent_run_id)
            report = await self._report(above) if above else None
            info = report.run if report else None
            inside = [r for r in report.walk() if r.run and r.run.workflow_id == run.id] if report else []
            if info is None or not inside:
                continue
            its_own = info.state in (*_ITS_OWN, *_CLOSED) or info.taken_over_by or info.undoing == "running"
            if its_own or not any(map(_in_place, inside[0].walk())):
                return above, info.state
        return None, ""

    async def _report(self, run: WorkflowExecution) -> AnyReport | None:
        try:
            return await fetch_report(self._client, run.id, run.run_id)
        except CodecError:
            raise
        except RPCError as error:
            _only_gone(error)
        except Exception as error:  # whatever one history holds, the next run is looked at
            self._left_out(unreadable(run.id, run.run_id, error))
        return None


def _only_gone(error: RPCError) -> None:
    if error.status != RPCStatusCode.NOT_FOUND:
        raise error


async def _memo(run: WorkflowExecution) -> dict[str, Any]:
    """Give our memo, if there is one and it can be read."""
    try:
        value = (await run.memo()).get(MEMO)
    except Exception:
        return {}
    return value if isinstance(value, dict) else {}


def _of(run: WorkflowExecution) -> str:
    return f"--workflow-id {quote(run.id)}"


def _problems(run: WorkflowExecution) -> list[Finding]:
    told = [pair.value for pair in run.typed_search_attributes if pair.key.name == _PROBLEMS]
    return [
        Finding(
            "problem",
            run.id,
            run.run_id,
            f"{run.workflow_type} can't go on, and is tried again until fixed code arrives: {_listed(value)}",
            (f"temporal workflow show {_of(run)}", f"temporal workflow describe {_of(run)}"),
        )
        for value in told
    ]


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _held(run: WorkflowExecution, one: Waiting, reason: str) -> Finding:
    """Say what waits; why a deadline does, or what never began, only the memo tells."""
    named, _, said = reason.partition(": ")
    why = _line(one.why or (said if named == one.step else ""))
    undo = "undo of " if one.state == "parked" else ""
    return Finding(
        one.state,
        run.id,
        run.run_id,
        f"{undo}{one.step} ({one.what}) is {one.state}{f': {why}' if why else ''}",
        tuple(_update(run, one.step, name) for name in one.updates),
        step=one.step,
    )


def _update(run: WorkflowExecution, step: str, name: str) -> str:
    """Write the update of a step; an edit is nothing without an input."""
    given = {"step": step, **({"input": "…"} if name == "edit" else {}), "by": "…"}
    text = quote(json.dumps(given, ensure_ascii=False))
    return f"temporal workflow update execute {_of(run)} --input {text} --name {name}"


def _held_run(run: WorkflowExecution, memo: dict[str, Any]) -> Finding:
    state, reason = memo["state"], _line(str(memo.get("reason", "")))
    return Finding(
        state,
        run.id,
        run.run_id,
        f"{run.workflow_type} is {state}: {reason}",
        (f"temporal workflow query {_of(run)} --type status", f"counterstep report {quote(run.id)}"),
    )


def _again(run: WorkflowExecution, pending: Pending) -> Finding:
    """Say what is tried again and again; a stop would change nothing of an undo."""
    why = f": {_line(str(pending.failure.root))}" if pending.failure else ""
    here = f"--activity-id {quote(pending.activity_id)} {_of(run)}"
    stop = () if pending.is_undo else (f"temporal workflow update execute {_of(run)} --name stop",)
    return Finding(
        "retrying",
        run.id,
        run.run_id,
        f"{pending.activity_id} ({pending.type}) is at attempt {pending.attempt}{why}",
        (f"temporal activity pause {here}", *stop),
        step=pending.activity_id,
    )


def _in_place_of(run: WorkflowExecution, kind: str, info: RunInfo, left: list[str]) -> Finding:
    names = ", ".join(left[:5]) + (f" and {len(left) - 5} more" if len(left) > 5 else "")
    how = "is stuck; not undone" if kind == "stuck" else f"was {info.state.replace('_', ' ')}; still in place"
    if kind == "stuck" and info.state != "stuck":
        how = f"{info.state.replace('_', ' ')}, and its undo is stuck; not undone"
    return Finding(
        kind,
        run.id,
        run.run_id,
        f"{run.workflow_type} {how}: {names}",
        tuple(f"counterstep {name} {quote(run.id)} --run-id {run.run_id}" for name in ("undo", "report")),
    )


def _in_place(step: AnyReport) -> bool:
    """Whether a step took effect, or may have, and isn't undone."""
    if step.kind is not Kind.OPERATION or step.outcome not in (Status.DONE, Status.UNKNOWN):
        return False
    return step.undo is None or step.undo.outcome not in (Status.DONE, Status.SKIPPED)


async def polled(client: Client, queue: str, workflows: bool) -> bool:
    """Whether a worker has polled a task queue in the last minutes."""
    kind = TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW if workflows else TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
    request = DescribeTaskQueueRequest(
        namespace=client.namespace, task_queue=TaskQueue(name=queue), task_queue_type=kind
    )
    described = await client.workflow_service.describe_task_queue(request)
    recent = datetime.now(UTC) - timedelta(minutes=2)
    return any(poller.last_access_time.ToDatetime(tzinfo=UTC) > recent for poller in described.pollers)


def _unpolled(queue: str, workflows: bool, run: WorkflowExecution) -> Finding:
    what = "workflows" if workflows else "activities"
    return Finding(
        "unpolled",
        run.id,
        run.run_id,
        f"nobody polls task queue {queue} for {what}, and {run.id} waits for it",
        (f"counterstep worker --task-queue {quote(queue)} --module …",),
        task_queue=queue,
    )


def _line(text: str) -> str:
    first = text.splitlines()[0] if text else ""
    return first if len(first) <= 200 else f"{first[:199]}…"
