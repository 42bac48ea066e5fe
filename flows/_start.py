"""Starting a flow from Python: typed, checked before anything starts, eagerly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, overload

from temporalio.client import Client, WorkflowHandle
from temporalio.common import RawValue

from activities._wire import json_payload
from flows._saga import Saga
from flows._sequence import Sequence

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
    client: Client, flow: str, input: Any = ..., *, id: str, task_queue: str = ...,
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
        flow: a sequence class, a saga, or a name: ``id@1.2.0``, ``id@^1``, ``id``.
        input: the start input; checked here where the class is given.
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
    typed = isinstance(flow, Saga) or (isinstance(flow, type) and issubclass(flow, Sequence))
    value = flow.input.dump(input, f"{flow.definition}: input") if typed else input
    return await client.start_workflow(
        str(flow.definition) if typed else flow,
        RawValue(json_payload(value)) if typed else value,
        id=id,
        task_queue=task_queue,
        memo=memo,
        result_type=flow.output.type if typed else None,
        request_eager_start=True,
        **options,
    )
