"""Everything wrong with a plan is found before its first step runs, and told at once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from activities import EmptyInput, Registry, Retry, operation
from flows import Dag, InvalidPlan, Step, saga
from tests.sagas.operations import Given, Made, check, make, work
from tests.sagas.planning import Build, lines_of, mistakes_of
from tests.sagas.test_fit import filled_in


@saga(id="inner", version="1.0.0")
def inner(dag: Dag, params: Given) -> None:
    """One step, and no result."""
    dag.append("x", work, {"number": params.number})


@saga(id="hollow", version="1.0.0")
def hollow(dag: Dag, params: EmptyInput) -> None:
    """No step at all."""


@saga(id="itself", version="1.0.0")
def itself(dag: Dag, params: EmptyInput) -> None:
    """A saga that never ends in itself."""
    dag.append("x", work, {})
    dag.subsaga("again", itself, {})


@operation(id="strict", version="1.0.0")
async def strict(ctx: Any, input: EmptyInput) -> None: ...


unknown = make("nowhere")


@saga(id="so-many-mistakes", version="1.0.0")
def ten(dag: Dag, params: EmptyInput) -> None:
    """Ten different mistakes."""
    a = dag.append("a", work, {"number": "many"})
    dag.append("a", work, {})
    dag.append("b c", work, {})
    dag.append_parallel()
    dag.append("d", unknown, {})
    dag.append("e", check, {})
    dag.append("f", work, {"number": a.ref("size")})
    dag.append("g", work, {"count": 1})
    dag.wait("h", timedelta(0))
    dag.append("i", work, {"number": Step("nope").ref()})


TEN = [
    "a: name: used twice; each step needs its own",
    "b c: name: must be letters, digits, '-' and '_', at most 100 of them",
    "append_parallel after a: steps: there are none; give it some, or leave it out",
    "h: duration: Input should be greater than 0 seconds",
    "d: operation: nowhere@1.0.0 isn't registered; no name that the modules offer is near",
    "e: undo: check@1.0.0 has none; declare one, or say no_undo",
    "i: input: refers to 'nope', and there is no such step; name one of the plan's",
    "a: input: number: Input should be a valid integer, unable to parse string as an integer",
    "f: input: refers to a.size, and there is no 'size' in its output; a has id, name",
    "g: input: count: Given has no such field; its fields are: number, others",
]


def test_ten_mistakes_are_ten_lines() -> None:
    """Issue point 12, S2, S3: one InvalidPlan, whose first line names the saga, and each other one a step and a field."""
    with pytest.raises(InvalidPlan) as refused:
        ten.plan(EmptyInput(), Registry(work, check))
    assert sorted(lines_of(refused.value, "so-many-mistakes@1.0.0")) == sorted(TEN)


def one(**options: Any) -> Build:
    """Append one step with some options."""
    return lambda dag: dag.append("a", options.pop("op", work), options.pop("input", {}), **options)


ONE_MISTAKE: dict[str, tuple[Build, str]] = {
    "nothing (G36)": (lambda dag: None, "steps: there is no operation; a saga needs one"),
    "only a constant": (lambda dag: dag.constant("one", 1), "steps: there is no operation; a saga needs one"),
    "no name": (lambda dag: dag.append("", work, {}), ": name: must be letters, digits, '-' and '_', at most 100 of them"),
    "a path": (lambda dag: dag.append("s/x", work, {}), "s/x: name: must be letters, digits, '-' and '_', at most 100 of them"),
    "no text": (lambda dag: dag.append(3, work, {}), "3: name: must be letters, digits, '-' and '_', at most 100 of them"),  # type: ignore[arg-type]
    "no operation": (one(op=len), "a: operation: builtin_function_or_method len is none; give what @operation or @saga made"),
    "another undo": (one(undo=print), "a: undo: can only be no_undo; another undo belongs to another operation"),
    "an option": (one(tiemout=3), "a: options tiemout: there are undo, retry, timeout and pivot"),
    "a wrong retry": (one(retry=3), "a: retry: Input should be a dictionary or an instance of Retry"),
    "no timeout": (one(timeout=timedelta(0)), "a: timeout: must be above zero"),
    "at most once, retried": (
        one(op=make("once", at_most_once=True), retry=Retry()),
        "a: retry: an at_most_once step is never tried again; leave it out",
    ),
    "a missing field": (lambda dag: dag.append("a", filled_in, {"size": 1}), "a: input: name: Field required"),
    "no model": (one(input=3), "a: input: value: Input should be an object"),
    "a wait of text": (lambda dag: dag.wait("a", "long"), "a: duration: Input should be a valid timedelta, inv"),  # type: ignore[arg-type]
    "an approval without time": (
        lambda dag: dag.approval("a", timeout=timedelta(0)),
        "a: timeout: Input should be greater than 0 seconds",
    ),
    "a wait of a name of ours": (
        lambda dag: dag.wait("deadline", timedelta(1)),
        "deadline: name: is ours; choose another",
    ),
    "a constant that is none": (
        lambda dag: dag.constant("a", float("inf")),
        "a: value: it doesn't survive JSON: value is inf, which JSON can't hold; give a value that JSON can hold",
    ),
    "a list as a stage": (
        lambda dag: dag.append_parallel([]),  # type: ignore[call-overload]
        "append_parallel: steps: list [] is none; give what dag.step returned",
    ),
    "after text": (
        lambda dag: dag.step("a", work, {}, after=["b"]),  # type: ignore[list-item]
        "a: after: str 'b' is no step of it; give what append returned",
    ),
    "an empty subsaga": (lambda dag: dag.subsaga("s", hollow, {}), "s: there is no step in it; a subsaga needs one"),
    "params that don't fit": (
        lambda dag: dag.subsaga("s", inner, {"number": "x"}),
        "s: params: number: Input should be a valid integer, unable to parse string as an integer",
    ),
    "options of a subsaga": (
        lambda dag: dag.append("s", inner, {}, retry=Retry()),
        "s: options retry: a subsaga has none; its steps have them",
    ),
    "a saga as params": (lambda dag: dag.subsaga("s", inner, work), "s: params: "),
}  # fmt: skip


@pytest.mark.parametrize("case", ONE_MISTAKE)
def test_one_mistake_is_one_line(case: str) -> None:
    """G21, G25, S5 and the rest of section 5: each names the step, the field and what to do."""
    build, says = ONE_MISTAKE[case]

    def with_another(dag: Dag) -> None:
        if says[:5] != "steps":
            dag.append("other", work, {}) if "append_parallel" not in says else dag.step(
                "other", work, {}, after=[]
            )
            dag._tips = {}
        build(dag)

    (line,) = mistakes_of(with_another)
    assert line.startswith(says) if says.endswith((": ", ", inv")) else line == says


REFERENCES: dict[str, tuple[Build, str]] = {
    "a constant's field (G39)": (
        lambda dag: dag.append("b", work, {"number": dag.constant("one", {"x": [1]}).ref("x", 1)}),
        "b: input: refers to one.x.1, and there is no 1 in its output; one.x is a list of 1",
    ),
    "a wait": (
        lambda dag: dag.append("b", work, {"number": dag.wait("w", timedelta(1)).ref("x")}),
        "b: input: refers to w.x, and there is no 'x' in its output; w has no output",
    ),
    "an approval": (
        lambda dag: dag.append("b", work, {"number": dag.approval("go").ref("who")}),
        "b: input: refers to go.who, and there is no 'who' in its output; go has name, by, reason",
    ),
    "a subsaga without a result": (
        lambda dag: dag.append("b", work, {"number": dag.subsaga("s", inner, {}).ref()}),
        "b: input: refers to s, a subsaga without a result; let its builder return a step",
    ),
    "inside a subsaga": (
        lambda dag: (dag.subsaga("s", inner, {}), dag.append("b", work, {"number": Step("s/x").ref("id")}))[
            1
        ],
        "b: input: s/x is inside the subsaga s; refer to s, which has its result",
    ),
    "after inside a subsaga": (
        lambda dag: (dag.subsaga("s", inner, {}), dag.step("b", work, {}, after=[Step("s/x")]))[1],
        "b: after: s/x is inside the subsaga s; refer to s, which has its result",
    ),
    "a step of nobody": (
        lambda dag: dag.step("b", work, {}, after=[Step("q")]),
        "b: after: there is no step 'q'; name one of the plan's",
    ),
    "itself": (
        lambda dag: dag.append("b", work, {"number": Step("b").ref("id")}),
        "b: after: a circle, b after b; take one of these edges out",
    ),
}


@pytest.mark.parametrize("case", REFERENCES)
def test_a_reference_to_what_isnt_there(case: str) -> None:
    """G39 and "outside only its result is visible": to a field, a step, the inside of a subsaga, itself."""
    build, says = REFERENCES[case]
    assert mistakes_of(build) == [says]


def test_what_a_builder_returns_is_a_step() -> None:
    """Returning a value, a step of nobody, or nothing where a step is promised is a mistake; so is a step left over."""

    def left_over(dag: Dag) -> Any:
        dag.append("a", work, {})
        return dag.step("b", work, {})

    @saga(id="promises", version="1.0.0")
    def promises(dag: Dag, params: EmptyInput) -> Step[Made]:
        dag.append("a", work, {})
        return None  # type: ignore[return-value]

    assert mistakes_of(lambda dag: (dag.append("a", work, {}), 3)[1]) == [
        "result: the builder returned int 3; let it return a step, or nothing"
    ]
    assert mistakes_of(lambda dag: (dag.append("a", work, {}), Step("q"))[1]) == [
        "result: q is none of its steps; let the builder return one"
    ]
    assert mistakes_of(left_over) == ["b: after: stands nowhere; give it to append_parallel, or say after="]
    with pytest.raises(
        InvalidPlan, match="result: the builder returned nothing; let it return a step, as it says"
    ):
        promises.plan(EmptyInput())


def test_a_saga_in_itself_has_an_end() -> None:
    """A saga that is its own subsaga ends at the longest name that a step may have."""
    lines = mistakes_of(lambda dag: dag.subsaga("s", itself, {}))
    assert all(line.startswith("s/again/again/") for line in lines)
    assert lines[1].endswith("/again: name: has 205 characters with its path, 200 are allowed")


def test_every_circle_is_named() -> None:
    """G17: two circles are two lines, and what only follows them isn't one."""

    def build(dag: Dag) -> None:
        for name, before in {"a": "b", "b": "a", "c": "e", "d": "c", "e": "d", "f": "a"}.items():
            dag.step(name, work, {}, after=[Step(before)])

    assert mistakes_of(build) == [
        "a: after: a circle, a after b after a; take one of these edges out",
        "c: after: a circle, c after e after d after c; take one of these edges out",
    ]


def test_two_operations_of_one_name() -> None:
    """G23: two different operations of one id and version in a plan are a mistake; the first doesn't win."""

    def build(dag: Dag) -> None:
        dag.append("a", work, {})
        dag.append("b", make("work"), {})

    assert mistakes_of(build) == [
        "b: operation: another step has another work@1.0.0; give one of them a new version"
    ]


def test_the_pivot_is_one_and_what_follows_it_is_retried() -> None:
    """A second pivot, and a step after the pivot without retry, are mistakes; the pivot itself needs no undo."""

    def build(dag: Dag) -> None:
        dag.append("a", check, {}, pivot=True)
        dag.append("b", work, {}, pivot=True, retry=Retry())
        dag.append("c", work, {})

    assert mistakes_of(build) == [
        "b: pivot: a is one already; a plan has one at most",
        "c: retry: it comes after the pivot a, so it needs retry= with more than one attempt",
    ]
