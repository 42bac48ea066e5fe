"""Building plans in plain Python (steno: ``DagBuilder``). Mistakes are collected, and told all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, overload

from typing_extensions import Unpack

from activities import Operation
from flows._building import (
    Building,
    NoUndo,
    Options,
    Pending,
    Step,
    flow_step,
    no_undo,
    operation_step,
    template_of,
    why,
)
from flows._fit import misfits, shaped
from flows._plan import ApprovalStep, ConstantStep, PlanStep, SubsagaStep, WaitStep
from flows._template import literal

if TYPE_CHECKING:
    from flows._saga import Saga
    from flows._sequence import Sequence

__all__ = ["Builder", "Dag", "NoUndo", "Pending", "Step", "no_undo"]

O = TypeVar("O")
O2 = TypeVar("O2")
O3 = TypeVar("O3")
P = TypeVar("P")
Runs: TypeAlias = "Operation[Any, O] | Saga[Any, O]"
Standing: TypeAlias = "Pending[O] | Step[O]"
After: TypeAlias = Iterable[Step[Any]] | None


class Dag:
    """Builds a plan. ``append`` follows everything appended before; ``append_parallel`` is one stage.

    Every mistake is remembered, and what is refused leaves the plan as it was; the plan is made only when
    there is none.

    Attributes:
        all: what all namespaces of the plan share.
    """

    def __init__(
        self, *, _building: Building | None = None, _path: str = "", _begin: tuple[str, ...] = ()
    ) -> None:
        """Begin with nothing."""
        self.all = _building or Building()
        self._path = _path
        self._begin = _begin
        self._tips = dict.fromkeys(_begin)  # what the next step comes after
        self._passed: dict[str, tuple[str, ...]] = {}  # tips that a step with edges of its own came after
        self._count = len(self.all.steps)
        self._pending: list[Pending[Any]] = []

    def append(self, name: str, runs: Runs[O], input: Any, **options: Unpack[Options]) -> Step[O]:
        """Put an operation, or a subsaga, after everything that was appended before.

        Args:
            name: of the step, unique in its namespace.
            runs: the operation, or the saga.
            input: its model, or a template: literals and refs.
            options: ``undo=no_undo``, ``retry=``, ``timeout=``, ``pivot=True`` (no way back after it).
        """
        return self._next(name, self._put(Pending(name, runs, input, options), tuple(self._tips)))

    @overload
    def append_parallel(self, a: Standing[O], /) -> tuple[Step[O]]: ...
    @overload
    def append_parallel(self, a: Standing[O], b: Standing[O2], /) -> tuple[Step[O], Step[O2]]: ...
    @overload
    def append_parallel(
        self, a: Standing[O], b: Standing[O2], c: Standing[O3], /
    ) -> tuple[Step[O], Step[O2], Step[O3]]: ...
    @overload
    def append_parallel(self, *steps: Standing[O]) -> tuple[Step[O], ...]: ...
    def append_parallel(self, *steps: Any) -> tuple[Step[Any], ...]:
        """Put steps beside each other, after everything that was appended before; what follows waits for all.

        Args:
            steps: made with :meth:`step`.
        """
        if not steps:
            place = f" after {', '.join(self._tips)}" if self._tips else ""
            self.all.wrong(
                f"{self._path}append_parallel{place}", "steps: there are none; give it some, or leave it out"
            )
        already = [step.name for step in steps if isinstance(step, Step)]
        passed = [tip for name in already for tip in self._passed.get(name, ())]
        before = tuple(dict.fromkeys(tip for tip in (*passed, *self._tips) if tip not in already))
        placed = tuple(self._in_stage(step, before) for step in steps)
        self._tips = dict.fromkeys(s.name for s in placed if s.name in self.all.steps) or self._tips
        return placed

    @overload
    def step(
        self, name: str, runs: Runs[O], input: Any, *, after: None = None, **options: Unpack[Options]
    ) -> Pending[O]: ...
    @overload
    def step(
        self, name: str, runs: Runs[O], input: Any, *, after: Iterable[Step[Any]], **options: Unpack[Options]
    ) -> Step[O]: ...
    def step(
        self, name: str, runs: Runs[O], input: Any, *, after: After = None, **options: Unpack[Options]
    ) -> Pending[O] | Step[O]:
        """Make a step for :meth:`append_parallel`; with ``after`` it is put into the plan at once.

        Args:
            name: of the step.
            runs: the operation, or the saga.
            input: its model, or a template.
            after: the steps that must have ended before it; the stage decides unless given.
            options: as in :meth:`append`.
        """
        pending: Pending[O] = Pending(name, runs, input, options)
        if after is None:
            self._pending.append(pending)
            return pending
        edges = self._edges(name, after)
        return self._aside(name, edges is not None and self._put(pending, edges), edges or ())

    def constant(self, name: str, value: Any) -> Step[Any]:
        """Give a value a name (steno: constant node). It waits for nothing, and nothing waits for it."""
        if self.all.free(self._path, name):
            self._made(name, lambda: _constant(self._path + name, value))
        return Step(f"{self._path}{name}")

    def wait(self, name: str, duration: timedelta, *, after: After = None) -> Step[None]:
        """Wait, after everything that was appended before, or after some steps.

        Args:
            name: of the step.
            duration: above zero.
            after: as in :meth:`step`.
        """
        return self._timed(
            name, after, lambda full, edges: WaitStep(name=full, after=edges, duration=duration)
        )

    def approval(self, name: str, *, timeout: timedelta | None = None, after: After = None) -> Step[Any]:
        """Wait for an operator, after everything that was appended before, or after some steps.

        Args:
            name: of the step.
            timeout: above zero; as long as it takes unless given.
            after: as in :meth:`step`.
        """
        return self._timed(
            name, after, lambda full, edges: ApprovalStep(name=full, after=edges, timeout=timeout)
        )

    def subsaga(self, name: str, saga: Saga[Any, O], params: Any) -> Step[O]:
        """Put another saga inline, as a namespace of its own, after everything that was appended before.

        Several beside each other: ``append_parallel(dag.step("a", saga, params), …)``.

        Args:
            name: its steps are called ``name/step``; outside only its result is visible.
            saga: whose builder is called with the params.
            params: its model, or a template; fields given as refs reach its steps' inputs.
        """
        return self.append(name, saga, params)

    @overload
    def flow(
        self, name: str, flow: type[Sequence[Any, O]], input: Any, *, after: After = None
    ) -> Step[O]: ...
    @overload
    def flow(self, name: str, flow: Saga[Any, O], input: Any, *, after: After = None) -> Step[O]: ...
    def flow(self, name: str, flow: Any, input: Any, *, after: After = None) -> Step[Any]:
        """Run another flow as a child workflow, after everything that was appended before, or after some steps.

        It has a history, a policy and an unwinding of its own; what it left when it ended is undone in its place.

        Args:
            name: of the step; what the flow did is called ``name/step`` when it is undone.
            flow: a sequence class, or a saga.
            input: its model, or a template.
            after: as in :meth:`step`.
        """
        full = f"{self._path}{name}"
        if not self.all.use_flow(flow, full):
            return Step(full)
        return self._timed(name, after, lambda full, edges: flow_step(full, flow, input, edges))

    @property
    def empty(self) -> bool:
        """Whether no step was put into it."""
        return len(self.all.steps) == self._count

    def _put(self, pending: Pending[Any], after: tuple[str, ...]) -> bool:
        """Put a step into the plan, and say whether it stands."""
        from flows._saga import Saga

        if not self.all.free(self._path, pending.name):
            return False
        if isinstance(pending.runs, Saga):
            return self._inline(pending, after)
        full = self._path + pending.name
        if not isinstance(pending.runs, Operation):
            self.all.refuse(
                full, f"operation: {_shown(pending.runs)} is none; give what @operation or @saga made"
            )
            return False
        return self.all.use(pending.runs, full) and self._made(
            pending.name, lambda: operation_step(full, pending, after)
        )

    def _inline(self, pending: Pending[Any], after: tuple[str, ...]) -> bool:
        saga, full, count = pending.runs, self._path + pending.name, len(self.all.steps)
        inner = Dag(_building=self.all, _path=f"{full}/", _begin=after)
        wrong, params = _params(pending, saga)
        for line in wrong:
            self.all.refuse(full, line)
        if wrong:
            return False
        try:
            result = inner.finish(saga.build(inner, params))
        except Exception as error:
            self.all.back_to(count)
            raised = f"raised {type(error).__name__}: {why(error)}"
            self.all.refuse(full, f"the builder of {saga.definition} {raised}")
            return False
        return self._made(
            pending.name, lambda: SubsagaStep(name=full, after=tuple(inner._tips), result=result)
        )

    def _made(self, name: str, make: Callable[[], PlanStep]) -> bool:
        """Make a step and put it in, unless something of it is wrong."""
        try:
            step = make()
        except Exception as error:
            self.all.refuse(self._path + name, why(error))
            return False
        self.all.steps[step.name] = step
        return True

    def finish(self, result: Any) -> str | None:
        """Take what the builder returned.

        Returns:
            The full name of the step whose output is the result, if there is one.
        """
        where = f"{self._path[:-1]}: result" if self._path else "result"
        for pending in self._pending:
            self.all.refuse(
                f"{self._path}{pending.name}",
                "after: stands nowhere; give it to append_parallel, or say after=",
            )
        if self._path and self.empty:
            self.all.wrong(self._path[:-1], "there is no step in it; a subsaga needs one")
        if result is None or isinstance(result, Pending):
            return None
        if not isinstance(result, Step):
            self.all.wrong(where, f"the builder returned {_shown(result)}; let it return a step, or nothing")
        elif result.name.startswith(self._path) and self.all.knows(result.name):
            return result.name
        else:
            self.all.wrong(where, f"{result.name} is none of its steps; let the builder return one")
        return None

    def _edges(self, name: Any, after: Iterable[Step[Any]]) -> tuple[str, ...] | None:
        """Give the names of what a step comes after; ``None`` when something else is among them."""
        given = (after,) if isinstance(after, Step) else tuple(after)
        for other in given:
            if not isinstance(other, Step):
                self.all.refuse(
                    f"{self._path}{name}",
                    f"after: {_shown(other)} is no step of it; give what append returned",
                )
                return None
        names = tuple(dict.fromkeys(step.name for step in given))
        inside = any(map(self._follows, names))
        return names if inside else (*self._begin, *names)

    def _follows(self, name: str) -> bool:
        """Whether what comes after a step comes after what stood before this namespace."""
        return name.startswith(self._path) and not isinstance(self.all.steps.get(name), ConstantStep)

    def _in_stage(self, step: Any, before: tuple[str, ...]) -> Step[Any]:
        if isinstance(step, Step):
            return step
        if not isinstance(step, Pending):
            self.all.refuse(
                f"{self._path}append_parallel", f"steps: {_shown(step)} is none; give what dag.step returned"
            )
            return Step(f"{self._path}append_parallel")
        if step in self._pending:
            self._pending.remove(step)
        self._put(step, before)
        return Step(f"{self._path}{step.name}")

    def _timed(self, name: str, after: After, make: Callable[[str, tuple[str, ...]], PlanStep]) -> Step[Any]:
        edges = tuple(self._tips) if after is None else self._edges(name, after)
        stands = (
            edges is not None
            and self.all.free(self._path, name)
            and self._made(name, lambda: make(self._path + name, edges))
        )
        return self._next(name, stands) if after is None else self._aside(name, stands, edges or ())

    def _next(self, name: str, stands: bool) -> Step[Any]:
        if stands:
            self._tips = {self._path + name: None}
        return Step(f"{self._path}{name}")

    def _aside(self, name: str, stands: bool, edges: tuple[str, ...]) -> Step[Any]:
        if stands:
            self._passed[self._path + name] = tuple(edge for edge in edges if edge in self._tips)
            for edge in edges:
                self._tips.pop(edge, None)
            self._tips[self._path + name] = None
        return Step(f"{self._path}{name}")


def _params(pending: Pending[Any], saga: Saga[Any, Any]) -> tuple[list[str], Any]:
    """Make a subsaga's params; say what is wrong with them."""
    if pending.options:
        return [f"options {', '.join(pending.options)}: a subsaga has none; its steps have them"], None
    try:
        template = template_of(pending.input)
    except TypeError as error:
        return [f"params: {error}"], None
    wrong = [f"params: {line}" for line in misfits(template, saga.input)]
    return wrong, None if wrong else shaped(template, saga.input.type)


def _constant(name: str, value: Any) -> ConstantStep:
    try:
        return ConstantStep(name=name, value=literal(value, "it"))
    except Exception as error:
        raise TypeError(f"value: {why(error)}; give a value that JSON can hold") from None


def _shown(value: Any) -> str:
    """Name a value that is out of place, without a long text."""
    return f"{type(value).__name__} {getattr(value, '__name__', None) or repr(value)}"[:100]


Builder = Callable[[Dag, P], Step[O] | None]
