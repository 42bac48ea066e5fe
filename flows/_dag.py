"""Building plans in plain Python (steno: ``DagBuilder``). Mistakes are collected, and told all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from activities import InvalidInput, Operation, Retry
from activities._json import Json
from activities._schema import Schema
from flows._names import EXPLICIT
from flows._plan import ApprovalStep, ConstantStep, OperationStep, PlanStep, SubsagaStep, WaitStep
from flows._template import Ref, encode
from flows._undo import UndoSpec

if TYPE_CHECKING:
    from flows._saga import Saga

Out = TypeVar("Out", covariant=True)
O = TypeVar("O")
P = TypeVar("P")
_ANY: Schema[Any] = Schema(Any)


class _NoUndo:
    """Says on purpose that a step is not undone."""

    def __repr__(self) -> str:
        return "no_undo"


no_undo: Final = _NoUndo()


@dataclass(frozen=True)
class Step(Generic[Out]):
    """A step that was put into a plan; refer to its output with :meth:`ref`.

    Attributes:
        name: full name, with the path of the subsagas around it.
    """

    name: str

    def ref(self, *path: str | int) -> Any:
        """Refer to the step's output, or to a field of it: ``network.ref("id")``.

        Args:
            path: field names and list indices, outermost first.
        """
        return Ref(self.name, path)


@dataclass(frozen=True)
class Pending(Generic[Out]):
    """A step that :meth:`Dag.step` has made and that stands in no plan yet."""

    name: str
    operation: Any
    input: Any
    options: dict[str, Any] = field(default_factory=dict)
    after: tuple[str, ...] | None = None


@dataclass
class _Building:
    """What all namespaces of one plan share."""

    steps: list[PlanStep] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    operations: dict[str, Operation[Any, Any]] = field(default_factory=dict)


class Dag:
    """Builds a plan. ``append`` follows everything appended before; ``append_parallel`` is one stage.

    Every mistake is remembered, and what is refused leaves the plan as it was; the plan is made only when
    there is none.
    """

    def __init__(self, *, _building: _Building | None = None, _path: str = "", _tips: tuple[str, ...] = ()) -> None:
        """Begin with nothing."""
        self._all = _building or _Building()
        self._path = _path
        self._tips = _tips
        self._count = len(self._all.steps)

    def append(self, name: str, operation: Operation[Any, O], input: Any, **options: Any) -> Step[O]:
        """Put an operation after everything that was appended before.

        Args:
            name: of the step, unique in its namespace.
            operation: what it runs.
            input: its model, or a template: literals and refs.
            options: ``undo=no_undo``, ``retry=``, ``timeout=``, ``pivot=True`` (no way back after it).
        """
        return self._stage([Pending(name, operation, input, options)])[0]

    def append_parallel(self, *steps: Pending[Any] | Step[Any]) -> tuple[Step[Any], ...]:
        """Put steps beside each other, after everything that was appended before; all of them end before the next."""
        pending = [step for step in steps if isinstance(step, Pending)]
        if not steps:
            self._wrong("append_parallel", "a stage without steps; give it some, or leave it out")
        return tuple(self._stage(pending))

    def step(
        self, name: str, operation: Operation[Any, O], input: Any, *, after: Iterable[Step[Any]] | None = None, **options: Any
    ) -> Any:
        """Make a step for :meth:`append_parallel`; with ``after`` it is put into the plan at once, with those edges.

        Args:
            name: of the step.
            operation: what it runs.
            input: its model, or a template.
            after: the steps that must have ended before it; the stage decides unless given.
            options: as in :meth:`append`.
        """
        pending: Pending[O] = Pending(name, operation, input, options)
        if after is None:
            return pending
        tips = self._tips
        placed = self._place(replace(pending, after=tuple(step.name for step in after)))
        self._tips = (*(tip for tip in tips if tip not in {s.name for s in after}), placed.name)
        return placed

    def constant(self, name: str, value: Any) -> Step[Any]:
        """Give a value a name (steno: constant node). It waits for nothing, and nothing waits for it."""
        full = self._path + name
        try:
            dumped = _ANY.dump(value, full)
        except Exception as error:
            self._wrong(full, f"value: {error}; give it a value that JSON can hold")
            return Step(full)
        self._add(ConstantStep(name=full, value=dumped))
        return Step(full)

    def wait(self, name: str, duration: timedelta) -> Step[None]:
        """Wait, after everything that was appended before."""
        return self._next(WaitStep(name=self._path + name, after=self._tips, duration=duration))

    def approval(self, name: str, *, timeout: timedelta | None = None) -> Step[Any]:
        """Wait for an operator, after everything that was appended before."""
        return self._next(ApprovalStep(name=self._path + name, after=self._tips, timeout=timeout))

    def subsaga(self, name: str, saga: Saga[Any, O], params: Any) -> Step[O]:
        """Put another saga inline, as a namespace of its own, after everything that was appended before.

        Args:
            name: its steps are called ``name/step``; outside only its result is visible.
            saga: whose builder is called with the params.
            params: its model, or a template; fields given as refs reach its steps' inputs.
        """
        full = self._path + name
        inner = Dag(_building=self._all, _path=f"{full}/", _tips=self._tips)
        result = saga.build(inner, saga.shape(params, full, self._wrong))
        if inner.empty:
            self._wrong(full, f"{saga.definition} has no step; a subsaga needs one")
        end = SubsagaStep(name=full, after=inner._tips, result=result.name if isinstance(result, Step) else None)
        return self._next(end)

    @property
    def empty(self) -> bool:
        """Whether no step was put into it."""
        return len(self._all.steps) == self._count

    @property
    def steps(self) -> tuple[PlanStep, ...]:
        """The steps so far, in plan order."""
        return tuple(self._all.steps)

    @property
    def problems(self) -> list[str]:
        """What is wrong so far, a line each."""
        return list(self._all.problems)

    @property
    def operations(self) -> list[Operation[Any, Any]]:
        """The operations that its steps name."""
        return list(self._all.operations.values())

    def _stage(self, pending: list[Pending[Any]]) -> list[Step[Any]]:
        placed = [self._place(replace(p, after=self._tips)) for p in pending]
        if placed:
            self._tips = tuple(step.name for step in placed)
        return placed

    def _place(self, pending: Pending[Any]) -> Step[Any]:
        full = self._path + pending.name
        if not isinstance(pending.operation, Operation):
            self._wrong(full, f"operation: {pending.operation!r} is none; give what @operation made")
            return Step(full)
        self._all.operations[str(pending.operation.definition)] = pending.operation
        try:
            template = encode(pending.input, lambda value: _ANY.dump(value, full))
            self._add(_operation_step(full, pending, template))
        except (TypeError, ValueError, InvalidInput) as error:
            self._wrong(full, f"{error}")
        return Step(full)

    def _next(self, step: PlanStep) -> Step[Any]:
        if self._add(step):
            self._tips = (step.name,)
        return Step(step.name)

    def _add(self, step: PlanStep) -> bool:
        name = step.name[len(self._path) :]
        if not EXPLICIT.match(name):
            self._wrong(step.name[:120], "name: must be letters, digits, '-' and '_', at most 100 of them")
        elif step.name in self._all.names:
            self._wrong(step.name, "name: used twice; each step needs its own")
        else:
            self._all.names.add(step.name)
            self._all.steps.append(step)
            return True
        return False

    def _wrong(self, where: str, what: str) -> None:
        self._all.problems.append(f"{where}: {what}")


def _operation_step(full: str, pending: Pending[Any], template: Json) -> OperationStep:
    op: Operation[Any, Any] = pending.operation
    options = dict(pending.options)
    unwanted = options.pop("undo", None) is no_undo
    pivot = bool(options.pop("pivot", False))
    retry: Retry = options.pop("retry", None) or op.retry
    timeout: timedelta = options.pop("timeout", None) or op.timeout
    if options:
        raise TypeError(f"options {', '.join(sorted(options))}: there are undo, retry, timeout and pivot")
    return OperationStep(
        name=full,
        after=pending.after or (),
        operation=str(op.definition),
        input=template,
        description=op.definition.description,
        timeout=timeout,
        retry=retry,
        local=op.placement == "local",
        task_queue=op.task_queue,
        at_most_once=op.at_most_once,
        undo=None if unwanted else UndoSpec.of(op),
        no_undo=unwanted,
        pivot=pivot,
    )


Builder = Callable[[Dag, P], Step[O] | None]
