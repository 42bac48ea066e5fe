"""Declaring operations: one side effect, typed and versioned, with its undo."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin, get_type_hints, overload

from pydantic import BaseModel, ConfigDict
from temporalio import workflow

from activities._context import Context
from activities._definition import Definition, declared
from activities._errors import DefinitionError
from activities._failure import Failure
from activities._retry import ONCE, Retry
from activities._schema import Schema

In = TypeVar("In")
Out = TypeVar("Out")
F = TypeVar("F", bound=Callable[..., Any])
Placement = Literal["remote", "local"]
Handler = Callable[[Context[Any], In], Out | Awaitable[Out]]


@dataclass(frozen=True)
class Undo:
    """The counter-step of an operation.

    Attributes:
        handler: called with context, input and :class:`Outcome`; its type hints aren't read.
        retry: how it is retried.
        timeout: of one attempt, start to close.
        cause: whether it is told why the flow unwinds.
    """

    handler: Callable[..., Any]
    retry: Retry
    timeout: timedelta
    cause: bool = False


class EmptyInput(BaseModel):
    """The input of an operation or a flow that needs none (seed operations)."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Operation(Generic[In, Out]):
    """A declared operation. Calling it calls the handler, as in a plain test.

    Attributes:
        definition: id, version, description.
        handler: the function, ``async def`` or ``def``.
        timeout: of one attempt, start to close.
        retry: ``Retry(max_attempts=1)`` unless given.
        placement: ``remote`` (an activity of its own) or ``local``.
        task_queue: where it runs; ``None`` is the flow's own.
        at_most_once: never dispatched again after a loss.
    """

    def __init__(
        self,
        handler: Callable[..., Any],
        definition: Definition,
        *,
        timeout: timedelta = timedelta(minutes=1),
        retry: Retry = ONCE,
        placement: Placement = "remote",
        task_queue: str | None = None,
        at_most_once: bool = False,
    ) -> None:
        """Use :func:`operation` instead."""
        self.handler = handler
        self.definition = definition
        self.timeout = timeout
        self.retry = retry
        self.placement: Placement = placement
        self.task_queue = task_queue
        self.at_most_once = at_most_once
        self.undo_handler: Undo | None = None
        self.retry_input_handler: Callable[..., Any] | None = None
        # The sandbox imports user modules again for each run; what was fine at start stays so.
        if not workflow.unsafe.in_sandbox():
            self._check()

    @cached_property
    def _types(self) -> tuple[Any, Any, Any]:
        return _types(self.handler, self.definition)

    @cached_property
    def _schemas(self) -> tuple[Schema[In], Schema[Out]]:
        return Schema(self._types[0]), Schema(self._types[1])

    @property
    def input(self) -> Schema[In]:
        """The type of the input."""
        return self._schemas[0]

    @property
    def output(self) -> Schema[Out]:
        """The type of the output."""
        return self._schemas[1]

    @property
    def deps_type(self) -> Any:
        """The type of the dependencies; ``Any`` where the handler names none."""
        return self._types[2]

    def __call__(self, ctx: Context[Any], input: In) -> Any:
        """Call the handler: ``await create_network(Context.of(deps), input)``."""
        return self.handler(ctx, input)

    def __repr__(self) -> str:
        """Name it."""
        return f"<operation {self.definition}>"

    @property
    def undo_name(self) -> str:
        """The activity type of the undo."""
        return f"{self.definition}/undo"

    @overload
    def undo(self, handler: F, /) -> F: ...
    @overload
    def undo(
        self, /, *, retry: Retry = ..., timeout: timedelta | None = None, cause: bool = False
    ) -> Callable[[F], F]: ...
    def undo(
        self,
        handler: Callable[..., Any] | None = None,
        /,
        *,
        retry: Retry | None = None,
        timeout: timedelta | None = None,
        cause: bool = False,
    ) -> Any:
        """Declare the undo: ``handler(ctx, input, outcome)``, which must bear never having been needed.

        Args:
            handler: the decorated function.
            retry: ``Retry()`` unless given.
            timeout: of one attempt; the operation's own unless given.
            cause: whether ``outcome.cause`` tells why the flow unwinds.

        Raises:
            DefinitionError: when there is one already, or its shape is wrong.
        """

        def declare(function: F) -> F:
            if self.undo_handler is not None:
                raise DefinitionError(f"{self.definition} has an undo already")
            _arity(function, 3, f"the undo of {self.definition}", "(ctx, input, outcome)")
            self.undo_handler = Undo(function, retry or Retry(), timeout or self.timeout, cause)
            return function

        return declare if handler is None else declare(handler)

    def retry_input(
        self, handler: Callable[[int, Failure, In, Any], In]
    ) -> Callable[[int, Failure, In, Any], In]:
        """Declare what gives the next attempt its input (seed operations: input hook).

        The function gets the number of the attempt that raised (from 0), its failure, the input as changed so
        far and the dependencies; it is called only when another attempt follows.

        Raises:
            DefinitionError: for a local operation, when there is one already, or its shape is wrong.
        """
        if self.placement == "local":
            raise DefinitionError(f"{self.definition} is local, and retry_input needs a remote operation")
        if self.retry_input_handler is not None:
            raise DefinitionError(f"{self.definition} has a retry_input already")
        if inspect.iscoroutinefunction(handler):
            raise DefinitionError(f"retry_input of {self.definition} must be a plain def: nothing awaits it")
        _arity(handler, 4, f"retry_input of {self.definition}", "(attempt, error, input, deps)")
        self.retry_input_handler = handler
        return handler

    def _check(self) -> None:
        if self.placement == "local" and (self.task_queue or self.at_most_once):
            raise DefinitionError(f"{self.definition} is local, so it has no task_queue and no at_most_once")
        if self.at_most_once and self.retry.max_attempts != 1:
            raise DefinitionError(f"{self.definition} is at_most_once, so it can't have retry")
        if self.timeout <= timedelta(0):
            raise DefinitionError(f"timeout of {self.definition} must be above zero")
        self.input.check(f"{self.definition}: input")
        self.output.check(f"{self.definition}: output")


