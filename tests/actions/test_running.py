"""Jobs run in a line; a failure rolls back the failing job, then those before it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus
from temporalio.exceptions import WorkflowAlreadyStartedError

from activities import Context, InvalidInput
from flows import ActionService, Job, NoData, Policy, start
from tests.actions.jobs import PARTS, a, b, c, calls, job, line, part, rollback, rollbacks
from tests.sample import FAST
from tests.support import World, causes, new_id

ab = line("ab", a, b)
abc = line("abc", a, b, c)


async def test_a_line_of_hooks_and_jobs(runs: Any, world: World, cache: int) -> None:
    """ACT-12, ACT-14: each function gets the previous value: a.pre1 0, a.execute 2, b.pre1 5; the result is 10."""
    async with runs(ab, cache=cache) as run:
        assert await run("ab") == 10
        deployment = await run.deployment()
    assert world.calls == [(f"{j}.{p}", i) for i, (j, p) in enumerate((j, p) for j in "ab" for p in PARTS)]
    assert deployment == {
        "id": run.last.id, "application": None, "action": "ab", "version": "1.0.0", "status": "finished",
        "current_job": "b", "rollback_error": None, "errors": [], "job_data": {},
    }  # fmt: skip


async def test_the_recorded_input_is_raw_and_never_changes(runs: Any, world: World) -> None:
    """ACT-13: inputs in the report: a 0, b 5, before hooks; a job that mutates its input leaves its recorded one."""

    def mutate(ctx: Context[World], value: dict[str, Any]) -> Any:
        value["seen"].append(ctx.step)
        return NoData if ctx.step == "second" else value

    mutating = Job("first", mutate)
    async with runs(ab, line("mutating", mutating, mutating.rename("second"))) as run:
        await run("ab")
        assert [child["input"] for child in (await run.last.query("report"))["children"]] == [0, 5]
        assert await run("mutating", {"seen": []}) == {"seen": ["first"]}
        children = (await run.last.query("report"))["children"]
    assert [child["input"] for child in children] == [{"seen": []}, {"seen": ["first"]}]


async def test_a_failing_hook_stops_its_job(runs: Any, world: World, cache: int) -> None:
    """ACT-22: b.pre2! → b.execute never called; handlers b, a; one error row, on b."""
    world.switch("fail-b.pre2")
    async with runs(ab, cache=cache) as run:
        await run.fails("ab")
        deployment = await run.deployment()
    assert calls(world)[5:] == ["b.pre1", "b.pre2", "rollback b", "rollback a"]
    assert deployment["errors"] == [{"job": "b", "error": "RuntimeError: b.pre2 down", "rollback": False}]
    assert (deployment["status"], deployment["current_job"]) == ("rolled_back", "b")
    assert deployment["rollback_error"] == "RuntimeError: b.pre2 down"


@pytest.mark.parametrize("failing", ["b.execute", "b.pre1"])
async def test_rollback_starts_with_the_failing_job(runs: Any, world: World, failing: str) -> None:
    """ACT-23: a, b!, c → handlers b, a; c is neither run nor rolled back; the same when only b.pre1 ran."""
    world.switch(f"fail-{failing}")
    async with runs(abc) as run:
        await run.fails("abc")
    assert rollbacks(world) == ["b", "a"]
    assert not any(name.startswith("c.") for name in calls(world))


async def test_jobs_without_a_handler_are_stepped_over(runs: Any, world: World) -> None:
    """ACT-23: a, b without a handler, c! → handlers c, a; the run is rolled back all the same."""
    world.switch("fail-c.execute")
    async with runs(line("gap", a, job("b", None), c)) as run:
        assert causes(await run.fails("gap"))[0][0] == "RolledBack"
    assert rollbacks(world) == ["c", "a"]


async def test_the_runs_error_is_the_jobs_own(runs: Any, world: World) -> None:
    """ACT-25: after a full rollback: RolledBack, its cause has type and text of b's error; handlers are given it."""
    world.switch("fail-b.execute")
    async with runs(ab) as run:
        found = causes(await run.fails("ab"))
    assert [kind for kind, _ in found] == ["RolledBack", "OperationFailed", "RuntimeError"]
    assert found[-1][1] == "b.execute down"
    assert world.calls[-2:] == [
        ("rollback b", None, "b.execute down"),
        ("rollback a", None, "b.execute down"),
    ]


