"""Two mistakes in a typed plan are both told, wherever they are."""

from __future__ import annotations

from typing import Any

import pytest

from activities import Registry
from flows import InvalidPlan
from flows._plan_read import checked_plan
from tests.sagas.operations import work
from tests.sagas.planning import lines_of
from tests.sagas.test_plans_as_data import A_KIND, A_REFERENCE, BOOL, step

Mistake = tuple[int, Any, list[str]]
"""Where it is made: in the head, in a step beside the others, in the last one; what is typed; what is told."""
OF_THE_PLAN: list[tuple[dict[str, Any], list[str]]] = [
    ({"id": "a b"}, ["the plan: id 'a b' must be letters, digits, '-' and '_', at most 100 of them"]),
    ({"id": 3}, ["the plan: id: Input should be a valid string"]),
    ({"version": "1.0"}, ["the plan: version '1.0' of {id} must be a full one, such as '1.0.0'"]),
    (
        {"policy": {"max_parallel": 0}},
        ["the plan: policy.max_parallel: Input should be greater than or equal to 1"],
    ),
    ({"policy": 3}, ["the plan: policy: Input should be an object"]),
    ({"rseult": "b"}, ["the plan: rseult: Extra inputs are not permitted"]),
    ({"result": "z"}, ["result: there is no step 'z'; name one, or leave it out"]),
    ({"result": 3}, ["the plan: result: Input should be a valid string"]),
]
BESIDE: list[tuple[Any, list[str]]] = [
    (3, ["steps.1: must be an object"]),
    ({"kind": "loop", "name": "l"}, [f"l: {A_KIND}"]),
    (
        {"kind": "wait", "name": "l", "after": ["z"]},
        ["l: duration: Field required", "l: after: there is no step 'z'; name one of the plan's"],
    ),
    ({"kind": "flow", "name": "l"}, ["l: flow: Field required"]),
    (
        {"operation": "work", "input": {"size": 1}},
        [
            "steps.1: name: Field required",
            "steps.1: input: size: Given has no such field; its fields are: number, others",
        ],
    ),
    (step("l", after=["l"]), ["l: after: a circle, l after l; take one of these edges out"]),
    (step("b"), ["b: name: used twice; each step needs its own"]),
    (step("l m"), ["l m: name: must be letters, digits, '-' and '_', at most 100 of them"]),
]
OF_A_STEP: list[tuple[dict[str, Any], list[str]]] = [
    ({"timeout": "5"},
     ['b: timeout: Input should be a valid duration, "day" identifier in duration not correctly formatted']),
    ({"timeout": "PT0S"}, ["b: timeout: must be above zero"]),
    ({"tiemout": "PT5S"}, ["b: tiemout: Extra inputs are not permitted"]),
    ({"retry": {"initial": "PT0S"}}, ["b: retry.initial: Input should be greater than 0 seconds"]),
    ({"task_queue": 3}, ["b: task_queue: Input should be a valid string"]),
    ({"local": "so"}, [f"b: local: {BOOL}"]),
    ({"at_most_once": "so"}, [f"b: at_most_once: {BOOL}"]),
    ({"pivot": "so"}, [f"b: pivot: {BOOL}"]),
    ({"undo": {"type": "x", "retry": {}}}, ["b: undo.timeout: Field required"]),
    ({"undo": {"type": "work@1.0.0/undo", "retry": {}, "timeout": "PT1S"}, "no_undo": True},
     ["b: undo: given, and no_undo too; leave one of them out"]),
    ({"operation": "wrok"}, ["b: operation: wrok isn't registered; did you mean work@1.0.0?"]),
    ({"operation": 3}, ["b: operation: Input should be a valid string"]),
    ({"after": ["z", "y"]},
     ["b: after: there is no step 'z'; name one of the plan's", "b: after: there is no step 'y'; name one of the plan's"]),
    ({"after": [3]}, ["b: after.0: Input should be a valid string"]),
    ({"after": ["b"]}, ["b: after: a circle, b after b; take one of these edges out"]),
    ({"input": {"number": {"$ref": 3}}}, [f"b: {A_REFERENCE}"]),
    ({"input": {"others": [{"$ref": "x"}]}}, ["b: input: refers to 'x', and there is no such step; name one of the plan's"]),
    ({"input": {"others": [{"$ref": "a", "path": ["size"]}]}},
     ["b: input: refers to a.size, and there is no 'size' in its output; a has id, name"]),
    ({"input": {"size": 1}}, ["b: input: size: Given has no such field; its fields are: number, others"]),
]  # fmt: skip
MISTAKES = [
    (where, *mistake) for where, all in enumerate((OF_THE_PLAN, BESIDE, OF_A_STEP)) for mistake in all
]


def _with(*mistakes: Mistake) -> dict[str, Any]:
    """Make a plan with mistakes in its head, in a step beside the others, and in its last step, b."""
    plan: dict[str, Any] = {"id": "p", "version": "1.0.0"}
    beside, last = [], step("b", input={})
    for where, made, _ in mistakes:
        plan |= made if where == 0 else {}
        beside += [made] if where == 1 else []
        last |= {**made, "input": {**last["input"], **made.get("input", {})}} if where == 2 else {}
    return {**plan, "steps": [step("a"), *beside, last]}


def _collide(one: Mistake, other: Mistake) -> bool:
    """Whether two mistakes can't be made at once, or one can't be seen where the other is."""
    if one[0] != other[0] or one[0] == 1:
        return one[0] == other[0]
    keys, others = one[1].keys(), other[1].keys()
    inputs = one[1].get("input", {}).keys(), other[1].get("input", {}).keys()
    unseen = "operation" in keys | others and "size" in inputs[0] | inputs[1]
    return unseen or bool(keys & others - {"input"} or inputs[0] & inputs[1])


@pytest.mark.parametrize("one", MISTAKES, ids=lambda one: str(one[1]))
def test_no_mistake_hides_another(one: Mistake) -> None:
    """Of any two mistakes all lines are told, each once, and nothing besides."""
    for other in MISTAKES[MISTAKES.index(one) :]:
        pair = [one] if other is one else [one, other]
        if len(pair) == 2 and _collide(one, other):
            continue
        plan = _with(*pair)
        with pytest.raises(InvalidPlan) as refused:
            checked_plan(plan, Registry(work))
        id = plan["id"] if isinstance(plan["id"], str) else "saga"
        says = [line.replace("{id}", id) for _, _, lines in pair for line in lines]
        assert sorted(lines_of(refused.value, f"{id}@{plan['version']}")) == sorted(says), pair
