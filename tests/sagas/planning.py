"""Building plans in tests, and saying what came out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from activities import EmptyInput, InvalidInput, Registry
from flows import Dag, InvalidPlan, Plan, saga
from flows._plan_read import checked_plan
from tests.sagas.operations import check, work

Build = Callable[[Dag], Any]


def plan_of(build: Build) -> Plan:
    """Build a plan."""

    @saga(id="sample", version="1.0.0")
    def sample(dag: Dag, params: EmptyInput) -> Any:
        return build(dag)

    return sample.plan(EmptyInput())


def mistakes_of(build: Build) -> list[str]:
    """Build a plan that is refused; give the lines that say why."""
    with pytest.raises(InvalidPlan) as refused:
        plan_of(build)
    return lines_of(refused.value, "sample@1.0.0")


def lines_of(error: InvalidPlan | InvalidInput, who: str) -> list[str]:
    """Give the lines of a refusal that tell mistakes; its first line names the saga and counts them."""
    first, *lines = error.message.split("\n")
    count = f"{len(lines)} mistake{'s' if len(lines) > 1 else ''}"
    assert first == f"{who} can't be run, {count}:"
    return lines


def typed(*steps: Any, **head: Any) -> Plan:
    """Complete a plan that somebody typed."""
    return checked_plan(
        {"id": "typed", "version": "1.0.0", **head, "steps": list(steps)}, Registry(work, check)
    )


def typed_mistakes(*steps: Any, **head: Any) -> list[str]:
    """Give what is wrong with a plan that somebody typed."""
    with pytest.raises(InvalidPlan) as refused:
        typed(*steps, **head)
    return lines_of(refused.value, f"{head.get('id', 'typed')}@{head.get('version', '1.0.0')}")


def edges(plan: Plan) -> dict[str, list[str]]:
    """Give what each step comes after."""
    return {step.name: list(step.after) for step in plan.steps}
