"""The gateway's only door to Temporal: a few calls, each answered at once or refused in the gateway's own words."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar, cast

from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import code_pb2
from temporalio.api.common.v1 import Memo, Payload, WorkflowExecution
from temporalio.api.enums.v1 import HistoryEventFilterType, WorkflowExecutionStatus
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import PendingActivityInfo, WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    DescribeNamespaceRequest,
    DescribeWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryRequest,
    ListWorkflowExecutionsRequest,
    RequestCancelWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from counterstep.gateway._errors import GatewayError, internal, unavailable
from counterstep.gateway._start_request import Start, taken

T = TypeVar("T")
TIMEOUT = timedelta(seconds=10)
POLL = timedelta(seconds=70)
"""Longer than Temporal holds a long poll."""

_log = logging.getLogger("counterstep.gateway")
_OPEN = (
    WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING,
    WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_PAUSED,
)
_DOWN = (RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED)


@dataclass(frozen=True)
class Run:
    """A run, as Temporal describes or lists it.

    Attributes:
        first_run_id: of its chain; empty where Temporal listed it.
        type: the workflow type.
        status: of ``WorkflowExecutionStatus``.
        start: microseconds since the epoch, as lists compare them.
        started: the same, for people.
        closed: when it ended.
        memo: what it shows of itself.
        pending: ids of the activities at work; empty where Temporal listed it.
    """

    workflow_id: str
    run_id: str
    first_run_id: str
    type: str
    status: int
    start: int
    started: Timestamp
    closed: Timestamp | None
    memo: Memo
    pending: tuple[str, ...] = ()

    @classmethod
    def of(cls, info: WorkflowExecutionInfo, pending: Iterable[PendingActivityInfo] = ()) -> Run:
        """Take what of a description matters here."""
        return cls(
            info.execution.workflow_id,
            info.execution.run_id,
            info.first_run_id,
            info.type.name,
            info.status,
            micros(info.start_time),
            info.start_time,
            info.close_time if info.HasField("close_time") else None,
            info.memo,
            tuple(activity.activity_id for activity in pending),
        )

    @property
    def open(self) -> bool:
        """Whether it hasn't ended, or has just gone on as new."""
        return self.status in _OPEN or self.continued

    @property
    def end(self) -> str:
        """How Temporal says that it was closed, in our words."""
        name = WorkflowExecutionStatus.Name(cast("WorkflowExecutionStatus.ValueType", self.status))
        word = name.removeprefix("WORKFLOW_EXECUTION_STATUS_").lower()
        return {"canceled": "cancelled"}.get(word, word)

    @property
    def continued(self) -> bool:
        """Whether another run went on in its place."""
        return self.status == WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW


def micros(time: Timestamp) -> int:
    """Give microseconds since the epoch, which is as fine as lists compare."""
    return time.seconds * 1_000_000 + time.nanos // 1000


