"""Sequences: flows written as code, each a Temporal workflow class."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, ClassVar, Generic, TypeGuard, TypeVar, get_args, get_origin, overload

from temporalio import workflow
from temporalio.common import RawValue

from activities import Definition, DefinitionError, EmptyInput, InvalidInput, Operation, Retry
from activities._definition import declared
from activities._json import Json
from activities._schema import Schema
from activities._wire import json_payload
from counterstep.reports import Report
from flows._control import Decision
from flows._errors import OperationFailed, SeriesFailed
from flows._flow import Flow, undo_step
from flows._gather import gather
from flows._inline import execute_inline
from flows._inline_saga import execute_saga_inline
from flows._interceptor import wrong_count
from flows._names import check_waiting
from flows._operated import Operated
from flows._policy import Policy
from flows._run import Run
from flows._saga import Saga
from flows._sandbox import Later, another_runs
from flows._scope import Options, Scope
from flows._start_input import start_json

In = TypeVar("In")
Out = TypeVar("Out")
I = TypeVar("I")
O = TypeVar("O")
T = TypeVar("T")


class Sequence(Operated, Generic[In, Out]):
    """A flow written as code: ``class Deploy(Sequence[Spec, Info], id="deploy", version="1.0.0")``.

    The class is a Temporal workflow class of type ``id@version``; it may have signals, queries and updates of
    its own. Its body runs in Temporal's sandbox.

    Attributes:
        definition: id, version, and the docstring's first line.
        policy: what happens when something fails.
    """

    definition: ClassVar[Definition]
    policy: ClassVar[Policy] = Policy()
    input: ClassVar[Schema[Any]]
    output: ClassVar[Schema[Any]]
    _body: ClassVar[Callable[..., Awaitable[Any]]]
    _types: ClassVar[tuple[str, ...]] = ("Input", "Output")
    _ours: ClassVar[tuple[str, ...]] = (
        "_scope", "execute", "execute_n", "gather", "wait", "approval", "undo", "_at", "_authors", "_begun",
    )  # fmt: skip
    _inline: ClassVar[bool] = True
    __counterstep_input__: ClassVar[Callable[[int], RawValue | InvalidInput]]

    def __init_subclass__(
        cls, *, id: str | None = None, version: str | None = None, policy: Policy | None = None, **kwargs: Any
    ) -> None:
        """Make the class a workflow; without ``id`` it is an abstract base.

        Raises:
            DefinitionError: when something of the declaration is wrong.
            NotSerializable: when a type would lose something in JSON.
        """
        super().__init_subclass__(**kwargs)
        cls.policy = policy or cls.policy
        if "run" in cls.__dict__:
            cls._body = cls.__dict__["run"]
        if id is not None or version is not None:
            _declare(cls, id or "", version or "")

    async def run(self, input: In, /) -> Out:
        """The body, written by the author.

        Args:
            input: the start input.

        Returns:
            The run's result.
        """
        raise DefinitionError(f"{type(self).__name__} has no run(self, input)")

    @overload
    async def execute(
        self, definition: Operation[I, O], input: I, *, step: str | None = ..., retry: Retry | None = ...,
        force: bool = ..., key: str | None = ..., hold: bool = ...,
    ) -> Report[I, O]: ...  # fmt: skip
    @overload
    async def execute(
        self, definition: type[Sequence[I, O]], input: I, *, step: str | None = ..., force: bool = ...,
        key: str | None = ..., hold: bool = ..., child: bool = ...,
    ) -> Report[I, O]: ...  # fmt: skip
    @overload
    async def execute(
        self, definition: Saga[I, O], input: I, *, step: str | None = ..., force: bool = ...,
        key: str | None = ..., hold: bool = ..., child: bool = ...,
    ) -> Report[I, O]: ...  # fmt: skip
    async def execute(
        self,
        definition: Any,
        input: Any,
        *,
        step: str | None = None,
        retry: Retry | None = None,
        force: bool = False,
        key: str | None = None,
        hold: bool = True,
        child: bool = False,
    ) -> Report[Any, Any]:
        """Execute an operation, or another flow (seed: ``ExecuteOperation``, ``ExecuteSequence``).

        A flow runs inline, as a namespace of this one; with ``child=True`` as a child workflow with a history of
        its own, which hands what would undo it to this one.

        An equal call (same definition, equal input, same key) that already succeeded in this run is answered
        with its report, and isn't run again.

        Args:
            definition: an operation, a sequence class, or a saga.
            input: what it gets.
            step: a name for the step; the definition's id unless given.
            retry: instead of the operation's own.
            force: run it even if an equal call succeeded.
            key: part of equality, apart from the input.
            hold: whether it may wait for an operator when it fails, where the policy says so.
            child: whether a flow runs as a child workflow.

        Raises:
            OperationFailed, SequenceFailed: with ``.report``. Caught, the step stays as it is.
            InvalidInput, NotSerializable: before anything is scheduled.
            DefinitionError: when ``step`` is used twice.
            HistoryLimit: when unwinding needs what is left of the history.
        """
        options = Options(step=step, retry=retry, force=force, key=key, hold=hold)
        if isinstance(definition, Operation) and not child:
            return await self._at.execute(definition, input, options)
        if child and is_flow(definition):
            return await self._at.execute_child(definition, input, options)
        if isinstance(definition, type) and issubclass(definition, Sequence):
            return await execute_inline(self._at, definition, input, options)
        if isinstance(definition, Saga):
            return await execute_saga_inline(self._at, definition, input, options)
        raise DefinitionError(_misfit(definition, child))

    async def execute_n(
        self,
        definition: Operation[I, O],
        input: I,
        *,
        series: str,
        n: int,
        retry: Retry | None = None,
        key: str | None = None,
    ) -> list[Report[I, O]]:
        """Execute an operation ``n`` times, one after another, as a series (seed: ``ExecuteOperationN``).

        Members that succeeded count, whatever ``n`` was then; a shorter ``n`` gives the first of them.

        Args:
            definition: the operation.
            input: what each member gets.
            series: names the series; letters, digits, ``-`` and ``_``.
            n: how many members.
            retry: instead of the operation's own, for each member.
            key: part of equality, apart from the input.

        Returns:
            The reports, orders 0 to n-1.

        Raises:
            SeriesFailed: with ``.report`` of the member that failed, ``.reports`` of those that succeeded.
        """
        at = self._at
        options = Options(retry=retry, key=key)
        try:
            return await at.series(definition, input, series, n, options)
        except OperationFailed as error:
            failed = SeriesFailed(f"series {series}: {error.message}")
            failed.report = error.report
            failed.reports = at.succeeded(definition, input, series, options)
            raise failed from error.__cause__

    async def gather(self, *calls: Awaitable[T], limit: int = 16) -> list[T]:
        """Run calls in parallel: ``await self.gather(self.execute(a, x), self.execute(b, y))``.

        Args:
            calls: what to await; each is begun only when there is room.
            limit: how many run at once.

        Returns:
            The results, in the order of the calls.

        Raises:
            Exception: the first failure, once those in flight have settled; the rest never begins.
        """
        return await gather(calls, limit)

    async def wait(self, duration: timedelta, *, name: str = "wait") -> None:
        """Wait, durably.

        Args:
            duration: how long.
            name: shown in the Temporal UI and in ``status``; letters, digits, ``-`` and ``_``.

        Raises:
            DefinitionError: when the name is malformed, or ours.
            HistoryLimit: when unwinding needs what is left of the history.
        """
        at = self._at
        at.ending()
        check_waiting("wait", name)
        at.run.room()
        shown = at.run.names.give(at.path, name)
        at.run.board.set(shown, "waiting")
        try:
            await workflow.sleep(duration, summary=shown)
        except (Exception, asyncio.CancelledError):
            at.run.board.set(shown, "interrupted")
            raise
        at.run.board.set(shown, "done")

    async def approval(self, name: str, *, timeout: timedelta | None = None) -> Decision:
        """Wait for an operator's ``approve`` or ``reject``.

        Args:
            name: what the operator approves; unique among those that wait in this flow; letters, digits, ``-``
                and ``_``.
            timeout: after which it fails; none unless given.

        Returns:
            Who approved, and why.

        Raises:
            ApprovalRejected: with who, and why.
            ApprovalTimedOut: when nobody decided in time.
            DefinitionError: when the name is malformed, or ours, or waits already.
            HistoryLimit: when unwinding needs what is left of the history.
        """
        at = self._at
        at.ending()
        check_waiting("approval", name)
        at.run.room()
        asked = f"{at.path}{name}"
        if any(asked == approval.asked for approval in at.run.control.waiting()):
            raise DefinitionError(f"approval {asked!r} is waiting already")
        shown = at.run.names.give(at.path, name)
        at.run.board.set(shown, "waiting for approval")
        try:
            decision = await at.run.control.approval(shown, asked, timeout)
        except (Exception, asyncio.CancelledError):  # not GeneratorExit: no workflow is there any more
            at.run.board.set(shown, "not approved")
            raise
        at.run.board.set(shown, "approved")
        return decision.model_copy(update={"name": name})

    async def undo(self, report: Report[Any, Any]) -> None:
        """Undo one step now; it answers no call any more.

        Args:
            report: of the step.

        Raises:
            Stuck: when its undo fails.
            CounterstepError: when there is nothing to undo.
        """
        await undo_step(self._at, report.step)

    async def _start(self, cls: AnySequence, raw: RawValue | InvalidInput) -> Json:
        run = Run(cls.definition, control=self._asked)
        scope = self._scope = Scope(run, cls.definition, cls.policy)
        try:
            scope.input = typed = cls.input.load(
                start_json(raw, str(cls.definition)), f"{cls.definition}: input"
            )
            await run.go_on()
        except InvalidInput:
            run.board.move("refused")
            raise
        return await Flow(scope, cls.output).main(lambda: cls._body(self, typed))


AnySequence = type[Sequence[Any, Any]]


def is_flow(value: Any) -> TypeGuard[AnySequence | Saga[Any, Any]]:
    """Whether something is a flow's declaration."""
    return isinstance(value, Saga) or (isinstance(value, type) and issubclass(value, Sequence))


