"""Jobs and actions are checked when they are made, and are values."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from activities import Context, DefinitionError, DefinitionExists, Registry, Retry, Unrecoverable
from flows import Action, ActionService, Job, NoData, Policy, ignore_error, with_error_handler
from tests.actions.jobs import a, b, part


def one(ctx: Context[Any], value: Any) -> Any:
    """Add one."""
    return value + 1


def refused(make: Any) -> str:
    """Give why something is refused."""
    with pytest.raises(DefinitionError) as error:
        make()
    return error.value.message


def test_an_action_needs_jobs_of_different_names() -> None:
    """ACT-01: `[]` → refused, saying empty; `[a, a]` → refused, naming a; what is no job is named."""
    assert refused(lambda: Action("x", [])) == "action x: its list of jobs is empty; give it one at least"
    assert refused(lambda: Action("x", [a, a])) == "action x: two jobs have the name a; .rename() one of them"
    assert "is no job" in refused(lambda: Action("x", [one]))  # type: ignore[list-item]


def test_a_job_needs_a_name_and_execute() -> None:
    """ACT-05, seed bug: a job without `execute` can't be made, instead of failing when it runs; nor one without a name."""
    assert refused(lambda: Job("a")) == "job a has no execute; give it a function (ctx, value)"
    assert refused(lambda: Job(execute=one)) == "a job has no name; give it one"
    assert refused(lambda: Job("a/b", one)).startswith("job name 'a/b' must be letters")
    assert "must be a function of (ctx, value)" in refused(lambda: Job("a", lambda ctx: ctx))  # type: ignore[misc]
    assert "must be a function of (ctx, data, error)" in refused(lambda: Job("a", one, rollback=one))


@pytest.mark.parametrize("name", ["a b", "a/b", "a:b", "a@1", "", "-a", "x" * 101, "ä"])
def test_action_names_that_were_not_checked(name: str) -> None:
    """Seed bug: names of actions and applications are checked; those that would be read as something else are refused."""
    service = ActionService()
    assert refused(lambda: service.register("app", name, Action("x", [a])))
    if name:
        assert refused(lambda: service.register(name, "x", Action("x", [a]))).startswith("application name")
        assert refused(lambda: Action(name, [a])).startswith("action name")
    assert service.definitions == ()


def test_registering_overwrites_nothing() -> None:
    """ACT-07: no action, an empty name, an existing name are refused; the first stays; other versions may stand beside."""
    service = ActionService()
    first = service.register("app", "x", Action("", [a]))
    assert refused(lambda: service.register("app", "y", None)) == "register: None is no action"  # type: ignore[arg-type]
    assert (
        refused(lambda: service.register("app", "", Action("x", [a]))) == "register: an action needs a name"
    )
    with pytest.raises(DefinitionExists) as exists:
        service.register("app", "x", Action("", [b]))
    assert exists.value.message == "action app/x@1.0.0 is registered already; give one a new version"
    service.register("app", "x", Action("", [b], version="1.1.0"))
    registry = Registry(*service.definitions)
    assert registry.retrieve("app/x@1.0.0") is first
    assert registry.retrieve("app/x").definition.version == "1.1.0"
    assert registry.retrieve("app/x:a@1.0.0").definition.id == "app/x:a"


def test_extending_replaces_what_is_given() -> None:
    """ACT-52: base pre [1]; extend(pre_hooks=[2]) → only 2; without → 1; [] removes them; `execute=` is refused."""
    p1, p2 = part("pre1"), part("pre2")
    base = Job("a", one, [p1], [p1], ignore_error)
    assert base.extend(pre_hooks=[p2]).pre_hooks == (p2,)
    assert base.extend().pre_hooks == (p1,)
    assert base.extend(pre_hooks=[]).pre_hooks == ()
    assert base.extend(post_hooks=[p2]).functions == (p1, one, p2)
    assert base.extend(pre_hooks=[p2]).rollback is ignore_error
    assert refused(lambda: base.extend(execute=one)) == (  # type: ignore[arg-type]
        "extend can't replace execute of job a; make a new job instead"
    )


def test_jobs_are_values() -> None:
    """ACT-53, seed bug: extending or renaming never changes the base; nor does changing the lists that were given."""
    hooks = [part("pre1")]
    base = Job("a", one, hooks)
    before = base.pre_hooks
    hooks.append(part("pre2"))
    renamed, extended = base.rename("b"), base.extend(pre_hooks=[], rollback=ignore_error)
    assert (base.name, base.pre_hooks, base.rollback) == ("a", before, None)
    assert (renamed.name, renamed.pre_hooks) == ("b", before)
    assert extended.rollback is ignore_error


def test_the_plan_of_an_action() -> None:
    """An action compiles to a line of steps, each one's input the output before it; its jobs' options are theirs."""
    job = Job("j", one, rollback=ignore_error, timeout=timedelta(seconds=5), retry=Retry(max_attempts=2))
    plan = ActionService().register("app", "x", Action("", [job, job.rename("k")])).plan(3)
    assert plan.policy == Policy(undo_failed_step="always") == Policy.actions()
    assert [(s.name, s.after, s.operation, s.input) for s in plan.steps] == [  # type: ignore[union-attr]
        ("j", (), "app/x:j@1.0.0", 3),
        ("k", ("j",), "app/x:k@1.0.0", {"$ref": "j"}),
    ]
    first = plan.steps[0]
    assert (first.timeout, first.retry, first.description) == (
        timedelta(seconds=5),
        Retry(max_attempts=2),
        "Add one.",
    )  # type: ignore[union-attr]


def test_an_action_without_a_name_is_for_registering() -> None:
    """An action may leave its name to the service; served by itself it needs one."""
    assert "name it, or register it" in refused(lambda: Action("", [a]).flow)
    assert str(ActionService().register(None, "x", Action("", [a])).definition) == "x@1.0.0"


async def test_a_job_in_a_plain_test() -> None:
    """`job.run` runs hooks and execute without Temporal, raises what they raise, and notes errors that were handled."""
    ctx = Context.of(None)
    handled = with_error_handler(lambda ctx, value: 1 / 0, ignore_error)
    assert await Job("a", one, [one], [handled]).run(ctx, 0) == 2
    assert ctx._kept.notes.errors == ["ZeroDivisionError: division by zero"]
    with pytest.raises(Unrecoverable, match="job a returned None"):
        await Job("a", lambda ctx, value: None).run(ctx, 0)
    assert await Job("a", lambda ctx, value: NoData, [one]).run(ctx, 5) == 5
