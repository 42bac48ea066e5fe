"""Operations on the test bench: the user's own handlers, called through a place where faults are injected."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

from temporalio import activity, workflow
from temporalio.api.common.v1 import Payload
from temporalio.exceptions import ApplicationError
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
    StartActivityInput,
    StartLocalActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

from activities import Context, Operation, Outcome, Registry, Skip
from activities._call import _EXECUTOR, call
from activities._encode import LOST
from activities._run import CURRENT_HEADER, Host
from activities._wire import HEADER, StepHeader, from_depth, in_leg, without_leg
from flows.testing._faults import Fault, tried_again
from flows.testing._trial import Call, Place, Trial

_HURRY = timedelta(milliseconds=20)
"""Between two attempts: a test needn't wait as long as production does."""


class Rig:
    """The bench of one worker.

    Attributes:
        trials: the runs under test, by workflow id.
        deps: what operations of other runs work on.
    """

    def __init__(self, deps: Any = None) -> None:
        """Begin without runs."""
        self.trials: dict[str, Trial] = {}
        self.deps = deps
        self.lost: set[bytes] = set()
        self._names: dict[tuple[str, int, str], str] = {}

    def registry(self, registry: Registry) -> Registry:
        """Give the same definitions, with operations on the bench."""
        return Registry(*(self._mounted(d) if isinstance(d, Operation) else d for d in registry))

    def trial(self, header: StepHeader, workflow_id: str) -> Trial | None:
        """Find the run that a step belongs to; steps of child flows belong to the root."""
        name = header.workflow or workflow_id
        while (
            name not in self.trials and "/" in name
        ):  # a child's id begins with its parent's, which may have any character
            name = name.rpartition("/")[0]
        return self.trials.get(name)

    def place(self, header: StepHeader, workflow_id: str, own: str, *, undo: bool) -> Place:
        """Say which step it is, or whose undo.

        Where a flow undoes what a child left, nothing tells in which flow a leg began: the step, which was called before, does.

        Args:
            header: that it was sent with.
            workflow_id: of the run that it is sent from.
            own: its name there, with its leg or without.
            undo: whether it is its undo.
        """
        trial, bare = self.trial(header, workflow_id), without_leg(own)
        known = (trial.workflow_id if trial else workflow_id), header.leg, header.path + bare
        name = from_depth(0, header.path) + (in_leg(bare, header.leg) if header.leg else bare)
        return Place(self._names.get(known, name) if undo else self._names.setdefault(known, name), undo)

    def _mounted(self, op: Operation[Any, Any]) -> Operation[Any, Any]:
        made = copy.copy(op)
        made.handler = self._forward(op)
        if op.undo_handler is not None:
            made.undo_handler = replace(op.undo_handler, handler=self._backward(op, op.undo_handler.handler))
        if op.retry_input_handler is not None:
            made.retry_input_handler = self._retry_input(op, op.retry_input_handler)
        return made

    def _forward(self, op: Operation[Any, Any]) -> Callable[..., Any]:
        async def forward(ctx: Context[Any], input: Any) -> Any:
            return await self._perform(op, op.handler, ctx, input)

        return forward

    def _backward(self, op: Operation[Any, Any], handler: Callable[..., Any]) -> Callable[..., Any]:
        async def backward(ctx: Context[Any], input: Any, outcome: Outcome[Any]) -> Any:
            return await self._perform(op, handler, ctx, input, outcome)

        return backward

    def _retry_input(self, op: Operation[Any, Any], handler: Callable[..., Any]) -> Callable[..., Any]:
        def retry_input(attempt: int, error: Any, input: Any, deps: Any) -> Any:
            trial = self.trial(CURRENT_HEADER.get(), str(activity.info().workflow_id))
            return handler(attempt, error, input, self._deps(trial, op))

        return retry_input

    def _deps(self, trial: Trial | None, op: Operation[Any, Any]) -> Any:
        deps = self.deps if trial is None else trial.deps
        return Host(deps, cast(Any, None), cast(Any, None)).deps_for(op.deps_type)

    async def _perform(
        self, op: Operation[Any, Any], handler: Callable[..., Any], ctx: Context[Any], *args: Any
    ) -> Any:
        """Call a handler, as the fault says that comes next at its place."""
        trial = self.trial(CURRENT_HEADER.get(), ctx.workflow_id)
        ctx = replace(ctx, deps=self._deps(trial, op))
        if trial is None:
            return await _called(handler, ctx, *args)
        made = _begun(self, op, ctx, *args)
        trial.calls.append(made)
        fault = trial.next(made.place)

        async def effect() -> Any:
            made.effects += 1
            output = await _called(handler, ctx, *args)
            trial.happened.add(made.place)
            return output

        began = time.monotonic()
        try:
            made.output = await self._act(fault, effect, trial, made)
        except BaseException as error:
            made.error = error
            raise
        finally:
            made.seconds = time.monotonic() - began
            if made.place.undo and (made.error is None or isinstance(made.error, Skip)):
                await trial.undone(made.place.step)
        return made.output

    async def _act(self, fault: Fault | None, effect: Callable[[], Any], trial: Trial, made: Call) -> Any:
        if fault is None:
            return await effect()
        made.fault = fault.name
        try:
            output = await fault.act(effect, trial)
        except Exception as error:
            nothing = made.place.undo and isinstance(error, Skip)  # counts as undone
            if made.effects and made.place not in trial.happened and not nothing:
                made.fault = None
                trial.put_back(made.place, fault)  # it failed by itself, as one that polls does
            raise
        if fault.silent:
            self.lost.add(activity.info().task_token)
        return output