def _misfit(definition: Any, child: bool) -> str:
    if child and isinstance(definition, Operation):
        return f"{definition.definition} is an operation, and only a flow can be a child; leave child out"
    return f"execute takes an operation, a sequence class or a saga, not {definition!r}"


def _declare(cls: AnySequence, id: str, version: str) -> None:
    cls.definition = declared(id, version, (inspect.getdoc(cls) or "").split("\n")[0])
    cls.input, cls.output = (Schema(type_) for type_ in type_arguments(cls)[:2])
    if not inspect.iscoroutinefunction(getattr(cls, "_body", None)):
        raise DefinitionError(f"{cls.definition}: write async def run(self, input)")
    if cls.policy.on_failure == "continue":
        raise DefinitionError(
            f'{cls.definition}: on_failure="continue" is for plans; a body says itself what it goes on after'
        )
    for name in cls._ours:
        if name in cls.__dict__:
            raise DefinitionError(f"{cls.definition}: {name} is ours; choose another name")
    if not workflow.unsafe.in_sandbox():
        cls.input.check(f"{cls.definition}: input")
        cls.output.check(f"{cls.definition}: output")
    cls.__counterstep_input__ = lambda count: _no_input(cls, count)
    if another_runs(str(cls.definition)):
        cls.run = Later(lambda: _define(cls))  # type: ignore[assignment, method-assign]
    else:
        _define(cls)