class _Decorate:
    """What :func:`operation` returns; overloads let type checkers tell ``async def`` from ``def``."""

    def __init__(self, make: Callable[[Callable[..., Any]], Operation[Any, Any]]) -> None:
        self._make = make

    @overload
    def __call__(
        self, handler: Callable[[Context[Any], In], Coroutine[Any, Any, Out]], /
    ) -> Operation[In, Out]: ...
    @overload
    def __call__(self, handler: Callable[[Context[Any], In], Out], /) -> Operation[In, Out]: ...
    def __call__(self, handler: Callable[..., Any], /) -> Operation[Any, Any]:
        return self._make(handler)


def operation(
    *,
    id: str,
    version: str,
    description: str | None = None,
    timeout: timedelta = timedelta(minutes=1),
    retry: Retry = ONCE,
    placement: Placement = "remote",
    task_queue: str | None = None,
    at_most_once: bool = False,
) -> _Decorate:
    """Declare an operation: a handler ``(ctx, input) -> output`` with at most one side effect.

    Declaring is pure: nothing is registered anywhere.

    Args:
        id: letters, digits, ``-`` and ``_``.
        version: a full semantic version.
        description: the docstring's first line unless given.
        timeout: of one attempt, start to close.
        retry: without it one failure is final.
        placement: ``local`` for short idempotent work (one event instead of six).
        task_queue: for special workers.
        at_most_once: never dispatch again after a loss; the step is then ``unknown``.

    Raises:
        DefinitionError: when something of it is wrong.
        NotSerializable: when a type would lose something in JSON.
    """

    def make(handler: Callable[..., Any]) -> Operation[Any, Any]:
        text = description if description is not None else (inspect.getdoc(handler) or "").split("\n")[0]
        return Operation(
            handler,
            declared(id, version, text),
            timeout=timeout,
            retry=retry,
            placement=placement,
            task_queue=task_queue,
            at_most_once=at_most_once,
        )

    return _Decorate(make)


def _types(handler: Callable[..., Any], definition: Definition) -> tuple[Any, Any, Any]:
    _arity(handler, 2, str(definition), "(ctx, input)")
    try:
        hints = get_type_hints(handler, include_extras=True)
    except NameError as error:
        raise DefinitionError(
            f"{definition}: {error}; import its types at run time, not under TYPE_CHECKING"
        ) from None
    context, input = list(inspect.signature(handler).parameters)[:2]
    if input not in hints or "return" not in hints:
        raise DefinitionError(f"{definition}: annotate the input and what the handler returns")
    output = hints["return"]
    context_type = hints.get(context)
    deps = get_args(context_type)[0] if get_origin(context_type) is Context else Any
    return hints[input], type(None) if output is None else output, deps


def _arity(function: Callable[..., Any], count: int, who: str, shape: str) -> None:
    if workflow.unsafe.in_sandbox():
        return
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        raise DefinitionError(f"{who} must be a function of {shape}") from None
