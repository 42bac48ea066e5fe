"""Running operations and undos as Temporal activities: the only place where handlers are called."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, cast

import pydantic_core
from temporalio import activity
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from activities import _encode as encode
from activities._attempt import Attempt
from activities._call import asked_to_end, call
from activities._context import Context
from activities._errors import InvalidInput, OutcomeUnknown, Skip, Unrecoverable
from activities._failure import Failure, causes, message_of
from activities._operation import Operation
from activities._outcome import Outcome
from activities._pulse import pulse
from activities._secrets import SecretSource
from activities._spans import inside, step_spot
from activities._wire import StepHeader, json_bytes

CURRENT_HEADER: ContextVar[StepHeader] = ContextVar("counterstep_header")
"""Set by the worker's interceptor around each of our activities."""


@dataclass(frozen=True)
class Host:
    """What a worker gives to the operations that it runs.

    Attributes:
        deps: one object, or ``{type: object}``.
        secrets: where secrets are found.
        executor: runs ``def`` handlers.
    """

    deps: Any
    secrets: SecretSource
    executor: Executor

    def deps_for(self, wanted: Any) -> Any:
        """Pick the dependencies of a type; one object serves all, and who names no type gets them all."""
        if wanted is Any or not isinstance(self.deps, Mapping):
            return self.deps
        exact = self.deps.get(wanted)
        if exact is not None or not isinstance(wanted, type):
            return exact
        with contextlib.suppress(TypeError):  # a protocol that isn't checkable at run time needs its own key
            return next((d for d in self.deps.values() if isinstance(d, wanted)), None)


def activities_for(operation: Operation[Any, Any], host: Callable[[], Host]) -> Sequence[Callable[..., Any]]:
    """Make the Temporal activities of an operation: ``id@version``, and ``id@version/undo`` if it has one.

    Args:
        operation: the declaration.
        host: gives the worker's host when an activity runs.
    """

    async def forward(*args: Any) -> RawValue:
        return await _Execution(operation, host(), _begin(args, 1)).forward(json_bytes(args[0]))

    async def backward(*args: Any) -> RawValue:
        return await _Execution(operation, host(), _begin(args, 2)).backward(
            json_bytes(args[0]), json_bytes(args[1])
        )

    made = [activity.defn(name=str(operation.definition))(forward)]
    if operation.undo_handler is not None:
        made.append(activity.defn(name=operation.undo_name)(backward))
    return made


def _begin(args: tuple[Any, ...], values: int) -> Attempt:
    """Read what came along.

    Raises:
        ApplicationError: when a reset's server dispatched it by itself.
    """
    carried = pydantic_core.from_json(json_bytes(args[values])) if len(args) > values else None
    attempt = Attempt.begin(CURRENT_HEADER.get(), carried)
    if attempt.header.run != attempt.info.workflow_run_id:
        message = f"{attempt.step} was scheduled in run {attempt.header.run}, before a reset; it is dispatched again"
        raise encode.infrastructure(encode.ELSEWHERE, attempt, message, json_bytes(args[0]))
    return attempt


