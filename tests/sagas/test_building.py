"""Builders are plain Python: what they append becomes the plan's steps and edges."""

from __future__ import annotations

from datetime import timedelta

import pytest

from activities import EmptyInput, InvalidInput, Retry
from flows import Dag, Step, no_undo, saga
from tests.sagas.operations import Given, Made, check, make, work
from tests.sagas.planning import edges, plan_of

SECOND = timedelta(seconds=1)


@saga(id="inner", version="1.0.0")
def inner(dag: Dag, params: Given) -> Step[Made]:
    """x, then y with what the params say."""
    dag.append("x", work, {"number": 1})
    return dag.append("y", work, {"number": params.number, "others": params.others})


@saga(id="wide", version="1.0.0")
def wide(dag: Dag, params: EmptyInput) -> Step[Made]:
    """x beside y, then z."""
    dag.append_parallel(dag.step("x", work, {}), dag.step("y", work, {}))
    return dag.append("z", work, {})


@saga(id="nest", version="1.0.0")
def nest(dag: Dag, params: EmptyInput) -> Step[Made]:
    """A subsaga in a subsaga, and nothing beside it."""
    return dag.subsaga("t", inner, {"number": 3})


def test_append_follows_everything() -> None:
    """G1: a, b, c in a line; the result is the step that the builder returned."""

    def build(dag: Dag) -> Step[Made]:
        dag.append("a", work, {})
        b = dag.append("b", work, {})
        dag.append("c", work, {})
        return b

    plan = plan_of(build)
    assert edges(plan) == {"a": [], "b": ["a"], "c": ["b"]}
    assert plan.result == "b"


def test_what_follows_a_stage_follows_all_of_it() -> None:
    """G5: a stage of three, then w: three edges into w."""

    def build(dag: Dag) -> None:
        dag.append_parallel(*(dag.step(name, work, {}) for name in "xyz"))
        dag.append("w", work, {})

    assert edges(plan_of(build)) == {"x": [], "y": [], "z": [], "w": ["x", "y", "z"]}


def test_a_stage_follows_the_whole_stage_before_it() -> None:
    """S1: (a ‖ b), (c ‖ d): four edges."""

    def build(dag: Dag) -> None:
        dag.append_parallel(dag.step("a", work, {}), dag.step("b", work, {}))
        dag.append_parallel(dag.step("c", work, {}), dag.step("d", work, {}))

    assert edges(plan_of(build)) == {"a": [], "b": [], "c": ["a", "b"], "d": ["a", "b"]}


def test_a_saga_may_end_in_a_stage() -> None:
    """G19: a, (b ‖ c), returning b: nothing has to come last."""

    def build(dag: Dag) -> Step[Made]:
        dag.append("a", work, {})
        b, _ = dag.append_parallel(dag.step("b", work, {}), dag.step("c", work, {}))
        return b

    plan = plan_of(build)
    assert edges(plan) == {"a": [], "b": ["a"], "c": ["a"]}
    assert plan.result == "b"


def test_after_gives_the_edges_that_one_names() -> None:
    """S23: a ‖ b, c after a only; what is appended next follows b and c, which nothing else follows."""

    def build(dag: Dag) -> None:
        a, _ = dag.append_parallel(dag.step("a", work, {}), dag.step("b", work, {}))
        dag.step("c", work, {}, after=(step for step in [a]))
        dag.append("d", work, {})

    assert edges(plan_of(build)) == {"a": [], "b": [], "c": ["a"], "d": ["b", "c"]}


def test_after_nothing_starts_at_once() -> None:
    """after=[] has no edge; a wait and an approval take after= too; a lone step is one."""

    def build(dag: Dag) -> None:
        a = dag.append("a", work, {})
        b = dag.step("b", work, {}, after=[])
        dag.wait("w", SECOND, after=a)  # type: ignore[arg-type]
        dag.approval("go", after=[b])

    assert edges(plan_of(build)) == {"a": [], "b": [], "w": ["a"], "go": ["b"]}


def test_a_placed_step_may_stand_in_a_stage() -> None:
    """A step with edges of its own ends before what follows the stage that it is given to."""

    def build(dag: Dag) -> None:
        dag.append("a", work, {})
        b = dag.step("b", work, {}, after=[])
        assert [s.name for s in dag.append_parallel(b, dag.step("c", work, {}))] == ["b", "c"]
        dag.append("d", work, {})

    assert edges(plan_of(build)) == {"a": [], "b": [], "c": ["a"], "d": ["b", "c"]}


def test_a_reference_implies_an_edge() -> None:
    """What a step refers to is before it, once, also where nothing else says so."""

    def build(dag: Dag) -> None:
        a = dag.append("a", work, {})
        dag.append("b", work, {"number": a.ref("id")})
        dag.step("c", work, {"number": a.ref("id"), "others": [a.ref("id")]}, after=[])

    assert edges(plan_of(build)) == {"a": [], "b": ["a"], "c": ["a"]}


