"""What gets input: every flow that the examples offer, plans, and undo."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from pydantic import TypeAdapter, ValidationError

import examples
from activities import Operation
from flows import Plan
from flows._module import load_modules, offered
from flows._resume import RunRef
from tests.fuzz.from_schema import Shape
from tests.fuzz.shapes import Send


@dataclass(frozen=True)
class Target:
    """What gets the input.

    Attributes:
        type: of the workflow.
        model: of its input.
        refusals: the types of the failure that a run may end with.
        runs: of which the last sees the input: a sequence's bare id goes on, as new, under its exact type.
        tells: whether a message may hold what was sent: a plan's step by its name, a run by its id.
        looks: whether an input that fits can be refused too, by whoever looks closer: at a plan's steps, for a run.
    """

    type: str
    model: TypeAdapter[Any]
    refusals: tuple[str, ...] = ("InvalidInput",)
    runs: int = 1
    tells: bool = False
    looks: bool = False

    @cached_property
    def shape(self) -> Shape:
        """What its JSON Schema says."""
        return Shape(self.model.json_schema())

    def fits(self, text: str | bytes) -> bool:
        """Whether the model takes it: pydantic takes a little more than its schema says, such as ``"1"`` for 1."""
        try:
            self.model.validate_json(text)
        except ValidationError:
            return False
        return True


def modules() -> list[str]:
    """Name the modules of the examples that offer a flow, looking into all of them."""
    found = [module.name for module in pkgutil.walk_packages(examples.__path__, "examples.")]
    return [name for name in found if any(_is_flow(entry) for entry in offered(name))]


def served() -> list[Any]:
    """Give all that the examples offer, and a flow whose input is less plain than theirs."""
    entries = [entry for name in modules() for entry in load_modules([name]).registry]
    return [*{str(entry.definition): entry for entry in entries}.values(), Send]


def targets() -> Iterator[Target]:
    """Give one for each flow that is served; some by another name too; and what is built in."""
    found = {str(entry.definition): _target(entry) for entry in served() if _is_flow(entry)}
    yield from found.values()
    yield replace(found["onboard-tenant@1.0.0"], type="onboard-tenant@~1")
    yield replace(found["import-catalog@1.0.0"], type="import-catalog", runs=2)
    yield Target("saga", TypeAdapter(Plan), ("InvalidInput", "InvalidPlan"), tells=True, looks=True)
    yield Target("undo", TypeAdapter(RunRef | str), tells=True, looks=True)


def _target(entry: Any) -> Target:
    return Target(str(entry.definition), entry.input.adapter)


def _is_flow(entry: Any) -> bool:
    return not isinstance(entry, Operation)