async def test_a_failing_handler_leaks_no_earlier_job(runs: Any, world: World) -> None:
    """ACT-26, seed bug: a, b, c!, b's handler fails → called c, b, a; Stuck names b, with c's error as cause."""
    world.switch("fail-c.execute")
    world.switch("fail-rollback-b")
    async with runs(abc) as run:
        found = causes(await run.fails("abc"))
        errors = await run.errors()
    assert list(dict.fromkeys(rollbacks(world))) == ["c", "b", "a"]
    assert [kind for kind, _ in found] == ["Stuck", "OperationFailed", "RuntimeError"]
    assert found[0][1].splitlines()[1:] == ["not undone: b (abc:b@1.0.0): RuntimeError: rollback-b down"]
    assert errors == [("c", "RuntimeError: c.execute down"), ("b", "RuntimeError: rollback-b down")]


async def test_the_seeds_way_stops_at_a_failing_handler(runs: Any, world: World) -> None:
    """ACT-26: with on_undo_failure="stop" → c, b; Stuck names b and a."""
    world.switch("fail-c.execute")
    world.switch("fail-rollback-b")
    async with runs(line("abc", a, b, c, policy=Policy.actions(on_undo_failure="stop"))) as run:
        found = causes(await run.fails("abc"))
    assert list(dict.fromkeys(rollbacks(world))) == ["c", "b"]
    assert [row.split(" (")[0] for row in found[0][1].splitlines()[1:]] == ["not undone: b", "not undone: a"]


async def test_a_handler_that_raises_the_error_it_was_given_has_failed(runs: Any, world: World) -> None:
    """ACT-27: a, b!: b's handler re-raises → handlers b, a; Stuck names b, once called."""

    def again(ctx: Context[World], data: Any, error: Exception) -> None:
        ctx.deps.record("again")
        raise error

    world.switch("fail-b.execute")
    async with runs(line("again", a, job("b", again))) as run:
        found = causes(await run.fails("again"))
    assert found[0][0] == "Stuck"
    assert found[0][1].splitlines()[1:] == ["not undone: b (again:b@1.0.0): RuntimeError: b.execute down"]
    assert calls(world)[-2:] == ["again", "rollback a"]


@pytest.mark.parametrize("function", ["execute", "pre2"])
async def test_any_exception_is_a_failure(runs: Any, world: World, function: str) -> None:
    """ACT-29: b raises SystemExit, in an async or in a plain function → handlers b, a; the run fails naming b."""
    world.switch(f"exit-b.{function}")
    async with runs(ab) as run:
        found = causes(await run.fails("ab"))
        assert await run.errors() == [("b", f"SystemExit: b.{function} exits")]
    assert found[0][1] == (
        f"ab@1.0.0 rolled back: step b (ab:b@1.0.0) failed after 1 attempt: SystemExit: b.{function} exits"
    )
    assert rollbacks(world) == ["b", "a"]


async def test_a_panic_in_a_rollback_handler_is_no_success(runs: Any, world: World) -> None:
    """Seed bug: a handler that ends with SystemExit reported success; here the run is stuck, and names the job."""
    world.switch("fail-b.execute")
    world.switch("exit-rollback-b")
    async with runs(ab) as run:
        found = causes(await run.fails("ab"))
        assert (await run.deployment())["status"] == "stuck"
    assert found[0][1].splitlines()[1:] == ["not undone: b (ab:b@1.0.0): SystemExit: rollback-b exits"]
    assert rollbacks(world)[-1] == "a"


async def test_stopping_is_real(runs: Any, world: World) -> None:
    """ACT-33: update stop while b runs → ExecutionStopped, handlers b, a; they are told so."""
    world.switch("hold-b.execute")
    async with runs(ab) as run:
        handle = await run.start("ab")
        await world.until("b.execute", 7)
        assert (await run.deployment())["current_job"] == "b"
        await handle.execute_update("stop", {"by": "ann", "reason": "enough"})
        with pytest.raises(Exception) as failed:
            await handle.result()
    found = causes(failed.value.__cause__)  # type: ignore[arg-type]
    assert found[:2] == [
        ("RolledBack", "ab@1.0.0 rolled back: ab@1.0.0 was stopped by ann: enough"),
        ("ExecutionStopped", "ab@1.0.0 was stopped by ann: enough"),
    ]
    assert world.calls[-2:] == [
        ("rollback b", None, "ab@1.0.0 was stopped by ann: enough"),
        ("rollback a", None, "ab@1.0.0 was stopped by ann: enough"),
    ]


