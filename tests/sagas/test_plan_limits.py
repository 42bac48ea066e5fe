"""Refusals have an end, and so have plans."""

from __future__ import annotations

import random
import re
import warnings
from typing import Any

import pytest
from pydantic import BaseModel

from activities import Context, DefinitionError, EmptyInput, Outcome, operation
from flows import Dag, InvalidPlan, LargePlan, saga
from flows._resolved import Resolved
from tests.sagas.operations import work
from tests.sagas.planning import Build, lines_of, plan_of, typed


class Text(BaseModel):
    """What is noted."""

    text: str


@operation(id="noted", version="1.0.0")
async def noted(ctx: Context[None], input: Text) -> None:
    """Take a text."""


@noted.undo
async def forgotten(ctx: Context[None], input: Text, outcome: Outcome[None]) -> None: ...


def test_a_thousand_mistakes_have_an_end() -> None:
    """A message has 8 KB at most; it says how many mistakes there are, and how many of them it doesn't show."""

    def build(dag: Dag) -> None:
        for number in range(1000):
            dag.append(f"step {number}", work, {})

    with pytest.raises(InvalidPlan) as refused:
        plan_of(build)
    lines = refused.value.message.split("\n")
    assert lines[0] == "sample@1.0.0 can't be run, 1000 mistakes:"
    assert lines[-1] == f"and {1000 - len(lines) + 2} more"
    assert len(refused.value.message) < 8192


def test_a_plan_that_is_too_large() -> None:
    """A plan over 1.8 MiB compressed is refused, saying how large it is."""
    noise = random.Random(1)

    def build(dag: Dag) -> None:
        for number in range(40):
            dag.constant(f"c{number}", "".join(noise.choices("0123456789abcdef", k=100_000)))
        dag.append("a", work, {})

    with pytest.raises(InvalidPlan) as refused:
        Resolved.of(plan_of(build))
    (line,) = lines_of(refused.value, "sample@1.0.0")
    assert line.startswith("steps: the plan has ") and line.endswith(
        " bytes packed, 1887436 can be recorded; make it two sagas"
    )


async def waits(dag: Dag, params: EmptyInput) -> None:
    """A builder that isn't plain."""


def _steps(count: int, bytes_each: int) -> Build:
    """Steps beside each other, with literals that can't be compressed well."""
    noise = random.Random(1)

    def build(dag: Dag) -> None:
        dag.append_parallel(
            *(dag.step(f"n{n}", noted, {"text": noise.randbytes(bytes_each).hex()}) for n in range(count))
        )

    return build


def test_a_plan_whose_run_may_carry_too_much_is_warned_of() -> None:
    """800 steps of 2,200 digits: the plan can be recorded, but not with their inputs beside it; the caller is told."""
    with pytest.warns(LargePlan) as warned:
        plan_of(_steps(800, 1100))
    (told,) = warned
    found = re.fullmatch(
        r"sample@1.0.0: what its run carries may pass 1887436 bytes packed \(about (\d+) with small outputs\); "
        "make it two sagas, or pass references to large values",
        str(told.message),
    )
    assert found is not None and 2_700_000 < int(found[1]) < 2_900_000
    assert told.filename.endswith("planning.py")


@pytest.mark.parametrize(("count", "bytes_each"), [(700, 1100), (1500, 10)])
def test_other_plans_are_not_warned_of(count: int, bytes_each: int) -> None:
    """Neither one that never goes on as new, nor one that carries little."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plan_of(_steps(count, bytes_each))


def test_a_typed_plan_is_warned_of_too() -> None:
    """13,000 steps of 150 bytes each are too much."""
    with pytest.warns(LargePlan, match=r"^big@1.0.0: what its run carries"):
        typed(*({"name": f"n{n}", "operation": "work"} for n in range(13_000)), id="big")


@pytest.mark.parametrize("builder", [lambda dag, params: None, print, 3, lambda dag: None, waits])
def test_a_builder_of_another_shape(builder: Any) -> None:
    """What isn't (dag, params: Params), or is async, is refused when it is declared."""
    with pytest.raises(
        DefinitionError, match=r"^DefinitionError: odd@1.0.0: .*write def .*\(dag: Dag, params: Params\)"
    ):
        saga(id="odd", version="1.0.0")(builder)