@dataclass
class _Execution:
    operation: Operation[Any, Any]
    host: Host
    attempt: Attempt

    async def forward(self, raw: bytes) -> RawValue:
        """Call the operation's handler and record how it ended."""
        op = self.operation
        changed = self.attempt.verdict.changed
        now = pydantic_core.to_json(changed[0]) if changed else raw
        try:
            typed = op.input.load(now, f"{self.attempt.step}: input of {op.definition}")
        except InvalidInput as error:
            self.attempt.verdict = replace(self.attempt.verdict, called=self.attempt.verdict.was_called)
            raise encode.failure(self.attempt, error, raw, final=True) from error.__cause__
        ended = await self._called(op.handler, typed, raw=raw)
        if isinstance(ended, RawValue):
            return ended
        raise await self._failed(ended, raw, typed)

    async def backward(self, raw: bytes, told: bytes) -> RawValue:
        """Call the undo's handler and record how it ended."""
        undo = self.operation.undo_handler
        assert undo is not None
        what = f"{self.attempt.step}: undo of {self.operation.definition}"
        try:
            typed = self.operation.input.load(raw, what)
            outcome = self._outcome(pydantic_core.from_json(told), what)
        except InvalidInput as error:
            raise encode.failure(self.attempt, error, raw, final=True) from error.__cause__
        self.attempt.inherited = outcome.saved
        ended = await self._called(undo.handler, typed, outcome, raw=raw)
        if isinstance(ended, RawValue):
            return ended
        raise await self._failed(ended, raw, None)

    async def _called(self, handler: Callable[..., Any], *args: Any, raw: bytes) -> RawValue | BaseException:
        spot = step_spot(self.attempt.identity, self.attempt.header, undo=len(args) > 1)
        with pulse(self.attempt), inside(spot):
            called = await call(self.host.executor, handler, self._context(), *args)
        if called.error is None:
            return await self._record(called.value, raw, None, undo=len(args) > 1)
        if isinstance(called.error, Skip):
            return await self._record(called.error.output, raw, message_of(called.error), undo=len(args) > 1)
        return called.error

    async def _record(self, value: Any, raw: bytes, skipped: str | None, *, undo: bool) -> RawValue:
        """Record a result. What can't be recorded failed *after* its effect: unknown, and never repeated."""
        try:
            empty = undo or (skipped is not None and value is None)
            output = None if empty else encode.output_json(self.operation.output, value, self._who)
            return await encode.result(self.attempt, raw, output, skipped)
        except Exception as error:
            self.attempt.verdict = self.attempt.verdict.failed(unknown=True)
            raise encode.failure(self.attempt, error, raw, final=True) from None

    async def _failed(self, error: BaseException, raw: bytes, typed: Any) -> ApplicationError:
        """Settle a raise: is it ours or the handler's, is it final, what does the next attempt get."""
        attempt = self.attempt
        if activity.is_cancelled() and isinstance(error, asyncio.CancelledError):
            kind = encode.CANCELLED if asked_to_end() else encode.LOST
            return encode.infrastructure(kind, attempt, f"{self._who} was interrupted", raw)
        attempt.verdict = attempt.verdict.failed(
            unknown=any(isinstance(e, OutcomeUnknown) for e in causes(error))
        )
        attempt.ended = True
        final = self._final(error)
        if final or attempt.last:
            return encode.failure(attempt, error, raw, final=final)
        return await self._retried(error, raw, typed)

    async def _retried(self, error: BaseException, raw: bytes, typed: Any) -> ApplicationError:
        """Leave to the next attempt what it needs."""
        attempt = self.attempt
        if typed is not None:
            try:
                self._change_input(error, typed)
            except Exception as wrong:
                return encode.failure(attempt, wrong, raw, final=True)
        paused = False
        with contextlib.suppress(RPCError):  # without the mark, the next attempt takes this one for lost
            paused = await attempt.record()
        # A cancel that comes while the server waits would say nothing of it; but only the server keeps a pause.
        told = typed is not None and not paused and attempt.verdict.tells_more_than(attempt.carried)
        return encode.failure(attempt, error, raw, told=told)

    def _final(self, error: BaseException) -> bool:
        policy = self.attempt.info.retry_policy
        names = set((policy and policy.non_retryable_error_types) or ())
        for cause in causes(error):
            if isinstance(cause, Unrecoverable) or (
                isinstance(cause, ApplicationError) and cause.non_retryable
            ):
                return True
        own = {c.__name__ for c in type(error).__mro__} | {getattr(error, "type", None)}
        return bool(names & own)

    def _change_input(self, error: BaseException, typed: Any) -> None:
        hook = self.operation.retry_input_handler
        if hook is None:
            return
        verdict = self.attempt.verdict
        deps = self.host.deps_for(self.operation.deps_type)
        changed = hook(self.attempt.number - 2, Failure.of(error), typed, deps)
        dumped = self.operation.input.dump(changed, f"{self._who}: what retry_input returned")
        self.attempt.verdict = replace(verdict, changed=(dumped,), generation=verdict.generation + 1)

    def _outcome(self, told: Any, what: str) -> Outcome[Any]:
        output = self.operation.output.load_value(told["output"], what) if "output" in told else None
        error, cause = (Failure.model_validate(told[k]) if told.get(k) else None for k in ("error", "cause"))
        return Outcome(told["status"], output, error, told.get("saved"), cause)

    @property
    def _who(self) -> str:
        return f"{self.attempt.step} ({self.attempt.info.activity_type})"

    def _context(self) -> Context[Any]:
        attempt = self.attempt
        return Context(
            deps=self.host.deps_for(self.operation.deps_type),
            definition=self.operation.definition,
            step=attempt.step,
            workflow_id=str(attempt.info.workflow_id),
            attempt=attempt.number,
            idempotency_key=attempt.identity.key(attempt.verdict.generation),
            logger=cast(Any, activity.logger),
            cancelled=activity.is_cancelled,
            _kept=attempt,
            _secrets=self.host.secrets,
            _wait=attempt.wait,
        )