async def _called(handler: Callable[..., Any], *args: Any) -> Any:
    """Call a handler as the framework does: ``async def``, or ``def`` in a thread that nothing interrupts."""
    called = await call(cast(Any, _EXECUTOR.get()), handler, *args)
    if called.error is not None:
        raise called.error
    return called.value


def _begun(rig: Rig, op: Operation[Any, Any], ctx: Context[Any], input: Any, outcome: Any = None) -> Call:
    info, undo = activity.info(), outcome is not None
    retry = op.undo_handler.retry if undo and op.undo_handler else op.retry
    limit, final = retry.max_attempts, retry.names
    if info.retry_policy is not None and not info.is_local:
        limit = info.retry_policy.maximum_attempts
        final = list(info.retry_policy.non_retryable_error_types or ())
    return Call(
        rig.place(CURRENT_HEADER.get(), ctx.workflow_id, ctx.step, undo=undo),
        str(op.definition),
        ctx.idempotency_key,
        ctx.attempt,
        input,
        outcome=str(outcome.status) if undo else None,
        limit=limit or None,
        final=not tried_again(final),
        local=info.is_local,
    )


def _place(
    rig: Rig, input: StartActivityInput | StartLocalActivityInput, workflow_id: str
) -> tuple[StepHeader, Place] | None:
    """Say which step an activity is about to be scheduled for."""
    payload: Payload | None = input.headers.get(HEADER)
    if payload is None or input.activity_id is None:
        return None
    header, undo = StepHeader.read(payload), input.activity.endswith("/undo")
    own = header.step or (input.activity_id.removesuffix(".undo") if undo else input.activity_id)
    return header, rig.place(header, workflow_id, own, undo=undo)


class _Outbound(WorkflowOutboundInterceptor):
    """Schedules a run's steps with the short timeouts that its faults ask for, and on the worker's own queue."""

    rig: Rig

    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:
        found = _place(self.rig, input, workflow.info().workflow_id)
        if found is not None:
            policy = input.retry_policy and replace(
                input.retry_policy, initial_interval=_HURRY, maximum_interval=_HURRY, backoff_coefficient=1
            )
            input = replace(input, retry_policy=policy, task_queue=None)
            for fault in self._faults(*found):
                input.start_to_close_timeout = fault.start_to_close or input.start_to_close_timeout
                input.heartbeat_timeout = fault.heartbeat or input.heartbeat_timeout
        return super().start_activity(input)

    def start_local_activity(self, input: StartLocalActivityInput) -> workflow.ActivityHandle[Any]:
        found = _place(self.rig, input, workflow.info().workflow_id)
        for fault in self._faults(*found) if found is not None else ():
            input.start_to_close_timeout = fault.start_to_close or input.start_to_close_timeout
        return super().start_local_activity(input)

    def _faults(self, header: StepHeader, place: Place) -> Sequence[Fault]:
        """Give what goes wrong there; told by what was injected, so that a replay says the same."""
        trial = self.rig.trial(header, workflow.info().workflow_id)
        return trial.injected.get(place, ()) if trial else ()


class _Inbound(WorkflowInboundInterceptor):
    outbound: type[_Outbound]

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(self.outbound(outbound))


def _hurried(error: ApplicationError) -> ApplicationError:
    """Give a failure after which a flow waits no longer than a server does here."""
    return ApplicationError(
        error.message,
        *error.details,
        type=error.type,
        non_retryable=error.non_retryable,
        next_retry_delay=_HURRY,
        category=error.category,
    )


class _Activities(ActivityInboundInterceptor):
    """Loses executions: what they return never arrives. Local ones that fail are tried again soon, as remote ones are."""

    def __init__(self, next: ActivityInboundInterceptor, rig: Rig) -> None:
        super().__init__(next)
        self._rig = rig

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info = activity.info()
        try:
            output = await super().execute_activity(input)
        except ApplicationError as error:
            raise (_hurried(error) if info.is_local else error) from error.__cause__
        if info.task_token not in self._rig.lost:
            return output
        if info.is_local:  # has no heartbeat: its worker says that it gave it up
            raise ApplicationError("injected: lost", {HEADER: {"kind": LOST}}, type=LOST, non_retryable=True)
        trial = self._rig.trial(CURRENT_HEADER.get(), str(info.workflow_id))
        await (trial.over if trial else asyncio.Event()).wait()
        raise asyncio.CancelledError("injected: lost")


class RigInterceptor(Interceptor):
    """Puts a worker's workflows and activities on the bench; given to the worker, it is the inner one of ours."""

    def __init__(self, rig: Rig) -> None:
        """Take the bench."""
        self._rig = rig

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """See base class."""
        return _Activities(next, self._rig)

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor]:
        """See base class."""
        outbound = type("_Outbound", (_Outbound,), {"rig": self._rig})
        return type("_Inbound", (_Inbound,), {"outbound": outbound})