class Temporal:
    """What the gateway asks of Temporal. Nothing is retried here: clients do that, and know for how long."""

    def __init__(self, client: Client) -> None:
        """Take a client, which may be lazy: the gateway starts, and goes on, without Temporal."""
        self.client = client
        self.namespace = client.namespace

    async def describe(self, workflow_id: str) -> Run | None:
        """Describe the newest run; none if there is none."""
        request = DescribeWorkflowExecutionRequest(
            namespace=self.namespace, execution=WorkflowExecution(workflow_id=workflow_id)
        )
        call = self.client.workflow_service.describe_workflow_execution
        answer = await found(call(request, timeout=TIMEOUT))
        return Run.of(answer.workflow_execution_info, answer.pending_activities) if answer else None

    async def closing(self, run: Run, *, wait: bool = False) -> HistoryEvent | None:
        """Give the event that closed a run.

        Args:
            run: the run.
            wait: whether to wait for it, as long as Temporal lets one wait; then there may be none.
        """
        request = GetWorkflowExecutionHistoryRequest(
            namespace=self.namespace,
            execution=WorkflowExecution(workflow_id=run.workflow_id, run_id=run.run_id),
            wait_new_event=wait,
            history_event_filter_type=HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT,
        )
        call = self.client.workflow_service.get_workflow_execution_history
        answer = await found(call(request, timeout=POLL if wait else TIMEOUT))
        events = answer.history.events if answer else ()
        return events[-1] if events else None

    async def cancel(self, run: Run) -> None:
        """Ask for a flow's cancel; one that has ended meanwhile stays as it is."""
        request = RequestCancelWorkflowExecutionRequest(
            namespace=self.namespace,
            workflow_execution=WorkflowExecution(workflow_id=run.workflow_id),
            first_execution_run_id=run.first_run_id,
            identity=self.client.identity,
            reason="google.longrunning CancelOperation",
        )
        call = self.client.workflow_service.request_cancel_workflow_execution
        await found(call(request, timeout=TIMEOUT))

    async def start(self, start: Start, *, replace: bool = False) -> str:
        """Start a workflow; give its run id.

        Args:
            start: what to start.
            replace: whether one that is open under this id is terminated first.

        Raises:
            GatewayError: ALREADY_EXISTS, when the id is taken.
        """
        request = start.request(self.namespace, self.client.identity, replace)
        call = self.client.workflow_service.start_workflow_execution
        try:
            return str((await call(request, timeout=TIMEOUT)).run_id)
        except (RPCError, RuntimeError) as error:
            if isinstance(error, RPCError) and error.status == RPCStatusCode.ALREADY_EXISTS:
                raise taken(start.id) from None
            raise refused(error) from error

    async def terminate(self, run: Run) -> None:
        """Terminate a workflow of the gateway's own."""
        request = TerminateWorkflowExecutionRequest(
            namespace=self.namespace,
            workflow_execution=WorkflowExecution(workflow_id=run.workflow_id, run_id=run.run_id),
            identity=self.client.identity,
        )
        call = self.client.workflow_service.terminate_workflow_execution
        await found(call(request, timeout=TIMEOUT))

    async def runs(self, query: str, size: int, token: bytes = b"") -> tuple[list[Run], bytes]:
        """List runs, and what to ask with for more."""
        request = ListWorkflowExecutionsRequest(
            namespace=self.namespace, query=query, page_size=size, next_page_token=token
        )
        call = self.client.workflow_service.list_workflow_executions
        answer = await asked(call(request, timeout=TIMEOUT))
        return [Run.of(info) for info in answer.executions], answer.next_page_token

    async def count(self, query: str) -> int:
        """Count runs."""
        request = CountWorkflowExecutionsRequest(namespace=self.namespace, query=query)
        call = self.client.workflow_service.count_workflow_executions
        return int((await asked(call(request, timeout=TIMEOUT))).count)

    async def check(self) -> None:
        """Make sure that Temporal answers, and knows the namespace."""
        request = DescribeNamespaceRequest(namespace=self.namespace)
        call = self.client.workflow_service.describe_namespace
        await asked(call(request, timeout=timedelta(seconds=2)))

    async def decoded(self, payload: Payload) -> Payload:
        """Undo the module's codec.

        Raises:
            GatewayError: INTERNAL, when it can't be: mostly the codec's module isn't given.
        """
        codec = self.client.data_converter.payload_codec
        if codec is None:
            return payload
        try:
            return (await codec.decode([payload]))[0]
        except Exception as error:
            _log.exception("the data converter's codec can't decode a payload")
            raise internal() from error


async def asked(call: Awaitable[T]) -> T:
    """Await a call.

    Raises:
        GatewayError: whatever Temporal refuses, in the gateway's words.
    """
    try:
        return await call
    except (RPCError, RuntimeError) as error:
        raise refused(error) from error


async def found(call: Awaitable[T]) -> T | None:
    """Await a call; none if Temporal knows no such run."""
    try:
        return await call
    except (RPCError, RuntimeError) as error:
        if isinstance(error, RPCError) and error.status == RPCStatusCode.NOT_FOUND:
            return None
        raise refused(error) from error


def refused(error: RPCError | RuntimeError) -> GatewayError:
    """Map what Temporal refuses; only what a caller can act on keeps its code.

    A client that never reached Temporal raises a ``RuntimeError``.
    """
    if not isinstance(error, RPCError) or error.status in _DOWN or "transport error" in error.message:
        _log.warning("Temporal doesn't answer: %s", error)
        return unavailable()
    if error.status == RPCStatusCode.RESOURCE_EXHAUSTED:
        return GatewayError(code_pb2.RESOURCE_EXHAUSTED, "TEMPORAL_BUSY", "Temporal is busy; try again later")
    _log.error("Temporal refused: %s: %s", error.status.name, error.message)
    return internal()