async def test_a_cancel_waits_for_a_plain_function_and_starts_no_further_one(runs: Any, world: World) -> None:
    """A cancel while a plain hook runs: its end is waited for, no function follows, and the job is rolled back."""

    def slow(ctx: Context[World], value: Any) -> Any:
        ctx.deps.record("slow begins")
        while not ctx.cancelled():
            time.sleep(0.01)
        ctx.deps.record("slow ends")
        return value

    async with runs(line("slow", a, Job("s", part("execute"), [slow], rollback=rollback))) as run:
        handle = await run.start("slow")
        await world.until("slow begins")
        await handle.cancel()
        with pytest.raises(Exception):  # noqa: B017 - cancelled, as the status says
            await handle.result()
        assert (await handle.describe()).status is WorkflowExecutionStatus.CANCELED
        assert (await run.deployment())["status"] == "cancelled"
    assert calls(world)[5:] == ["slow begins", "slow ends", "rollback s", "rollback a"]
    assert world.calls[-1] == ("rollback a", None, "slow@1.0.0 was cancelled")


async def test_a_job_must_return_a_value(runs: Any, world: World) -> None:
    """ACT-21: execute gives None and post1 9 → fine; None at the end → the job fails, saying so, and is rolled back."""

    def nothing(ctx: Context[World], value: Any) -> None:
        return None

    def nine(ctx: Context[World], value: Any) -> int:
        assert value is None
        return 9

    fine = line("fine", Job("n", nothing, post_hooks=[nine]))
    async with runs(fine, line("bad", a, Job("n", nothing, rollback=rollback))) as run:
        assert await run("fine") == 9
        found = causes(await run.fails("bad"))
    said = "job n returned None; return a value, or NoData to pass its input on"
    assert found[-1] == ("Unrecoverable", said)
    assert rollbacks(world) == ["n", "a"]


async def test_no_data_passes_the_input_on(runs: Any, world: World) -> None:
    """ACT-21: NoData after the input 5 → the next job gets 5, whatever a hook made of it; said by value, or by type."""

    def shape(ctx: Context[World], value: int) -> dict[str, int]:
        return {"seconds": value}

    def wait(ctx: Context[World], value: dict[str, int]) -> Any:
        ctx.deps.record("wait", value["seconds"])
        return NoData

    def quiet(ctx: Context[World], value: Any) -> None:
        ctx.deps.record("quiet", value)

    said = Job("wait", wait, [shape])
    typed = Job("quiet", quiet, input=NoData, output=NoData)
    async with runs(line("passing", a, said, typed, b)) as run:
        assert await run("passing") == 10
    assert [call for call in world.calls if call[0] in ("wait", "quiet", "b.pre1")] == [
        ("wait", 5), ("quiet", 5), ("b.pre1", 5),
    ]  # fmt: skip


async def test_types_are_checked_going_in(runs: Any, world: World) -> None:
    """ACT-03: an input `str` gets a number → InvalidInput naming job and "input"; the job's functions aren't called."""
    async with runs(line("typed", a, job("s", input=str))) as run:
        found = causes(await run.fails("typed"))
    assert found[-1][0] == "InvalidInput"
    assert found[-1][1].startswith("s: input of typed:s@1.0.0 doesn't fit str:")
    assert "s.pre1" not in calls(world)
    assert rollbacks(world) == ["a"]


async def test_types_are_checked_coming_out(runs: Any, world: World) -> None:
    """ACT-03: an output of the wrong type → names job and "output"; its outcome is unknown, and it is undone."""
    async with runs(line("typed", a, job("s", output=str))) as run:
        found = causes(await run.fails("typed"))
        states = (await run.last.query("status"))["steps"]
    assert found[1][1].startswith(
        "step s (typed:s@1.0.0) has an unknown outcome after 1 attempt: NotSerializable:"
    )
    assert found[-1][1].startswith("s (typed:s@1.0.0): output doesn't fit str:")
    assert states == {"a": "undone", "s": "undone"}
    assert rollbacks(world) == ["s", "a"]


async def test_the_start_input_is_checked(runs: Any, world: World) -> None:
    """A start input that the first job can't take closes the run with InvalidInput; nothing is called."""
    async with runs(line("typed", job("s", input=int))) as run:
        error = await run.fails("typed", "five")
    assert causes(error)[0][0] == "InvalidInput"
    assert world.calls == []


