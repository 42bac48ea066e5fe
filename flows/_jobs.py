"""Jobs of actions: named functions in a row that run as one operation, with a rollback handler as its undo."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, TypeAlias

from activities import Context, Definition, DefinitionError, Operation, Outcome, Retry, Skip, Unrecoverable
from activities._call import call_part
from activities._retry import ONCE
from flows._names import check_name
from flows._parts import given_hints, of_parts, takes

JobFunc: TypeAlias = Callable[[Context[Any], Any], Any]
"""A hook or an execute function: ``(ctx, value) -> value``, ``async def`` or ``def``."""

JobErrorHandler: TypeAlias = Callable[[Context[Any], Any, Any], Any]
"""An error handler, or a rollback handler: ``(ctx, value, error)``, ``async def`` or ``def``."""


class NoData:
    """Says that a job needs no data, or gives none: what it got is passed on (seed actions: ``NilJobDataType``).

    As a job's ``input`` or ``output`` it stands for any value. A function of a job may return it (``return NoData``)
    where it has no value of its own: it stands for the job's own input.
    """


@dataclass(frozen=True)
class Job:
    """A part of an action: hooks around one effect, and what takes that back (seed actions: ``Job``).

    Pre-hooks, ``execute`` and post-hooks run one after another in one activity, each with the value that the one
    before it returned; what the last one returns is the next job's input. Any failure of them stops the job at once.

    Attributes:
        name: letters, digits, ``-`` and ``_``; unique in its action.
        execute: does the work, with one effect at most.
        pre_hooks: run before it: to check or to shape the input.
        post_hooks: run after it.
        rollback: undoes it: ``(ctx, data, error)``, with the job data (``ctx.saved``, ``None`` if there is none) and the
            error that the action fails with (``None`` if it is undone although it hadn't failed).
        input: type of what it gets; any JSON value unless given.
        output: type of what it returns; any JSON value unless given.
        timeout: of one attempt of the whole job.
        retry: of the whole job, from its first hook on; without it one failure is final.
        rollback_retry: of the rollback handler.

    Raises:
        DefinitionError: when something of it is wrong.
    """

    name: str = ""
    execute: JobFunc | None = None
    pre_hooks: Sequence[JobFunc] = ()
    post_hooks: Sequence[JobFunc] = ()
    rollback: JobErrorHandler | None = None
    input: Any = Any
    output: Any = Any
    timeout: timedelta = field(default=timedelta(minutes=1), kw_only=True)
    retry: Retry = field(default=ONCE, kw_only=True)
    rollback_retry: Retry = field(default=Retry(), kw_only=True)

    def __post_init__(self) -> None:
        if not self.name:
            raise DefinitionError("a job has no name; give it one")
        check_name("job", self.name)
        if self.execute is None:
            raise DefinitionError(f"job {self.name} has no execute; give it a function (ctx, value)")
        object.__setattr__(self, "pre_hooks", tuple(self.pre_hooks))
        object.__setattr__(self, "post_hooks", tuple(self.post_hooks))
        for function in self.functions:
            takes(function, 2, f"job {self.name}", "(ctx, value)")
        if self.rollback is not None:
            takes(self.rollback, 3, f"rollback of job {self.name}", "(ctx, data, error)")

    @property
    def functions(self) -> tuple[JobFunc, ...]:
        """What runs, in order."""
        assert self.execute is not None
        return (*self.pre_hooks, self.execute, *self.post_hooks)

    def rename(self, name: str) -> Job:
        """Give a copy under another name, to have it twice in an action."""
        return replace(self, name=name)

    def extend(
        self,
        *,
        pre_hooks: Iterable[JobFunc] | None = None,
        post_hooks: Iterable[JobFunc] | None = None,
        rollback: JobErrorHandler | None = None,
        input: Any = None,
        output: Any = None,
        execute: None = None,
    ) -> Job:
        """Give a copy that is fitted to an application: what is given replaces, the rest is inherited.

        Args:
            pre_hooks: ``None`` inherits them, ``[]`` removes them.
            post_hooks: ``None`` inherits them, ``[]`` removes them.
            rollback: the rollback handler.
            input: type of what it gets.
            output: type of what it returns.
            execute: can't be given; that would be another job.

        Raises:
            DefinitionError: when ``execute`` is given.
        """
        if execute is not None:
            raise DefinitionError(f"extend can't replace execute of job {self.name}; make a new job instead")
        given = {
            "pre_hooks": pre_hooks,
            "post_hooks": post_hooks,
            "rollback": rollback,
            "input": input,
            "output": output,
        }
        return replace(self, **{name: value for name, value in given.items() if value is not None})

    async def run(self, ctx: Context[Any], value: Any) -> Any:
        """Run it in a plain test, without Temporal: ``await job.run(Context.of(deps), 0)``.

        Returns:
            What its last function returned.
        """
        own, now, returned = copy.deepcopy(value), value, None
        try:
            for function in self.functions:
                returned = await call_part(function, ctx, now)
                now = copy.deepcopy(own) if returned is NoData else returned
        except Skip as skip:
            raise Skip(skip.reason, own if skip.output is None else skip.output) from None
        except Exception as error:
            ctx.note_error(error)
            raise
        if returned is not None:
            return now
        if self.output is NoData:
            return own
        raise Unrecoverable(f"job {self.name} returned None; return a value, or NoData to pass its input on")

    def operation(self, definition: Definition) -> Operation[Any, Any]:
        """Make the operation that runs it."""

        async def handler(ctx: Context[Any], input: Any) -> Any:
            return await self.run(ctx, input)

        assert self.execute is not None
        given_hints(handler, self.execute, input=_type(self.input), result=_type(self.output))
        of_parts(handler, *self.functions)
        made: Operation[Any, Any] = Operation(handler, definition, timeout=self.timeout, retry=self.retry)
        if self.rollback is not None:
            made.undo(retry=self.rollback_retry, cause=True)(_undo(self.rollback))
        return made


def _undo(rollback: JobErrorHandler) -> Callable[..., Any]:
    async def undo(ctx: Context[Any], input: Any, outcome: Outcome[Any]) -> None:
        cause = outcome.cause or outcome.error
        await call_part(rollback, ctx, outcome.saved, cause.as_error() if cause else None)

    of_parts(undo, rollback)
    return undo


def _type(given: Any) -> Any:
    return Any if given is NoData else given


def with_error_handler(fn: JobFunc, handler: JobErrorHandler) -> JobFunc:
    """Wrap a function of a job: its error is noted, and what the handler returns goes on (seed: ``WrapErrorHandler``).

    Args:
        fn: a hook or an execute function.
        handler: gets the value that the function got, and its error. If it raises, the job fails with that. It isn't
            called for a :class:`activities.Skip`, nor for what is no ``Exception``, such as ``SystemExit``.
    """
    takes(fn, 2, "the wrapped function", "(ctx, value)")
    takes(handler, 3, "the error handler", "(ctx, value, error)")

    async def wrapped(ctx: Context[Any], value: Any) -> Any:
        given = copy.deepcopy(value)
        try:
            return await call_part(fn, ctx, value)
        except Skip:
            raise
        except Exception as error:
            ctx.note_error(error)
            return await call_part(handler, ctx, given, error)

    given_hints(wrapped, fn, input=Any, result=Any)
    of_parts(wrapped, fn, handler)
    return wrapped


def ignore_error(ctx: Context[Any], value: Any, error: Exception) -> Any:
    """Go on with the value that the function got (seed: ``ErrorHandlerIgnoreError``); for :func:`with_error_handler`."""
    return value