def _define(cls: AnySequence) -> None:
    """Make the class a Temporal workflow."""
    cls.run = _entry(cls)  # type: ignore[method-assign]
    workflow.defn(name=str(cls.definition))(cls)


def type_arguments(cls: AnySequence) -> tuple[Any, ...]:
    """Give the types that a class names, such as ``Sequence[Input, Output]``.

    Raises:
        DefinitionError: when it doesn't.
    """
    kind = next(base for base in cls.__mro__ if "_types" in base.__dict__)
    for base in (b for c in cls.__mro__ for b in getattr(c, "__orig_bases__", ())):
        if (
            isinstance(get_origin(base), type)
            and issubclass(get_origin(base), kind)
            and len(get_args(base)) == len(cls._types)
        ):
            return tuple(type(None) if found is None else found for found in get_args(base))
    raise DefinitionError(
        f"{cls.__name__}: write class {cls.__name__}({kind.__name__}[{', '.join(cls._types)}], id=…, version=…)"
    )


def _entry(cls: AnySequence) -> Any:
    """Make the method that Temporal calls, around the author's body."""

    async def run(self: Any, input: RawValue) -> Any:
        return await self._start(cls, input)

    run.__module__, run.__qualname__ = cls.__module__, f"{cls.__qualname__}.run"
    run.__doc__ = cls._body.__doc__
    run.__annotations__ = {"input": RawValue, "return": Any}
    return workflow.run(run)


def _no_input(cls: AnySequence, count: int) -> RawValue | InvalidInput:
    if count == 0 and cls.input.type is EmptyInput:
        return RawValue(json_payload({}))
    return wrong_count(count, str(cls.definition))