async def test_a_value_that_cant_be_recorded_is_the_fault_of_its_job(runs: Any, world: World) -> None:
    """ACT-15, seed bug: a returns a function → a is unknown, a's handler is called, b's never."""

    def make(ctx: Context[World], value: Any) -> Any:
        return lambda: None

    async with runs(line("function", Job("a", make, rollback=rollback), b)) as run:
        found = causes(await run.fails("function"))
        states = (await run.last.query("report"))["children"]
    assert found[-1][0] == "NotSerializable" and "output" in found[-1][1]
    assert [(child["step"], child["outcome"]) for child in states] == [("a", "unknown")]
    assert rollbacks(world) == ["a"]


async def test_job_data_that_was_never_saved_is_none(runs: Any, world: World) -> None:
    """ACT-31: b.pre1! → b's handler reads job data → None; handlers b, a; the run is rolled back."""
    world.switch("fail-b.pre1")
    async with runs(ab) as run:
        assert causes(await run.fails("ab"))[0][0] == "RolledBack"
    assert [(call[0], call[1]) for call in world.calls[-2:]] == [("rollback b", None), ("rollback a", None)]


async def test_the_last_job_data_counts(runs: Any, world: World) -> None:
    """ACT-47: three saves → the third is what a later attempt, the handler and the deployment get, whole."""

    async def saving(ctx: Context[World], value: Any) -> Any:
        ctx.deps.record("saved before", ctx.saved)
        for data in ({"kind": "instances", "ids": [1]}, [1, 2], {"ids": [1, 2, 3]}):
            await ctx.save(data)
        if ctx.attempt == 1 or ctx.deps.is_on("fail-saving"):
            raise RuntimeError("again")
        return value

    world.switch("fail-saving")
    async with runs(line("saving", Job("s", saving, rollback=rollback, retry=FAST))) as run:
        await run.fails("saving")
        deployment = await run.deployment()
    assert [call[1] for call in world.calls] == [None, *[{"ids": [1, 2, 3]}] * 3]
    assert deployment["job_data"] == {"s": {"ids": [1, 2, 3]}}
    assert deployment["errors"] == [{"job": "s", "error": "RuntimeError: again", "rollback": False}] * 3


async def test_errors_are_kept_per_job_in_order(runs: Any, world: World) -> None:
    """ACT-49: five errors, those of job b alone: 3."""

    def failing(ctx: Context[World], value: int) -> int:
        if ctx.attempt < value:
            raise RuntimeError(f"{ctx.step} {ctx.attempt}")
        return value + 1

    flaky = Job("a", failing, retry=FAST)
    other = Job("b", failing, retry=FAST.__class__(max_attempts=4, initial=FAST.initial))
    async with runs(line("flaky", flaky, other)) as run:
        assert await run("flaky", 3) == 5
        assert await run.errors() == [
            ("a", "RuntimeError: a 1"), ("a", "RuntimeError: a 2"),
            ("b", "RuntimeError: b 1"), ("b", "RuntimeError: b 2"), ("b", "RuntimeError: b 3"),
        ]  # fmt: skip
        assert [row["error"] for row in (await run.deployment("b"))["errors"]] == [
            "RuntimeError: b 1", "RuntimeError: b 2", "RuntimeError: b 3",
        ]  # fmt: skip


async def test_starting_an_action_from_python(runs: Any, world: World) -> None:
    """`start` takes the action itself, and refuses an input that its first job can't take before anything starts."""
    typed = line("typed", job("s", input=int, output=int))
    async with runs(typed) as run:
        handle = await start(run.client, typed, 1, id=new_id(), task_queue=run.queue)
        assert await handle.result() == 6
        with pytest.raises(InvalidInput, match="input doesn't fit int"):
            await start(run.client, typed, "one", id=new_id(), task_queue=run.queue)


async def test_one_open_run_per_id(runs: Any, world: World) -> None:
    """ACT-17, seed bug: a second start with the id of an open run is refused by Temporal; nothing changes."""
    world.switch("hold-a.execute")
    async with runs(ab) as run:
        handle = await run.start("ab", id=f"one-{run.queue}")
        await world.until("a.execute", 2)
        with pytest.raises(WorkflowAlreadyStartedError):
            await run.start("ab", id=handle.id)
        world.switch("go-a.execute")
        assert await handle.result() == 10
    assert calls(world).count("a.execute") == 1


