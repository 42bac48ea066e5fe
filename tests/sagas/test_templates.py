"""Inputs are templates: literals and references, in dicts, lists and models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from activities import EmptyInput, operation
from flows import Dag, Ref, Step, no_undo, saga
from flows._template import encode, fill, literal, refs
from tests.sagas.operations import Given, work
from tests.sagas.planning import mistakes_of, plan_of
from tests.sagas.values import A_REF, SECOND, Aliased, Colour, Place


def written(template: Any) -> Any:
    """Encode a template."""
    return encode(template, lambda value: literal(value, "it"))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "$ref", "$literal", "path"]), inner, max_size=3)
    ),
    max_leaves=12,
)
REFS = st.builds(Ref, st.sampled_from(["x", "y"]), st.just(()))
TEMPLATES = st.recursive(
    JSON | REFS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "$ref", "$literal", "path"]), inner, max_size=3)
    ),
    max_leaves=12,
)


def put_in(template: Any, outputs: dict[str, Any]) -> Any:
    """Say what a template stands for, without its JSON."""
    if isinstance(template, Ref):
        return outputs[template.step]
    if isinstance(template, dict):
        return {key: put_in(value, outputs) for key, value in template.items()}
    return [put_in(value, outputs) for value in template] if isinstance(template, list) else template


@given(TEMPLATES, JSON, JSON)
def test_templates_stand_for_what_was_written(template: Any, x: Any, y: Any) -> None:
    """Whatever is in it, also dicts that look like references: encoded and filled it is itself, with the outputs."""
    outputs = {"x": x, "y": y}
    assert fill(written(template), outputs.__getitem__) == put_in(template, outputs)


@given(JSON)
def test_literals_refer_to_nothing(value: Any) -> None:
    """A literal is never read as a reference, be it given as it is or in a model."""

    class Holds(BaseModel):
        value: Any

    assert list(refs(written(value))) == []
    assert fill(written(Holds(value=value)), lambda _: None) == {"value": value}


@pytest.mark.parametrize(
    ("template", "found"),
    [
        (Ref("a"), {"$ref": "a"}),
        (Ref("a", ("id", 0)), {"$ref": "a", "path": ["id", 0]}),
        ((1, "é", Colour.RED), [1, "é", "red"]),
        ({"delay": SECOND, 3: None}, {"delay": "PT1S", "3": None}),
        (Aliased(theSize=3), {"theSize": 3}),
        (Aliased.model_construct(size=A_REF), {"theSize": {"$ref": "a"}}),
        ({"$ref": Ref("a")}, {"$literal": {"$ref": {"$ref": "a"}}}),
        ({"x": {"$literal": 1}}, {"x": {"$literal": {"$literal": 1}}}),
        (
            Place("z", Given.model_construct(number=A_REF, others=[A_REF, 2])),
            {"zone": "z", "given": {"number": {"$ref": "a"}, "others": [{"$ref": "a"}, 2]}},
        ),
    ],
)
def test_what_is_written(template: Any, found: Any) -> None:
    """References, models, dataclasses, enums, durations, dicts that look like references."""
    assert written(template) == found


def test_references_reach_into_references() -> None:
    """step.ref("a").ref("b"), ["b"] and one call with both are the same reference."""
    step: Step[Any] = Step("s")
    assert (
        step.ref("a").ref("b", 0) == step.ref("a")["b"][0] == step.ref("a", "b", 0) == Ref("s", ("a", "b", 0))
    )
    assert repr(step.ref("a", 0)) == "<ref s.a.0>"
    assert len({step.ref("a"), step.ref("a"), step.ref("b")}) == 2


DECIDE: dict[str, Callable[[Any], Any]] = {
    "if": bool,
    "compare": lambda ref: ref == 3,
    "in": lambda ref: 3 in ref,
    "iterate": list,
    "length": len,
    "text": str,
    "format": lambda ref: f"vm-{ref}",
}


@pytest.mark.parametrize("how", DECIDE)
def test_a_value_that_isnt_known_yet_decides_nothing(how: str) -> None:
    """bool(ref), comparing, iterating, printing: refused, instead of being wrong without a word."""
    with pytest.raises(
        TypeError, match=r"^<ref a.id> isn't known while the plan is built; pass it on, or decide"
    ):
        DECIDE[how](Ref("a", ("id",)))


@pytest.mark.parametrize("part", [1.5, None, True, ("a",)])
def test_a_path_is_names_and_indices(part: Any) -> None:
    """Anything else in a path is refused."""
    with pytest.raises(
        TypeError, match="refer to a field by its name, and to an item of a list by its index"
    ):
        Ref("a", (part,))


MISUSED: dict[str, Callable[[Dag], Any]] = {
    "<ref": lambda dag: {"number": {1, 2}},
    "a set": lambda dag: {"others": {1, 2}},
    "NaN": lambda dag: {"number": float("nan")},
    "an object": lambda dag: {"number": object()},
    "keys": lambda dag: {1: 2, "1": 3},
    "a step": lambda dag: {"number": dag.append("a", work, {})},
    "a hidden ref": lambda dag: {"others": {dag.append("a", work, {}).ref("id")}},
    "a pending one": lambda dag: {"number": dag.step("p", work, {})},
}
SAYS = {
    "<ref": "input: it is a set, which has no order; give a list",
    "a set": "input: it is a set, which has no order; give a list",
    "NaN": "input: it doesn't survive JSON: value is nan, which JSON can't hold",
    "an object": "input: ",
    "keys": "input: two keys are the same in JSON, of 1",
    "a step": "input: Step(name='a') stands there itself; give its output, .ref()",
    "a hidden ref": "input: it is a set, which has no order; give a list",
    "a pending one": "input: ",
}


@pytest.mark.parametrize("what", MISUSED)
def test_what_no_template_holds(what: str) -> None:
    """What can't be JSON, or not the same JSON each time, is one line that names the step."""

    def build(dag: Dag) -> None:
        dag.append("b", work, MISUSED[what](dag))

    line = mistakes_of(build)[0]
    assert line.startswith(f"b: {SAYS[what]}"), line
    assert line.endswith("; give literals and references, in dicts and lists")


