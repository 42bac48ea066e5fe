"""A plan in the making: steps that stand, mistakes that were made."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Generic, TypeVar

from pydantic import ValidationError
from typing_extensions import TypedDict

from activities import Operation, Retry
from activities._failure import describe, message_of
from activities._json import Json
from flows._names import EXPLICIT, NAME_LIMIT
from flows._plan import FlowStep, OperationStep, PlanStep
from flows._template import Ref, encode, literal

Out = TypeVar("Out", covariant=True)


class NoUndo:
    """Says on purpose that a step is not undone."""

    def __repr__(self) -> str:
        return "no_undo"


no_undo: Final = NoUndo()


class Options(TypedDict, total=False):
    """What a step may have instead of its operation's own.

    Attributes:
        undo: ``no_undo``, of a step that isn't undone.
        retry: of its failures.
        timeout: of one attempt.
        pivot: no way back after it.
    """

    undo: NoUndo
    retry: Retry
    timeout: timedelta
    pivot: bool


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


@dataclass(frozen=True, eq=False)
class Pending(Generic[Out]):
    """A step that :meth:`Dag.step` has made and that stands in no plan yet."""

    name: str
    runs: Any
    input: Any
    options: Options

    def ref(self, *path: str | int) -> Any:
        """Refuse: it has no place in the plan yet, and may get none."""
        raise TypeError(
            f"step {self.name} stands in no plan yet; refer to what append_parallel returns for it"
        )


@dataclass
class Building:
    """What all namespaces of one plan share.

    Attributes:
        steps: by full name, in plan order.
        problems: what is wrong, a line each.
        refused: names of steps that don't stand in the plan because something is wrong with them.
        operations: by ``id@version``.
        flows: by ``id@version``.
    """

    steps: dict[str, PlanStep] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    operations: dict[str, Operation[Any, Any]] = field(default_factory=dict)
    flows: dict[str, Any] = field(default_factory=dict)

    def knows(self, name: str) -> bool:
        """Whether a step stands in the plan, or would but for a mistake."""
        return name in self.steps or name in self.refused

    def wrong(self, where: str, what: str) -> None:
        """Take note of a mistake."""
        self.problems.append(f"{where}: {what}")

    def refuse(self, name: str, what: str) -> None:
        """Take note of a mistake that keeps a step out of the plan."""
        self.wrong(name, what)
        self.refused.add(name)

    def free(self, path: str, name: Any) -> bool:
        """Whether a step may have a name; if not, that is a mistake."""
        full = f"{path}{name}"
        if not isinstance(name, str) or not EXPLICIT.match(name):
            self.refuse(full[:NAME_LIMIT], "name: must be letters, digits, '-' and '_', at most 100 of them")
        elif len(full) > NAME_LIMIT:
            self.refuse(full, f"name: has {len(full)} characters with its path, {NAME_LIMIT} are allowed")
        elif full in self.steps:
            self.wrong(full, "name: used twice; each step needs its own")
        else:
            return True
        return False

    def back_to(self, count: int) -> None:
        """Take out the steps behind the first so many."""
        for name in list(self.steps)[count:]:
            del self.steps[name]
            self.refused.add(name)

    def use(self, operation: Operation[Any, Any], step: str) -> bool:
        """Take note of an operation; another one of the same id and version is a mistake."""
        name = str(operation.definition)
        if self.operations.setdefault(name, operation) is operation:
            return True
        self.refuse(step, f"operation: another step has another {name}; give one of them a new version")
        return False

    def use_flow(self, flow: Any, step: str) -> bool:
        """Take note of a flow that a step starts as a child."""
        from flows._sequence import is_flow

        if not is_flow(flow):
            self.refuse(step, "flow: it is none; give a sequence class, or what @saga made")
            return False
        if self.flows.setdefault(str(flow.definition), flow) is flow:
            return True
        self.refuse(step, f"flow: another step has another {flow.definition}; give one of them a new version")
        return False


def flow_step(name: str, flow: Any, input: Any, after: tuple[str, ...]) -> FlowStep:
    """Make the step of a child flow.

    Raises:
        TypeError: when its input is no template.
    """
    return FlowStep(name=name, after=after, flow=str(flow.definition), input=_input(input))


def template_of(value: Any) -> Json:
    """Turn what the author wrote into a template.

    Args:
        value: a model, or literals and references.

    Raises:
        TypeError: saying what in it is no JSON.
    """
    try:
        return encode(value, lambda part: literal(part, "it"))
    except Exception as error:
        raise TypeError(f"{why(error)}; give literals and references, in dicts and lists") from None


def why(error: Exception) -> str:
    """Say what an exception says, without the values that pydantic would show."""
    return describe(error) if isinstance(error, ValidationError) else message_of(error)


def operation_step(name: str, pending: Pending[Any], after: tuple[str, ...]) -> OperationStep:
    """Make the step of an operation.

    Raises:
        TypeError, ValueError, NotSerializable: when an option, or the input, can't be one.
    """
    op: Operation[Any, Any] = pending.runs
    given: dict[str, Any] = {**pending.options}
    undo = given.pop("undo", None)
    if undo is not None and undo is not no_undo:
        raise TypeError("undo: can only be no_undo; another undo belongs to another operation")
    step = OperationStep(
        name=name,
        after=after,
        operation=str(op.definition),
        input=_input(pending.input),
        no_undo=undo is no_undo,
        **{option: given.pop(option) for option in ("retry", "timeout", "pivot") if option in given},
    )
    if given:
        raise TypeError(f"options {', '.join(sorted(given))}: there are undo, retry, timeout and pivot")
    return step


def _input(value: Any) -> Json:
    try:
        return template_of(value)
    except TypeError as error:
        raise TypeError(f"input: {error}") from None
