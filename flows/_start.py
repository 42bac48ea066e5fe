"""Starting a flow from Python: typed, checked before anything starts, eagerly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, overload
from uuid import uuid4

from temporalio.client import Client, WorkflowHandle
from temporalio.common import RawValue

from activities import EmptyInput
from activities._wire import json_payload
from flows._actions import Action
from flows._linear import Workflow
from flows._resume import RunRef
from flows._saga import Saga
from flows._sequence import Sequence
from flows._undone import UNDO, Undone

In = TypeVar("In")
Out = TypeVar("Out")
TASK_QUEUE = "counterstep"


@overload
async def start(
    client: Client, flow: type[Sequence[In, Out]], input: In, *, id: str, task_queue: str = ...,
    memo: Mapping[str, Any] | None = ..., **options: Any,
) -> WorkflowHandle[Any, Out]: ...  # fmt: skip
@overload
async def start(
    client: Client, flow: Saga[In, Out], input: In, *, id: str, task_queue: str = ...,
    memo: Mapping[str, Any] | None = ..., **options: Any,
) -> WorkflowHandle[Any, Out]: ...  # fmt: skip
@overload
async def start(
    client: Client, flow: str | Action | Workflow, input: Any = ..., *, id: str, task_queue: str = ...,
    memo: Mapping[str, Any] | None = ..., **options: Any,
) -> WorkflowHandle[Any, Any]: ...  # fmt: skip
async def start(
    client: Client,
    flow: Any,
    input: Any = None,
    *,
    id: str,
    task_queue: str = TASK_QUEUE,
    memo: Mapping[str, Any] | None = None,
    **options: Any,
) -> WorkflowHandle[Any, Any]:
    """Start a flow.

    Args:
        client: made with :class:`flows.CounterstepPlugin`.
        flow: a sequence class, a saga, an action, a linear workflow, or a name: ``id@1.2.0``, ``id@^1``, ``id``.
        input: the start input; checked here unless the flow is given by name. A linear workflow has none.
        id: the workflow id.
        task_queue: that workers serve.
        memo: such as ``{"resume_from": workflow_id}``.
        options: of ``Client.start_workflow``.

    Returns:
        The handle; its result has the flow's output type.

    Raises:
        InvalidInput, NotSerializable: before anything is started.
        temporalio.exceptions.WorkflowAlreadyStartedError: when a run with this id is open.
    """
    if isinstance(flow, Workflow) and input is None:
        input = EmptyInput()
    if isinstance(flow, (Action, Workflow)):
        flow = flow.flow
    name, value, result = str(flow), input, None
    if isinstance(flow, Saga) or (isinstance(flow, type) and issubclass(flow, Sequence)):
        name, result = str(flow.definition), flow.output.type
        value = RawValue(json_payload(flow.input.dump(input, f"{name}: input")))
    return await client.start_workflow(
        name,
        value,
        id=id,
        task_queue=task_queue,
        memo=memo,
        result_type=result,
        request_eager_start=True,
        **options,
    )


async def undo(
    client: Client,
    workflow_id: str,
    *,
    run_id: str | None = None,
    id: str | None = None,
    task_queue: str = TASK_QUEUE,
) -> Undone:
    """Undo what a closed run left in place, once, and wait for the end of it.

    Args:
        client: made with :class:`flows.CounterstepPlugin`.
        workflow_id: of the run.
        run_id: of the run; the newest unless given.
        id: workflow id of the undo itself; one of its own unless given.
        task_queue: that workers with the run's operations serve.

    Raises:
        temporalio.client.WorkflowFailureError: its cause is ``InvalidInput`` when the run is open, gone, or taken
            over, and ``Stuck``, naming the steps, when something is not undone.
    """
    ref = RunRef(workflow_id=workflow_id, run_id=run_id)
    id = id or f"undo-{workflow_id}-{uuid4().hex[:8]}"
    undone: Undone = await client.execute_workflow(
        UNDO, ref, id=id, task_queue=task_queue, result_type=Undone
    )
    return undone