def test_a_constant_waits_for_nothing() -> None:
    """Nothing follows a constant but what refers to it."""

    def build(dag: Dag) -> None:
        dag.append("a", work, {})
        five = dag.constant("five", {"value": 5})
        dag.append("b", work, {"number": five.ref("value")})

    assert edges(plan_of(build)) == {"a": [], "five": [], "b": ["a", "five"]}


def test_waits_and_approvals_stand_in_line() -> None:
    """A wait and an approval follow what was appended before, and are followed."""

    def build(dag: Dag) -> None:
        dag.append("a", work, {})
        dag.wait("soak", SECOND)
        dag.approval("go", timeout=SECOND)
        dag.append("b", work, {})

    plan = plan_of(build)
    assert edges(plan) == {"a": [], "soak": ["a"], "go": ["soak"], "b": ["go"]}
    assert [step["kind"] for step in plan.to_json()["steps"]] == [
        "operation",
        "wait",
        "approval",
        "operation",
    ]


def test_a_subsaga_is_inline_under_its_name() -> None:
    """G27, G28, S7, S34: a, s(x, y), z: s/x follows a, s ends after s/y and has its output."""

    def build(dag: Dag) -> None:
        dag.append("x", work, {})
        s = dag.subsaga("s", inner, {"number": 2})
        dag.append("z", work, {"number": s.ref("id")})

    plan = plan_of(build)
    assert edges(plan) == {"x": [], "s/x": ["x"], "s/y": ["s/x"], "s": ["s/y"], "z": ["s"]}
    assert plan.to_json()["steps"][3] == {"kind": "subsaga", "name": "s", "after": ["s/y"], "result": "s/y"}


def test_subsagas_nest_and_start_with_a_stage() -> None:
    """G32, G33, S13: s(t(x, y)) gives s/t/x; a subsaga may begin with x beside y."""

    def build(dag: Dag) -> None:
        dag.subsaga("s", nest, {})
        dag.subsaga("u", wide, {})

    assert edges(plan_of(build)) == {
        "s/t/x": [],
        "s/t/y": ["s/t/x"],
        "s/t": ["s/t/y"],
        "s": ["s/t"],
        "u/x": ["s"],
        "u/y": ["s"],
        "u/z": ["u/x", "u/y"],
        "u": ["u/z"],
    }


def test_one_saga_twice_beside_each_other() -> None:
    """G35, S13: the same saga twice in a stage: two namespaces without an edge between them."""

    def build(dag: Dag) -> None:
        dag.append("a", work, {})
        dag.append_parallel(dag.step("s1", inner, {}), dag.step("s2", inner, {}), dag.step("b", work, {}))
        dag.append("c", work, {})

    found = edges(plan_of(build))
    assert (found["s1/x"], found["s2/x"], found["b"]) == (["a"], ["a"], ["a"])
    assert (found["s1"], found["s2"], found["c"]) == (["s1/y"], ["s2/y"], ["s1", "s2", "b"])


def test_a_subsaga_never_starts_before_its_place() -> None:
    """after=[] inside a subsaga is the subsaga's beginning, not the run's."""

    @saga(id="loose", version="1.0.0")
    def loose(dag: Dag, params: EmptyInput) -> None:
        dag.append("x", work, {})
        dag.step("y", work, {}, after=[])
        dag.step("z", work, {}, after=[dag.constant("one", 1)])

    def build(dag: Dag) -> None:
        dag.append("a", work, {})
        dag.subsaga("s", loose, {})

    found = edges(plan_of(build))
    assert (found["s/x"], found["s/y"], found["s/z"]) == (["a"], ["a"], ["a", "s/one"])
    assert found["s"] == ["s/x", "s/y", "s/z"]


def test_the_shape_depends_on_the_real_params() -> None:
    """The builder sees the params, and decides on them."""

    @saga(id="shaped", version="1.0.0")
    def shaped(dag: Dag, params: Given) -> None:
        for number in range(params.number):
            dag.append(f"n{number}", work, {"number": number})

    assert [step.name for step in shaped.plan(Given(number=3)).steps] == ["n0", "n1", "n2"]
    with pytest.raises(InvalidInput, match="params doesn't fit Given: number: Input should be a valid int"):
        shaped.plan({"number": "many"})  # type: ignore[arg-type]


def test_the_plan_records_what_the_operation_says() -> None:
    """S15: resolved version, timeout, retry, place, undo and description of each step, or the step's own."""
    local = make("local", placement="local", retry=Retry(max_attempts=4))

    def build(dag: Dag) -> None:
        dag.append("a", local, {})
        dag.append("b", work, {}, retry=Retry(max_attempts=2), timeout=SECOND, undo=no_undo)
        dag.append("c", check, {}, undo=no_undo)

    a, b, c = plan_of(build).to_json()["steps"]
    assert (a["operation"], a["local"], a["retry"], a["timeout"]) == (
        "local@1.0.0",
        True,
        {"max_attempts": 4},
        "PT2S",
    )
    assert (a["undo"]["type"], a["undo"]["local"]) == ("local@1.0.0/undo", True)
    assert (b["retry"], b["timeout"], b["no_undo"], "undo" in b) == ({"max_attempts": 2}, "PT1S", True, False)
    assert c["description"] == "Look at something; there is nothing to undo."
