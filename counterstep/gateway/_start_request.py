"""Starting a workflow: what Temporal is asked for.

The client's own call would try again for ten seconds when Temporal is down.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from uuid import uuid4

from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2
from temporalio.api.common.v1 import Header, Memo, Payload, Payloads, WorkflowType
from temporalio.api.enums.v1 import WorkflowIdConflictPolicy, WorkflowIdReusePolicy
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest

from counterstep.gateway._errors import GatewayError

_TAKEN = "ID_TAKEN"


@dataclass(frozen=True)
class Start:
    """A workflow to be started.

    Attributes:
        type: the workflow type.
        id: the workflow id.
        queue: that workers serve.
        input: its only one.
        memo: what it shows of itself from the start.
        timeout: of the whole workflow.
        once: whether the id may be used only once, also after the workflow has closed.
        header: such as the trace it belongs to.
    """

    type: str
    id: str
    queue: str
    input: Payload | None = None
    memo: dict[str, Payload] = field(default_factory=dict)
    timeout: timedelta | None = None
    once: bool = False
    header: dict[str, Payload] = field(default_factory=dict)

    def request(self, namespace: str, identity: str, replace: bool) -> StartWorkflowExecutionRequest:
        """Give what Temporal is asked for."""
        request = StartWorkflowExecutionRequest(
            namespace=namespace,
            workflow_id=self.id,
            workflow_type=WorkflowType(name=self.type),
            task_queue=TaskQueue(name=self.queue),
            input=Payloads(payloads=[self.input] if self.input else []),
            memo=Memo(fields=self.memo),
            header=Header(fields=self.header),
            identity=identity,
            request_id=uuid4().hex,
            workflow_id_reuse_policy=_REUSE[self.once],
            workflow_id_conflict_policy=_CONFLICT[replace],
        )
        if self.timeout is not None:
            timeout = Duration()
            timeout.FromTimedelta(self.timeout)
            request.workflow_execution_timeout.CopyFrom(timeout)
        return request


_REUSE = {
    False: WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
    True: WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
}
_CONFLICT = {
    False: WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
    True: WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING,
}


def taken(workflow_id: str) -> GatewayError:
    """Say that an id is in use."""
    said = f"there is an operation with the id {workflow_id} already"
    return GatewayError(code_pb2.ALREADY_EXISTS, _TAKEN, said, {"operation_id": workflow_id})


def already_there(error: GatewayError) -> bool:
    """Whether a start was refused because its id is in use."""
    return error.reason == _TAKEN
