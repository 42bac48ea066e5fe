"""Whatever a builder does that is no mistake, its plan can be run, and goes through JSON."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from activities import EmptyInput, Registry
from flows import Dag, Plan, Step, saga
from flows._plan_read import checked_plan
from tests.sagas.operations import Made, work

SCHEMA = Draft202012Validator(Plan.model_json_schema())
Script = list[tuple[str, list[int]]]
ACTIONS = st.tuples(
    st.sampled_from(["append", "stage", "after", "constant", "approval", "subsaga", "two"]),
    st.lists(st.integers(0, 30), max_size=3),
)
SCRIPTS = st.lists(ACTIONS, max_size=8)


@saga(id="inner", version="1.0.0")
def inner(dag: Dag, params: EmptyInput) -> Step[Made]:
    """x beside y, then z."""
    dag.append_parallel(dag.step("x", work, {}), dag.step("y", work, {}))
    return dag.append("z", work, {})


def carry_out(dag: Dag, script: Script) -> Step[Any]:
    """Do what a script says; its numbers choose among the steps that there are."""
    made: list[Step[Any]] = [dag.append("first", work, {})]
    for number, (action, chosen) in enumerate(script):
        others = [made[index % len(made)] for index in chosen]
        made += one(dag, f"n{number}", action, others)
    return made[-1]


def one(dag: Dag, name: str, action: str, others: list[Step[Any]]) -> tuple[Step[Any], ...]:
    """Do one thing, referring to some steps."""
    input = {"others": [step.ref("id") for step in others if not step.name.endswith("w")]}
    match action:
        case "append":
            return (dag.append(name, work, input),)
        case "stage":
            return dag.append_parallel(dag.step(name, work, input), dag.step(f"{name}-2", work, {}))
        case "after":
            return (dag.step(name, work, input, after=others),)
        case "constant":
            return (dag.constant(name, {"id": 1}),)
        case "approval":
            return (dag.approval(f"{name}w", after=others or None),)
        case "subsaga":
            return (dag.subsaga(name, inner, {}),)
    return dag.append_parallel(dag.step(name, inner, {}), dag.step(f"{name}-2", inner, {}))


@saga(id="scripted", version="1.0.0")
def scripted(dag: Dag, params: Script) -> Step[Any]:
    """Do what the params say."""
    return carry_out(dag, params)


@given(SCRIPTS)
def test_every_plan_can_be_run(script: Script) -> None:
    """What a step comes after stands before it in the plan, exists, and holds all that it refers to: no circle."""
    plan = scripted.plan(script)
    seen: set[str] = set()
    for step in plan.steps:
        assert set(step.after) <= seen
        assert len(set(step.after)) == len(step.after)
        seen.add(step.name)
    assert plan.result in seen


@given(SCRIPTS)
def test_every_plan_goes_through_json(script: Script) -> None:
    """It fits the published schema, reads back equal, and typed again it completes to itself."""
    plan = scripted.plan(script)
    SCHEMA.validate(plan.to_json())
    assert Plan.model_validate(plan.to_json()) == plan
    assert checked_plan(plan.to_json(), Registry(work)) == plan
    assert scripted.plan(script) == plan
