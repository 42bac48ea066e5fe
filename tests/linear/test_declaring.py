"""Bad definitions run nothing: steps and workflows are checked when they are made."""

from __future__ import annotations

from typing import Any

import pytest

from activities import Context, DefinitionError, EmptyInput, Registry
from flows import Policy
from flows.linear import Step, StepRegistry, Workflow
from tests.linear.steps import line, step


def refused(make: Any) -> str:
    """Give why something is refused."""
    with pytest.raises(DefinitionError) as error:
        make()
    return error.value.message


def test_an_unknown_step_is_refused() -> None:
    """A14: ["ok", "nil", "zzz"] → `invalid step: nil`."""
    registry = StepRegistry(step("ok"))
    assert refused(lambda: registry.build_workflow("w", ["ok", "nil", "zzz"])) == "invalid step: nil"
    assert registry.get("nil") is None


def test_an_empty_list_is_refused_by_default() -> None:
    """A15: refused, unless the policy allows it, as the preset does."""
    assert refused(lambda: StepRegistry().build_workflow("w", [])) == (
        "workflow w: its list of steps is empty; give it one at least"
    )
    assert StepRegistry().build_workflow("w", [], policy=Policy.automa()).flow.plan(EmptyInput()).steps == ()


@pytest.mark.parametrize("names", [["a", "b", "a"], ["a", "a"]])
def test_the_same_name_twice_is_refused(names: list[str]) -> None:
    """A21, A22, seed bug: it lost compensation, or undid without end; here it is refused, naming a."""
    assert refused(lambda: line(names)) == (
        "workflow line: step a is there twice; .rename() one of them, or list it under another id"
    )


def test_bad_definitions() -> None:
    """F13: empty and malformed ids, functions of another shape, what is no step, an empty workflow inside."""
    assert refused(lambda: Step("")).startswith("step name '' must be letters")
    assert refused(lambda: Workflow("", [step("a")])).startswith("workflow name '' must be letters")
    assert refused(lambda: StepRegistry().register({"a/b": step("a")})).startswith("step name 'a/b' must be")
    assert "must be a function of (ctx)" in refused(lambda: Step("a", lambda: None))  # type: ignore[misc, arg-type]
    assert "is no step" in refused(lambda: Workflow("w", [len]))  # type: ignore[list-item]
    empty = Workflow("none", [], policy=Policy.automa())
    assert (
        refused(lambda: Workflow("w", [empty]))
        == "workflow w: workflow none in it has no steps; leave it out"
    )


def test_registering_overwrites_nothing() -> None:
    """Another step under a name that is taken is refused; the same one isn't."""
    registry = StepRegistry(step("a"))
    registry.register({"a": step("a")})
    assert refused(lambda: registry.register({"a": Step("a")})) == (
        "step a is registered already; give one of them another name"
    )


def test_policies() -> None:
    """The preset is the seed's way; without it: own undo first, the first error, and no empty list."""
    assert Policy.automa() == Policy(undo_failed_step="always", error="last", allow_empty=True)
    assert Policy.automa(error="first").error == "first"
    assert Workflow("w", [step("a")]).policy == Policy(undo_failed_step="always")


def test_the_plan_of_a_workflow() -> None:
    """It compiles to a line; steps without an undo say so; inner workflows are subsagas, with operations of their own."""

    def look(ctx: Context[Any]) -> None:
        """Look at it."""

    workflow = Workflow("outer", [Step("look", look), line("ab", "sub"), step("end")], version="1.2.0")
    plan = workflow.flow.plan(EmptyInput())
    assert [(s.name, s.after, s.kind) for s in plan.steps] == [
        ("look", (), "operation"),
        ("sub/a", ("look",), "operation"),
        ("sub/b", ("sub/a",), "operation"),
        ("sub", ("sub/b",), "subsaga"),
        ("end", ("sub",), "operation"),
    ]
    names = [str(entry.definition) for entry in Registry(*workflow.definitions)]
    assert names == ["outer@1.2.0", "outer:end@1.2.0", "outer:look@1.2.0", "sub:a@1.0.0", "sub:b@1.0.0"]
    look_step = plan.steps[0]
    assert (look_step.no_undo, look_step.description) == (True, "Look at it.")  # type: ignore[union-attr]
