"""A template that can't fit its input model is a mistake of the plan; one that may fit isn't."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, Field, field_validator, model_validator

from activities import operation
from flows import Dag, Step, no_undo
from tests.sagas.operations import Made, work
from tests.sagas.planning import edges, mistakes_of, plan_of


class FilledIn(BaseModel):
    """Two fields that must be given."""

    name: str
    size: int = Field(ge=1)

    @field_validator("name")
    @classmethod
    def short(cls, name: str) -> str:
        """Refuse long names."""
        if len(name) > 30:
            raise ValueError("too long")
        return name

    @model_validator(mode="after")
    def together(self) -> FilledIn:
        """Refuse some pairs."""
        if self.name == "pair" and self.size == 2:
            raise ValueError("not together")
        return self


@operation(id="filled-in", version="1.0.0")
async def filled_in(ctx: Any, input: FilledIn) -> Made:
    raise NotImplementedError


@filled_in.undo
async def undo_filled_in(ctx: Any, input: FilledIn, outcome: Any) -> None: ...


FITS: dict[str, Callable[[Step[Made]], Any]] = {
    "all known": lambda a: {"name": "x", "size": 1},
    "a model": lambda a: FilledIn(name="x", size=1),
    "a field": lambda a: {"name": a.ref("name"), "size": 2},
    "the whole": lambda a: a.ref(),
    "a validator of the whole": lambda a: {"name": "pair", "size": a.ref("id")},
}
MISFITS: dict[str, tuple[Callable[[Step[Made]], Any], list[str]]] = {
    "missing": (lambda a: {"size": a.ref("id")}, ["name: Field required"]),
    "a literal beside": (
        lambda a: {"name": a.ref("name"), "size": 0},
        ["size: Input should be greater than or equal to 1"],
    ),
    "its validator": (
        lambda a: {"name": "x" * 40, "size": a.ref("id")},
        ["name: Value error, too long"],
    ),
    "two": (
        lambda a: {"name": 3, "size": 0},
        ["name: Input should be a valid string", "size: Input should be greater than or equal to 1"],
    ),
    "unknown": (
        lambda a: {"name": a.ref("name"), "size": 1, "sice": 2},
        ["sice: FilledIn has no such field; its fields are: name, size"],
    ),
    "a whole one": (lambda a: {"name": "pair", "size": 2}, ["value: Value error, not together"]),
    "a list": (lambda a: [a.ref("id")], ["value: Input should be an object"]),
}


@pytest.mark.parametrize("case", FITS)
def test_a_template_that_may_fit(case: str) -> None:
    """What only a reference's value can show isn't held against a template."""
    plan_of(lambda dag: dag.append("b", filled_in, FITS[case](dag.append("a", work, {}))))


@pytest.mark.parametrize("case", MISFITS)
def test_a_template_that_cant_fit(case: str) -> None:
    """Each literal that a field refuses, each field that is missing or unknown is a line."""
    template, says = MISFITS[case]
    lines = mistakes_of(lambda dag: dag.append("b", filled_in, template(dag.append("a", work, {}))))
    assert lines == [f"b: input: {line}" for line in says]


class Nested(BaseModel):
    """Unions, lists and dicts of models."""

    either: FilledIn | list[FilledIn] | None = None
    many: list[FilledIn] = []
    by_name: dict[str, FilledIn] = {}


@operation(id="nested", version="1.0.0")
async def nested(ctx: Any, input: Nested) -> None: ...


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ({"either": {"name": Step("a").ref("name"), "size": 1}}, []),
        ({"either": [{"name": Step("a").ref("name"), "size": 1}]}, []),
        ({"either": Step("a").ref(), "many": [Step("a").ref()], "by_name": {"x": Step("a").ref()}}, []),
        ({"many": [{"name": Step("a").ref("name")}]}, ["many.0.size: Field required"]),
        ({"many": {"x": Step("a").ref()}}, ["many: Input should be a valid array"]),
        (
            {"by_name": {"x": {"name": Step("a").ref("name"), "size": "?"}}},
            ["by_name.x.size: Input should be a valid integer, unable to parse string as an integer"],
        ),
        (
            {"many": [{"name": Step("a").ref("name"), "size": 1, "x": 1}]},
            ["many.0.x: FilledIn has no such field; its fields are: name, size"],
        ),
    ],
)
def test_templates_inside_templates(template: Any, says: list[str]) -> None:
    """Optional, unions, lists and dicts of models; a union counts as fitting where a reference might make it fit."""

    def build(dag: Dag) -> None:
        dag.append("a", work, {})
        dag.append("b", nested, template, undo=no_undo)

    if says:
        assert mistakes_of(build) == [f"b: input: {line}" for line in says]
    else:
        assert edges(plan_of(build)) == {"a": [], "b": ["a"]}
