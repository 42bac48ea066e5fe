"""Sagas: flows given as a plan, built by plain Python from the real params."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from activities import CounterstepError, Definition, DefinitionError, InvalidInput, Registry
from activities._failure import message_of
from activities._json import Json
from activities._schema import Schema
from flows._dag import Builder, Dag, Step
from flows._errors import InvalidPlan
from flows._plan import Plan
from flows._plan_checks import complete
from flows._policy import Policy
from flows._template import encode, refs

P = TypeVar("P")
O = TypeVar("O")


class Saga(Generic[P, O]):
    """A saga's declaration: what builds its plan. It starts like any other flow.

    Attributes:
        definition: id, version, description.
        policy: what happens when something fails.
        input: the params.
        output: of the step that the builder returns.
    """

    def __init__(self, builder: Builder[P, O], definition: Definition, policy: Policy) -> None:
        """Use :func:`saga` instead."""
        self.builder = builder
        self.definition = definition
        self.policy = policy
        params, output = _types(builder, definition)
        self.input: Schema[P] = Schema(params)
        self.output: Schema[O] = Schema(output)

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
        """
        typed = self.input.load_value(self.input.dump(params, f"{self.definition}: params"), f"{self.definition}: params")
        dag = Dag()
        try:
            result = self.build(dag, typed)
        except CounterstepError:
            raise
        except BaseException as error:
            raise InvalidPlan(f"{self.definition}: its builder raised {type(error).__name__}: {message_of(error)}") from error
        bare = Plan(
            id=self.definition.id,
            version=self.definition.version,
            description=self.definition.description,
            policy=self.policy,
            steps=dag.steps,
            result=result.name if isinstance(result, Step) else None,
        )
        return complete(bare, registry or Registry(*dag.operations), dag.problems)

    def build(self, dag: Dag, params: P) -> Step[O] | None:
        """Call the builder."""
        return self.builder(dag, params)

    def shape(self, params: Any, where: str, wrong: Callable[[str, str], None]) -> P:
        """Make the params of a subsaga; fields given as refs stay refs."""
        dumped: Json = encode(params, lambda value: Schema(Any).dump(value, where))
        try:
            if not any(True for _ in refs(dumped)):
                return self.input.load_value(dumped, f"{where}: params")
        except InvalidInput as error:
            wrong(where, f"params: {error.message}")
        type_ = self.input.type
        if isinstance(params, dict) and isinstance(type_, type) and issubclass(type_, BaseModel):
            params = type_.model_construct(**params)
        made: P = params
        return made


class _Declare:
    """What :func:`saga` returns; its types go from the builder to the saga."""

    def __init__(self, definition: Callable[[Callable[..., Any]], Definition], policy: Policy) -> None:
        self._definition, self._policy = definition, policy

    def __call__(self, builder: Callable[[Dag, P], Step[O]], /) -> Saga[P, O]:
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
        return Definition(id, version, text)

    return _Declare(definition, policy or Policy())


def _types(builder: Callable[..., Any], definition: Definition) -> tuple[Any, Any]:
    parameters = list(inspect.signature(builder).parameters)
    hints = get_type_hints(builder)
    if len(parameters) != 2 or parameters[1] not in hints:
        raise DefinitionError(f"{definition}: write def {builder.__name__}(dag: Dag, params: Params) -> Step[Result]")
    result = hints.get("return")
    output = get_args(result)[0] if get_origin(result) is Step else Any
    return hints[parameters[1]], output
