"""Plans are values: equal, immutable, written and read back; and a refused step leaves none."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from activities import EmptyInput
from flows import Dag, Plan, Policy, Step, saga
from tests.sagas.operations import Made, work
from tests.sagas.planning import mistakes_of, plan_of
from tests.sagas.test_building import inner, wide

SECOND = timedelta(seconds=1)


def test_building_twice_gives_equal_plans() -> None:
    """G35: the same params give the same plan, byte for byte, each with steps of its own."""
    first, second = wide.plan(EmptyInput()), wide.plan(EmptyInput())
    assert first == second
    assert first.model_dump_json() == second.model_dump_json()
    assert first.steps[0] is not second.steps[0]


def test_a_finished_plan_is_immutable() -> None:
    """Neither a field, nor a step, nor what stands in a template can be changed; nor by what the builder gave."""
    given: dict[str, Any] = {"number": 1, "others": [2]}

    def build(dag: Dag) -> None:
        dag.append("a", work, given)

    plan = plan_of(build)
    given["others"].append(3)
    step: Any = plan.steps[0]
    with pytest.raises(ValidationError, match="frozen"):
        plan.steps = ()  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        step.name = "b"
    changes: list[Callable[[Any], Any]] = [lambda i: i.update(number=2), lambda i: i["others"].append(3)]
    for change in changes:
        with pytest.raises(TypeError, match="a finished plan is immutable; build another one"):
            change(step.input)
    assert plan.to_json()["steps"][0]["input"] == {"number": 1, "others": [2]}
    assert plan.model_copy(deep=True) == plan


def test_a_refused_append_changes_nothing() -> None:
    """S2: what is refused leaves no step and no edge, and what refers to it isn't wrong as well."""

    def build(dag: Dag) -> None:
        dag.append("a", work, {})
        bad: Step[Any] = dag.append("b", "work", {})  # type: ignore[arg-type]
        dag.append("a", work, {"number": 2})
        dag.subsaga("s", inner, {"number": "x"})
        dag.append_parallel(dag.step("c d", work, {}))
        assert list(dag.all.steps) == ["a"]
        dag.append("c", work, {"number": bad.ref("id")})
        assert dag.all.steps["c"].after == ("a",)

    assert [line.split(": ")[0] for line in mistakes_of(build)] == ["b", "a", "s", "c d"]


def test_a_subsaga_whose_builder_raises_leaves_nothing() -> None:
    """S2, S37: the line names the subsaga; none of the steps that it had appended stays."""

    @saga(id="raises", version="1.0.0")
    def raises(dag: Dag, params: EmptyInput) -> None:
        dag.append("x", work, {})
        raise KeyError("zone")

    def build(dag: Dag) -> None:
        dag.append("a", work, {})
        dag.subsaga("s", raises, {})
        assert list(dag.all.steps) == ["a"]

    assert mistakes_of(build) == ["s: the builder of raises@1.0.0 raised KeyError: 'zone'"]


def test_plans_go_through_json() -> None:
    """S15: what a plan writes reads back as an equal plan, with every kind of step and a policy."""

    @saga(id="kinds", version="1.0.0", policy=Policy(undo_failed_step="always", max_parallel=3))
    def kinds(dag: Dag, params: EmptyInput) -> Step[Made]:
        one = dag.constant("one", {"$ref": "no", "n": [7, None, 1.5, "é"]})
        dag.wait("w", SECOND)
        dag.approval("go", timeout=SECOND)
        dag.append("a", work, {"number": one.ref("n", 0)}, timeout=SECOND)
        return dag.subsaga("s", inner, {"number": 1})

    plan = kinds.plan(EmptyInput())
    assert Plan.model_validate(plan.to_json()) == plan