class Nodes(BaseModel):
    """Params with a dataclass in them."""

    place: Place
    vms: list[int] = []
    size: int = 2


@saga(id="nodes", version="1.0.0")
def nodes(dag: Dag, params: Nodes) -> None:
    """Hand one field on whole, and others alone."""
    dag.append("x", work, params.place.given)
    dag.append("y", work, {"number": params.size, "others": params.vms})


@operation(id="survey", version="1.0.0")
async def survey(ctx: Any, input: EmptyInput) -> Nodes:
    """Give all params at once."""
    raise NotImplementedError


def test_params_given_as_references_reach_the_steps() -> None:
    """G31: single fields, fields of fields, the whole of it, and a model that is handed on whole."""

    def build(dag: Dag) -> None:
        a = dag.append("a", work, {})
        b = dag.append("b", survey, {}, undo=no_undo)
        place = {"zone": "z", "given": {"number": a.ref("id")}}
        dag.subsaga("s", nodes, {"place": place, "vms": [a.ref("id"), 1]})
        dag.subsaga("t", nodes, {"place": b.ref("place")})
        dag.subsaga("u", nodes, b.ref())

    inputs = {step["name"]: step.get("input") for step in plan_of(build).to_json()["steps"]}
    a_id = {"$ref": "a", "path": ["id"]}
    assert inputs["s/x"] == {"number": a_id, "others": []}
    assert inputs["s/y"] == {"number": 2, "others": [a_id, 1]}
    given = {name: {"$ref": "b", "path": ["place", "given", name]} for name in ("number", "others")}
    assert inputs["t/x"] == inputs["u/x"] == given
    assert inputs["t/y"] == {"number": 2, "others": []}
    assert inputs["u/y"] == {
        "number": {"$ref": "b", "path": ["size"]},
        "others": {"$ref": "b", "path": ["vms"]},
    }
