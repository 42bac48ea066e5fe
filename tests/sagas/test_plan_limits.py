"""Refusals have an end, and so have plans."""

from __future__ import annotations

from typing import Any

import pytest

from activities import DefinitionError, EmptyInput
from flows import Dag, InvalidPlan, saga
from flows._dispatcher import Resolved
from tests.sagas.operations import work
from tests.sagas.planning import lines_of, plan_of


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
    import random

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


@pytest.mark.parametrize("builder", [lambda dag, params: None, print, 3, lambda dag: None, waits])
def test_a_builder_of_another_shape(builder: Any) -> None:
    """What isn't (dag, params: Params), or is async, is refused when it is declared."""
    with pytest.raises(
        DefinitionError, match=r"^DefinitionError: odd@1.0.0: .*write def .*\(dag: Dag, params: Params\)"
    ):
        saga(id="odd", version="1.0.0")(builder)
