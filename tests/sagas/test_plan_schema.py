"""The published JSON Schema of plans. `python -m tests.sagas.test_plan_schema` writes it again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from activities import EmptyInput
from flows import Plan
from tests.sagas.operations import Given
from tests.sagas.test_building import inner, wide
from tests.sagas.test_running import diamond_cancels, line, mixed_kinds, outer

FILE = Path(__file__).parents[2] / "docs" / "plan.schema.json"


def written() -> str:
    """Write the schema."""
    return json.dumps(Plan.model_json_schema(), indent=2, ensure_ascii=False) + "\n"


def errors(plan: Any) -> list[str]:
    """Say what the published schema has against a plan."""
    return [error.message for error in Draft202012Validator(json.loads(FILE.read_text())).iter_errors(plan)]


def test_the_published_schema_is_up_to_date() -> None:
    """docs/plan.schema.json is the model's own; write it again with `python -m tests.sagas.test_plan_schema`."""
    Draft202012Validator.check_schema(json.loads(FILE.read_text()))
    assert FILE.read_text() == written()


SAMPLES = {
    "line": lambda: line.plan(Given()),
    "cancels": lambda: diamond_cancels.plan(EmptyInput()),
    "outer": lambda: outer.plan(EmptyInput()),
    "kinds": lambda: mixed_kinds.plan(EmptyInput()),
    "inner": lambda: inner.plan(Given()),
    "wide": lambda: wide.plan(EmptyInput()),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_what_plans_write_fits_it(name: str) -> None:
    """Every kind of step, with a policy."""
    assert errors(SAMPLES[name]().to_json()) == []


@pytest.mark.parametrize(
    ("step", "fits"),
    [
        ({"name": "a", "operation": "work@^1"}, True),
        ({"name": "a", "operation": "work", "input": {"n": {"$ref": "b"}}, "timeout": "PT1S"}, True),
        ({"name": "w", "kind": "wait", "duration": "PT1S"}, True),
        ({"name": "w", "duration": "PT1S"}, False),
        ({"name": "a"}, False),
        ({"operation": "work"}, False),
        ({"name": "a", "operation": "work", "tiemout": "PT1S"}, False),
        ({"name": "a", "kind": "loop"}, False),
    ],
)
def test_it_agrees_with_the_model(step: dict[str, Any], fits: bool) -> None:
    """What the schema takes the model takes; a step without a kind is an operation in both."""
    plan = {"steps": [step]}
    assert (errors(plan) == []) is fits
    if fits:
        Plan.model_validate(plan)
    else:
        with pytest.raises(ValueError, match="validation error"):
            Plan.model_validate(plan)


if __name__ == "__main__":
    FILE.write_text(written())
