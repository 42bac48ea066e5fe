"""Sagas: flows given as a plan, built by plain Python from the real params."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cached_property
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints, overload

from temporalio import workflow

from activities import Definition, DefinitionError, Registry
from activities._definition import declared
from activities._failure import message_of
from activities._schema import Schema
from flows._dag import Builder, Dag, Step
from flows._errors import InvalidPlan
from flows._plan import Plan
from flows._plan_checks import complete
from flows._plan_size import warn_if_large
from flows._policy import Policy

P = TypeVar("P")
O = TypeVar("O")


class Saga(Generic[P, O]):
    """A saga's declaration: what builds its plan. It starts like any other flow.

    Attributes:
        definition: id, version, description.
        policy: what happens when something fails.
    """

    def __init__(self, builder: Builder[P, O], definition: Definition, policy: Policy) -> None:
        """Use :func:`saga` instead."""
        self.builder = builder
        self.definition = definition
        self.policy = policy
        if not workflow.unsafe.in_sandbox():  # what was fine when the worker started stays so
            _ = self._types

    @cached_property
    def _types(self) -> tuple[Any, Any, bool]:
        return _types(self.builder, self.definition)

    @cached_property
    def _schemas(self) -> tuple[Schema[P], Schema[O]]:
        return Schema(self._types[0]), Schema(self._types[1])

    @property
    def input(self) -> Schema[P]:
        """The type of the params."""
        return self._schemas[0]

    @property
    def output(self) -> Schema[O]:
        """The type of the output of the step that the builder returns."""
        return self._schemas[1]

    @property
    def returns(self) -> bool:
        """Whether the builder says that it returns a step."""
        return self._types[2]

    def __repr__(self) -> str:
        """Name it."""
        return f"<saga {self.definition}>"

    def plan(self, params: P, registry: Registry | None = None) -> Plan:
        """Build the plan, without Temporal.

        Args:
            params: what the builder gets.
            registry: that operations are looked up in; those the plan names unless given.

        Raises:
            InvalidPlan: listing every mistake.
            InvalidInput: when the params don't fit their model.

        Warns:
            LargePlan: when a run may have to carry more than Temporal records.
        """
        who = f"{self.definition}: params"
        typed = self.input.load_value(self.input.dump(params, who), who)
        dag = Dag()
        result, raised = self._built(dag, typed)
        bare = Plan(
            id=self.definition.id,
            version=self.definition.version,
            description=self.definition.description,
            policy=self.policy,
            steps=tuple(dag.all.steps.values()),
            result=result,
        )
        try:
            found = registry or Registry(*dag.all.operations.values(), *dag.all.flows.values())
            whole = complete(bare, found, dag.all.problems, dict.fromkeys(dag.all.refused, ()))
        except InvalidPlan as error:
            raise error from raised
        warn_if_large(whole)
        return whole

    def _built(self, dag: Dag, params: P) -> tuple[str | None, BaseException | None]:
        """Build; give the name of the result, and what the builder raised, which is a mistake too."""
        try:
            built = self.build(dag, params)
        except BaseException as error:
            dag.all.refuse("the builder", f"raised {type(error).__name__}: {message_of(error)}")
            return None, error
        result = dag.finish(built)
        if built is None and self.returns:
            dag.all.wrong("result", "the builder returned nothing; let it return a step, as it says")
        return result, None

    def build(self, dag: Dag, params: P) -> Step[O] | None:
        """Call the builder."""
        return self.builder(dag, params)


class _Declare:
    """What :func:`saga` returns; its types go from the builder to the saga."""

    def __init__(self, definition: Callable[[Callable[..., Any]], Definition], policy: Policy) -> None:
        self._definition, self._policy = definition, policy

    @overload
    def __call__(self, builder: Callable[[Dag, P], Step[O]], /) -> Saga[P, O]: ...
    @overload
    def __call__(self, builder: Callable[[Dag, P], None], /) -> Saga[P, None]: ...
    def __call__(self, builder: Callable[..., Any], /) -> Saga[Any, Any]:
        return Saga(builder, self._definition(builder), self._policy)


def saga(*, id: str, version: str, description: str | None = None, policy: Policy | None = None) -> _Declare:
    """Declare a saga: a builder ``(dag, params) -> step`` (steno: ``SagaType``).

    Args:
        id: letters, digits, ``-`` and ``_``.
        version: a full semantic version.
        description: the docstring's first line unless given.
        policy: what happens when something fails.

    Raises:
        DefinitionError: when something of it is wrong.
    """

    def definition(builder: Callable[..., Any]) -> Definition:
        text = description if description is not None else (inspect.getdoc(builder) or "").split("\n")[0]
        return declared(id, version, text)

    return _Declare(definition, policy or Policy())


def _types(builder: Callable[..., Any], definition: Definition) -> tuple[Any, Any, bool]:
    shape = f"write def {getattr(builder, '__name__', 'build')}(dag: Dag, params: Params) -> Step[Result]"
    try:
        parameters = list(inspect.signature(builder).parameters)
        hints = get_type_hints(builder)
    except (TypeError, ValueError):
        raise DefinitionError(f"{definition}: {builder!r} is no function; {shape}") from None
    except NameError as error:
        raise DefinitionError(
            f"{definition}: {error}; import its types at run time, not under TYPE_CHECKING"
        ) from None
    if len(parameters) != 2 or parameters[1] not in hints or inspect.iscoroutinefunction(builder):
        raise DefinitionError(f"{definition}: {shape}")
    result = hints.get("return")
    step = get_origin(result) is Step
    return hints[parameters[1]], get_args(result)[0] if step else Any, step or result is Step
