"""What stands in a template may be any value that its type can write as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

import pytest
from pydantic import BaseModel

from activities import Context, SecretRef, operation
from flows import Dag, InvalidPlan, no_undo, saga
from tests.sagas.operations import Given, work
from tests.sagas.test_running import inner


class Color(Enum):
    RED = "red"


@dataclass
class Size:
    width: int


class Order(BaseModel):
    color: Color
    size: Size
    within: timedelta
    password: SecretRef


@operation(id="order", version="1.0.0")
async def order(ctx: Context[None], input: Order) -> None:
    """Order."""


def test_values_of_every_type_stand_in_templates() -> None:
    """Models, dataclasses, enums, durations and secrets are written as their own types write them."""
    given = {
        "color": Color.RED,
        "size": Size(3),
        "within": timedelta(minutes=1),
        "password": SecretRef("KEY"),
    }

    @saga(id="ordering", version="1.0.0")
    def ordering(dag: Dag, params: Given) -> None:
        dag.append("fields", order, given, undo=no_undo)
        dag.append("model", order, Order(**given), undo=no_undo)
        dag.append("params", work, params)
        dag.subsaga("sub", inner, Given(number=4))
        dag.constant("minute", timedelta(minutes=1))

    fields, model, params, _, sub, _, minute = ordering.plan(Given(number=1)).to_json()["steps"]
    written = {"color": "red", "size": {"width": 3}, "within": "PT1M", "password": "KEY"}
    assert fields["input"] == model["input"] == written
    assert params["input"] == {"number": 1, "others": []}
    assert sub["input"] == {"number": 4, "others": []}
    assert minute["value"] == "PT1M"


def test_what_json_cant_hold_is_a_mistake_of_the_plan() -> None:
    """A value that can't be written is listed with the other mistakes."""

    @saga(id="odd", version="1.0.0")
    def odd(dag: Dag, params: Given) -> None:
        dag.append("a", work, {"number": object()})
        dag.append("b", work, {"number": float("nan")})
        dag.append("c", work, {"number": 1})

    with pytest.raises(InvalidPlan) as caught:
        odd.plan(Given())
    assert [line.split(":")[0] for line in str(caught.value).splitlines()[1:]] == ["a", "b"]