async def test_a_failed_run_stays_failed(runs: Any, world: World) -> None:
    """ACT-45, seed bug: asked again, the result is the same failure; starting the id again is a new run."""
    world.switch("fail-b.execute")
    async with runs(ab) as run:
        first = await run.fails("ab")
        handle = run.last
        with pytest.raises(Exception) as second:
            await handle.result()
        assert causes(second.value.__cause__) == causes(first)  # type: ignore[arg-type]
        assert (await run.deployment())["status"] == "rolled_back"
        world.switch("fail-b.execute", on=False)
        again = await run.start("ab", id=handle.id)
        assert await again.result() == 10
    assert again.first_execution_run_id != handle.first_execution_run_id


async def test_a_run_follows_its_own_jobs(runs: Any, world: World) -> None:
    """ACT-43: two actions share job b, which one of them extends; at once, each goes on with its own jobs."""
    short, long = line("short", a, b), line("long", a, b.extend(post_hooks=[]), c)
    async with runs(short, long) as run:
        results = await asyncio.gather(*(run(name) for name in ("short", "long", "short", "long")))
    assert results == [10, 13, 10, 13]


async def test_renamed_jobs_stand_twice(runs: Any, world: World) -> None:
    """ACT-54: [a, a.rename("a2")] → fine, the result is 10."""
    async with runs(line("twice", a, a.rename("a2"))) as run:
        assert await run("twice") == 10
    assert calls(world)[5] == "a2.pre1"


async def test_types_of_an_application(runs: Any, world: World) -> None:
    """ACT-09, ACT-11: app/x starts by type, also from a range; unknown ones end before anything is done."""
    service = ActionService()
    service.register("app", "x", ab)
    service.register(None, "x", line("", a))
    async with runs(service) as run:
        assert await run("app/x") == 10
        deployment = await run.deployment()
        assert (deployment["application"], deployment["action"]) == ("app", "x")
        assert await run("app/x@^1") == 10
        assert await run("x") == 5
        world_before = len(world.calls)
        error = await run.fails("app/none")
        events = [event async for event in run.last.fetch_history_events()]
    assert causes(error)[0][0] == "UnknownFlow"
    assert "did you mean" in causes(error)[0][1] and "app/x@1.0.0" in causes(error)[0][1]
    assert len(world.calls) == world_before
    assert not any(event.HasField("activity_task_scheduled_event_attributes") for event in events)


async def test_applications_and_actions_dont_collide(runs: Any, world: World) -> None:
    """Seed bug: the keys of ("a_b", "c") and ("a", "b_c") were one; here each is a type of its own."""
    service = ActionService()
    service.register("a_b", "c", line("", a))
    service.register("a", "b_c", line("", a, b))
    service.register("a-b", "c", line("", a, b, c))
    async with runs(service) as run:
        assert [await run(name) for name in ("a_b/c", "a/b_c", "a-b/c")] == [5, 10, 15]


async def test_a_completed_run_can_be_undone(runs: Any, world: World) -> None:
    """The flow `undo` rolls a finished action back: handlers b, a, with their data, and no error."""
    from flows import undo

    async with runs(ab) as run:
        assert await run("ab") == 10
        undone = await undo(run.client, run.last.id, task_queue=run.queue)
    assert undone.undone == ("b", "a")
    assert world.calls[-2:] == [("rollback b", None, "None"), ("rollback a", None, "None")]


async def test_a_recorded_plan_runs_again(runs: Any, world: World) -> None:
    """The query plan of an action's run is what --type saga takes."""
    async with runs(ab) as run:
        await run("ab")
        plan = await run.last.query("plan")
        assert await run("saga", plan) == 10


async def test_the_deployment_while_it_runs(runs: Any, world: World) -> None:
    """Status and current job follow the run, forward and while it is rolled back."""

    async def held(ctx: Context[World], data: Any, error: Any) -> None:
        ctx.deps.record("held")
        await ctx.deps.wait("go-held")

    world.switch("fail-b.execute")
    world.switch("hold-a.execute")
    async with runs(line("ab", job("a", held), b)) as run:
        handle = await run.start("ab")
        await world.until("a.execute", 2)
        first = await run.deployment()
        world.switch("go-a.execute")
        await world.until("held")
        second = await run.deployment()
        world.switch("go-held")
        with pytest.raises(Exception):  # noqa: B017 - its end is another test's
            await handle.result()
    assert (first["status"], first["current_job"]) == ("running", "a")
    assert (second["status"], second["current_job"]) == ("rollback", "a")
    assert second["rollback_error"] == "RuntimeError: b.execute down"
