"""Error handlers: what they get, what goes on, and one row for each error."""

from __future__ import annotations

from typing import Any

from activities import Context, Skip
from flows import Job, ignore_error, with_error_handler
from tests.actions.jobs import a, calls, line, part, rollback, rollbacks
from tests.support import World, causes


def fifty(ctx: Context[World], value: Any, error: Exception) -> int:
    """Handle it: 50."""
    ctx.deps.record("handler", value, str(error))
    return 50


async def same(ctx: Context[World], value: Any, error: Exception) -> Any:
    """Raise the same again."""
    raise error


def other(ctx: Context[World], value: Any, error: Exception) -> Any:
    """Raise another one."""
    raise ValueError("h")


def job(handler: Any, name: str = "execute") -> Job:
    """Make job `a`, one of whose functions has a handler."""
    parts = {n: part(n) for n in ("pre1", "pre2", "execute", "post1", "post2")}
    parts[name] = with_error_handler(parts[name], handler)
    pre1, pre2, execute, post1, post2 = parts.values()
    return Job("a", execute, [pre1, pre2], [post1, post2], rollback)


async def test_what_a_handler_returns_goes_on(runs: Any, world: World) -> None:
    """ACT-34: a.execute! with a handler → 50: post1 gets 50, one error row, finished; it got execute's value, 2."""
    world.switch("fail-a.execute")
    async with runs(line("x", job(fifty))) as run:
        assert await run("x") == 52
        assert await run.errors() == [("a", "RuntimeError: a.execute down")]
        assert (await run.deployment())["status"] == "finished"
    assert world.calls[2:] == [
        ("a.execute", 2),
        ("handler", 2, "a.execute down"),
        ("a.post1", 50),
        ("a.post2", 51),
    ]


async def test_ignoring_an_error(runs: Any, world: World) -> None:
    """ACT-36, seed bug: ignore_error around a.execute! that got 2: post1 gets 2, one row, and the job hasn't failed."""
    world.switch("fail-a.execute")
    async with runs(line("x", job(ignore_error))) as run:
        assert await run("x") == 4
        assert await run.errors() == [("a", "RuntimeError: a.execute down")]
    assert world.calls[3] == ("a.post1", 2)


async def test_the_same_error_is_one_row(runs: Any, world: World) -> None:
    """ACT-35: a handler that raises the same → 1 row, and the run's cause is that error."""
    world.switch("fail-a.execute")
    async with runs(line("x", job(same))) as run:
        found = causes(await run.fails("x"))
        assert await run.errors() == [("a", "RuntimeError: a.execute down")]
    assert found[-1] == ("RuntimeError", "a.execute down")


async def test_the_wrong_error_logged_by_an_error_handler(runs: Any, world: World) -> None:
    """ACT-35, seed bug: a handler that raises "h" → 2 rows, the function's error and "h"; the run's cause is "h"."""
    world.switch("fail-a.execute")
    async with runs(line("x", job(other))) as run:
        found = causes(await run.fails("x"))
        assert await run.errors() == [("a", "RuntimeError: a.execute down"), ("a", "ValueError: h")]
        assert (await run.deployment())["rollback_error"] == "ValueError: h"
    assert found[-1] == ("ValueError", "h")
    assert world.calls[-1] == ("rollback a", None, "h")


async def test_hooks_have_handlers_too(runs: Any, world: World) -> None:
    """ACT-37: pre-hooks and post-hooks alike; on success no handler is called."""
    world.switch("fail-a.pre2")
    async with runs(line("x", job(fifty, "pre2")), line("y", job(fifty, "post1"))) as run:
        assert await run("x") == 53
        world.switch("fail-a.pre2", on=False)
        assert await run("y") == 5
        assert await run.errors() == []
    assert calls(world).count("handler") == 1


async def test_what_is_no_exception_has_no_handler(runs: Any, world: World) -> None:
    """ACT-37: SystemExit in a wrapped function → the job fails, its handler isn't called."""
    world.switch("exit-a.execute")
    async with runs(line("x", job(fifty))) as run:
        found = causes(await run.fails("x"))
    assert found[-1] == ("SystemExit", "a.execute exits")
    assert "handler" not in calls(world)
    assert rollbacks(world) == ["a"]


async def test_a_handler_in_a_handler(runs: Any, world: World) -> None:
    """Wrapped twice: the outer handler gets the inner one's error; both are rows, in order."""
    world.switch("fail-a.execute")
    wrapped = with_error_handler(with_error_handler(part("execute"), other), fifty)
    async with runs(line("x", Job("a", wrapped))) as run:
        assert await run("x") == 50
        assert await run.errors() == [("a", "RuntimeError: a.execute down"), ("a", "ValueError: h")]
    assert world.calls[-1] == ("handler", 0, "h")


async def test_a_skipped_job_passes_its_input_on(runs: Any, world: World) -> None:
    """A job that skips passes its recorded input on, has no error, isn't rolled back, and calls no handler."""

    def skip(ctx: Context[World], value: Any) -> Any:
        raise Skip("nothing to do")

    skipping = Job("s", with_error_handler(skip, fifty), [part("pre1")], rollback=rollback)
    world.switch("fail-b.execute")
    async with runs(line("x", a, skipping), line("y", a, skipping, a.rename("b"))) as run:
        assert await run("x") == 5
        assert await run.errors() == []
        await run.fails("y")
    assert rollbacks(world) == ["b", "a"]
    assert "handler" not in calls(world)
