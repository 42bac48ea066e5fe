"""Long-running operations: sequences that can be entered again at a named point, as new, with their state."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, ClassVar, Generic, NoReturn, TypeVar, overload

from temporalio import workflow
from temporalio.common import RawValue

from activities import DefinitionError, InvalidInput
from activities._json import Json
from activities._schema import Schema
from flows._carried_step import error_of
from flows._carry import records_of, restore
from flows._entering import Carrying, entered
from flows._flow import Flow
from flows._legs import Legs
from flows._metadata import METADATA, write_metadata
from flows._names import check_waiting
from flows._run import Run
from flows._scope import Scope
from flows._sequence import AnySequence, Sequence, type_arguments
from flows._waiting import TOLD, Awaited

Request = TypeVar("Request")
Response = TypeVar("Response")
State = TypeVar("State")
Metadata = TypeVar("Metadata")


class LongRunning(Sequence[Request, Response], Generic[Request, Response, State, Metadata]):
    """A sequence that may take years: ``class Import(LongRunning[Req, Resp, State, Meta], id="import", version="1.0.0")``.

    It is made of *legs*. A wait with ``resume_point="x"`` ends one: ``run`` is entered again, as new, with
    ``self.resume_point == "x"`` and the state as it was (seed lro: ``Operation[T]``, ``WithAsync``; AIP-151).
    Steps are named, and equal calls remembered, within a leg; what may have to be undone is carried.
    """

    state_schema: ClassVar[Schema[Any]]
    metadata_schema: ClassVar[Schema[Any]]
    _types: ClassVar[tuple[str, ...]] = ("Request", "Response", "State", "Metadata")
    _ours: ClassVar[tuple[str, ...]] = (*Sequence._ours, "state", "metadata", "resume_point")
    _inline: ClassVar[bool] = False
    _legs: Legs

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """See base class.

        Raises:
            DefinitionError: also when the state or the metadata has no default.
        """
        if "id" in kwargs:
            cls.state_schema, cls.metadata_schema = (Schema(type_) for type_ in type_arguments(cls)[2:])
            _must_begin(f"{kwargs['id']}: state", cls.state_schema)
            _must_begin(f"{kwargs['id']}: metadata", cls.metadata_schema)
        super().__init_subclass__(**kwargs)

    @property
    def state(self) -> State:
        """What this operation keeps from leg to leg; ``State()`` at its beginning (seed lro: ``State``)."""
        state: State = self._own.state
        return state

    @state.setter
    def state(self, value: State) -> None:
        """Replace it; it is recorded when a resume point ends the leg.

        Raises:
            DefinitionError: when the operation has ended.
        """
        self._changeable("state").state = value

    @property
    def metadata(self) -> Metadata:
        """What this operation shows of itself while it runs; ``Metadata()`` before it is set."""
        metadata: Metadata = self._own.metadata
        return metadata

    @metadata.setter
    def metadata(self, value: Metadata) -> None:
        """Replace it, visible at once and without a worker; equal metadata costs nothing.

        Raises:
            DefinitionError: when the operation has ended.
            InvalidInput, NotSerializable: when it doesn't fit its type, or is larger than 16 KB.
        """
        legs, who = self._changeable("metadata"), str(self._at.definition)
        dumped = self.metadata_schema.dump(value, f"{who}: metadata")
        if dumped != workflow.memo_value(METADATA, default=None):
            write_metadata(who, dumped)
        legs.metadata = value

    @property
    def resume_point(self) -> str:
        """Where ``run`` was entered: the point that the leg before named; empty at the beginning."""
        return self._own.leg.resume_point

    @overload
    async def wait(
        self, sleep: timedelta | None = ..., *, operations: Iterable[str] = ..., poll: timedelta = ...,
        timeout: timedelta = ..., service: type[Any] | str | None = ..., raise_errors: bool = ...,
        resume_point: str, name: str = ...,
    ) -> NoReturn: ...  # fmt: skip
    @overload
    async def wait(
        self, sleep: timedelta | None = ..., *, operations: Iterable[str] = ..., poll: timedelta = ...,
        timeout: timedelta = ..., service: type[Any] | str | None = ..., raise_errors: bool = ...,
        resume_point: None = ..., name: str = ...,
    ) -> None: ...  # fmt: skip
    async def wait(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        sleep: timedelta | None = None,
        *,
        operations: Iterable[str] = (),
        poll: timedelta = timedelta(seconds=3),
        timeout: timedelta = timedelta(minutes=7),
        service: type[Any] | str | None = None,
        raise_errors: bool = False,
        resume_point: str | None = None,
        name: str = "wait",
    ) -> None:
        """Wait, durably; with nothing to wait for it returns at once (seed lro: ``Wait``).

        Args:
            sleep: how long, before anything is looked at.
            operations: names of what has to end: ``operations/WORKFLOW_ID`` of our own flows
                (:func:`flows.operation_name`), or what ``service`` knows. Looked at once at least.
            poll: between two looks at foreign operations; of our own ones Temporal tells.
            timeout: of the operations, from before the sleep; looked at after a look, so late by one poll at most.
            service: the dependency that knows foreign operations, by its type or its name: an object with
                ``get_operation``.
            raise_errors: whether an operation that ended with an error raises it; else it has just ended.
            resume_point: ends the leg after the wait: ``run`` is entered again, and this call never returns.
            name: shown in the Temporal UI and in ``status``; letters, digits, ``-`` and ``_``.

        Raises:
            WaitDeadlineExceeded: when an operation hasn't ended in time, naming it.
            OperationNotFound: when there is none of that name, once the others have ended.
            ApplicationError: the error of an operation, with ``raise_errors``.
            DefinitionError: when an argument can't be, or the leg can't end here.
        """
        at, legs, began = self._at, self._own, workflow.now()
        at.ending()
        check_waiting("wait", name)
        awaited = Awaited(
            operations=tuple(dict.fromkeys(operations)),
            service=f"{service.__module__}.{service.__qualname__}" if isinstance(service, type) else service,
            poll=poll,
            timeout=timeout,
            raise_errors=raise_errors,
        )
        awaited.check(sleep)
        if resume_point is not None:
            legs.may_end(at.run.board, resume_point)
        if sleep:
            await super().wait(sleep, name=name)
        if awaited.operations:
            await legs.told.wait(at, awaited, began, name)
        if resume_point is not None:
            await legs.end(at.run.board, self.state_schema, self.metadata_schema, resume_point)

    __counterstep_handlers__ = Sequence.__counterstep_handlers__ | {TOLD}

    @workflow.signal(name=TOLD, description="What this run waits for has ended")
    def _told(self, token: str) -> None:
        if hasattr(self, "_legs"):
            self._legs.told.tell(token)

    @property
    def _own(self) -> Legs:
        if not hasattr(self, "_legs"):
            raise DefinitionError(f"{type(self).__name__} isn't running; use this in its run()")
        return self._legs

    def _changeable(self, what: str) -> Legs:
        """Give the legs of an operation that hasn't ended."""
        legs, board = self._own, self._at.run.board
        if board.ended:
            raise DefinitionError(
                f"{self._at.definition} has ended ({board.state}); its {what} can't be changed"
            )
        return legs

    async def _start(self, cls: AnySequence, raw: RawValue | InvalidInput) -> Json:
        run = Run(cls.definition, control=self._asked)
        scope = self._scope = Scope(run, cls.definition, cls.policy)
        carried = None
        try:
            carried, leg = entered(cls, raw)
            scope.input = typed = cls.input.load_value(leg.request, f"{cls.definition}: input")
            self._legs = Legs(leg, self.state_schema, self.metadata_schema, str(cls.definition))
        except InvalidInput as error:
            if (
                carried is not None
            ):  # a bug of the new code: Temporal retries the task until better code arrives
                misfit = f"what the leg before left doesn't fit any more: {error.message}"
                raise RuntimeError(misfit) from None
            run.board.move("refused")
            raise
        run.leg = leg.number
        if carried is not None:
            carried.control(self._asked)
            restore(carried, run)
            scope.records += await records_of(carried, None, run)
        run.board.enter(leg.resume_point, leg.done)
        flow = Flow(scope, cls.output, Carrying(scope, self._legs).carry)
        if carried is not None and carried.phase == "unwinding":
            return await flow.unwind_on(error_of(carried.cause))
        return await flow.main(lambda: self._legs.run(cls._body(self, typed)))


def _must_begin(what: str, schema: Schema[Any]) -> None:
    """Refuse a type whose values couldn't begin by themselves, or lose something in JSON."""
    try:
        schema.type()
    except Exception as error:
        raise DefinitionError(
            f"{what}: {schema.name} needs a default for everything in it: {type(error).__name__}"
        ) from None
    if not workflow.unsafe.in_sandbox():
        schema.check(what)
