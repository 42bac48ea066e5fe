"""What our worker adds around workflows and activities: step header, heartbeats, a check of start inputs."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any, NoReturn

from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.exceptions import FailureError
from temporalio.worker import (
    ActivityInboundInterceptor,
    ContinueAsNewInput,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    HandleSignalInput,
    HandleUpdateInput,
    Interceptor,
    StartActivityInput,
    StartChildWorkflowInput,
    StartLocalActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

from activities import InvalidInput
from activities._run import CURRENT_HEADER
from activities._wire import HEADER, StepHeader
from flows._spans import SPANS, RunSpans, Watcher

_NEXT: ContextVar[StepHeader | None] = ContextVar("counterstep_next_header", default=None)


@contextmanager
def with_header(header: StepHeader) -> Iterator[None]:
    """Send a header with the activity, or the child, that is started inside."""
    before = _NEXT.get()
    _NEXT.set(header)
    try:
        yield
    finally:
        _NEXT.set(before)  # no token: a run that is evicted in between is closed in another context


class _Outbound(WorkflowOutboundInterceptor):
    heartbeat_timeout = timedelta(seconds=30)
    started_with: Mapping[str, Payload] = {}
    spans: RunSpans

    def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:
        """Hand on what the run was started with, such as the caller's trace parent: Temporal doesn't."""
        super().continue_as_new(replace(input, headers={**self.started_with, **input.headers}))

    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:
        header = _NEXT.get()
        if header is not None:
            input = replace(
                input,
                headers={**input.headers, HEADER: header.payload()},
                heartbeat_timeout=self.heartbeat_timeout,
            )
        return super().start_activity(input)

    async def start_child_workflow(
        self, input: StartChildWorkflowInput
    ) -> workflow.ChildWorkflowHandle[Any, Any]:
        header = _NEXT.get() or StepHeader(run=workflow.info().run_id, **self.spans.child())
        return await super().start_child_workflow(
            replace(input, headers={**input.headers, HEADER: header.payload()})
        )

    def start_local_activity(self, input: StartLocalActivityInput) -> workflow.ActivityHandle[Any]:
        header = _NEXT.get()
        if header is not None:
            input = replace(input, headers={**input.headers, HEADER: header.payload()})
        return super().start_local_activity(input)


class _Inbound(WorkflowInboundInterceptor):
    outbound: type[_Outbound] = _Outbound
    watcher: Watcher | None = None

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        self._made = self.outbound(outbound)
        super().init(self._made)

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        self._made.started_with = dict(input.headers)
        one = getattr(input.type, "__counterstep_input__", None)
        if one is not None and len(input.args) != 1:
            input = replace(input, args=[one(len(input.args))])
        spans = self._made.spans = RunSpans(self.watcher, input.args)
        SPANS.set(spans)
        try:
            result = await super().execute_workflow(input)
        except (FailureError, TimeoutError, asyncio.CancelledError):
            spans.ended()
            raise
        spans.ended()
        return result

    async def handle_signal(self, input: HandleSignalInput) -> None:
        flow = workflow.instance()
        if not _of_author(flow, input.signal):
            return await super().handle_signal(input)
        handle = super().handle_signal
        await flow._authors(lambda: handle(input))

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:
        flow = workflow.instance()
        if _of_author(flow, input.update):
            await flow._begun()
        return await super().handle_update_handler(input)

    def handle_update_validator(self, input: HandleUpdateInput) -> None:
        handler = _handler_of(input.update)
        if handler is not None and not _takes(handler, len(input.args)):
            raise wrong_count(len(input.args), f"update {input.update}")
        super().handle_update_validator(input)


class _Activities(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        if HEADER in input.headers:
            CURRENT_HEADER.set(StepHeader.read(input.headers[HEADER]))
        return await super().execute_activity(input)


@dataclass(frozen=True)
class StepInterceptor(Interceptor):
    """Carries the step header, sets the heartbeat timeout of remote operations, checks how many inputs came.

    Attributes:
        heartbeat_timeout: after which silence an execution counts as lost.
        watcher: hears of the runs that begin and end here.
    """

    heartbeat_timeout: timedelta = timedelta(seconds=30)
    watcher: Watcher | None = None

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """See base class."""
        return _Activities(next)

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor]:
        """See base class."""
        outbound = type("_Outbound", (_Outbound,), {"heartbeat_timeout": self.heartbeat_timeout})
        return type("_Inbound", (_Inbound,), {"outbound": outbound, "watcher": self.watcher})


def _of_author(flow: Any, name: str) -> bool:
    """Whether a signal or an update is the author's, and not the framework's, which knows of runs that haven't begun."""
    ours = getattr(type(flow), "__counterstep_handlers__", None)
    return ours is not None and name not in ours


def _handler_of(update: str) -> Callable[..., Any] | None:
    instance = workflow.instance()
    ours = getattr(type(instance), "__counterstep_updates__", {}).get(update)
    return partial(ours, instance) if ours else workflow.get_update_handler(update)


def _takes(handler: Callable[..., Any], count: int) -> bool:
    try:
        inspect.signature(handler).bind(*range(count))
    except TypeError:
        return False
    return True


def wrong_count(count: int, who: str) -> InvalidInput:
    """Make the error for a start with no input or several."""
    got = "no input" if count == 0 else f"{count} inputs"
    return InvalidInput(f"{who}: got {got}, one is expected; give it with --input")
