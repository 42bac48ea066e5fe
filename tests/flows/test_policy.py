"""What a policy decides: which steps are undone, what a failed undo means; undoing by hand; lost results."""

from __future__ import annotations

from typing import Any

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from flows import Policy, Sequence, start
    from tests.flows.running import Runner, Scripts, column, outputs, scripts
    from tests.flows.script import Body, Do, Inner, do
    from tests.sample import a
    from tests.support import World, causes, failure_of, new_id

__all__ = ["scripts"]
UNKNOWN = (do("a", 1), do("tries", ["unknown"]))
FAILED = (do("a", 1), do("tries", ["boom"]))
UNDO_A = ("undo a", 1, "done", 2)


class Always(
    Sequence[list[Do], list[Any]], id="always", version="1.0.0", policy=Policy(undo_failed_step="always")
):
    """Undo the failed step too."""

    async def run(self, input: list[Do]) -> list[Any]:
        return await Body(self).run(input)


class Never(
    Sequence[list[Do], list[Any]], id="never", version="1.0.0", policy=Policy(undo_failed_step="never")
):
    """Don't undo the failed step, even if its outcome is unknown."""

    async def run(self, input: list[Do]) -> list[Any]:
        return await Body(self).run(input)


class Stopping(
    Sequence[list[Do], list[Any]], id="stopping", version="1.0.0", policy=Policy(on_undo_failure="stop")
):
    """Stop at the first undo that fails."""

    async def run(self, input: list[Do]) -> list[Any]:
        return await Body(self).run(input)


class Result(Sequence[str, Any], id="result", version="1.0.0"):
    """Do a step, then return what can't be recorded."""

    async def run(self, input: str) -> Any:
        await self.execute(a, 1)
        return float("nan") if input == "nan" else "x" * 3 * 1024 * 1024


async def undos(run: Runner, world: World, *script: Do, flow: Any = None) -> list[Any]:
    """Run a script that fails; give the undos."""
    await run.fails(*script, **({"flow": flow} if flow else {}))
    found = [call for call in world.calls if str(call[0]).startswith("undo")]
    (world.folder / "calls").unlink()
    return found


async def test_which_failed_steps_are_undone(scripts: Scripts, world: World) -> None:
    """Section 5: undo_failed_step: unknown undoes unknown ones only, always failed ones too, never none."""
    async with scripts(Always, Never) as run:
        assert await undos(run, world, *UNKNOWN) == [("undo tries", "unknown"), UNDO_A]
        assert await undos(run, world, *FAILED) == [UNDO_A]
        assert await undos(run, world, *UNKNOWN, flow=Always) == [("undo tries", "unknown"), UNDO_A]
        assert await undos(run, world, *FAILED, flow=Always) == [("undo tries", "failed"), UNDO_A]
        assert await undos(run, world, *UNKNOWN, flow=Never) == [UNDO_A]
        assert await undos(run, world, *FAILED, flow=Never) == [UNDO_A]


async def test_a_step_whose_input_was_refused_is_never_undone(scripts: Scripts, world: World) -> None:
    """Section 5: a handler that wasn't called left nothing: refused before scheduling, under every policy."""
    async with scripts(Always) as run:
        failure = await run.fails(do("a", 1), do("tries", 5), flow=Always)
    assert causes(failure)[-1] == (
        "InvalidInput",
        "tries@1.0.0: input doesn't fit list[str]: value: Input should be a valid list",
    )
    assert world.calls == [("a", 1), UNDO_A]


async def test_a_skipped_step_is_not_undone(scripts: Scripts, world: World) -> None:
    """Section 3: Skip ends the step as skipped, with nothing to undo, and answers equal calls."""
    async with scripts() as run:
        await run.fails(do("tries", ["skip"]), do("tries", ["skip"]), do("fail", "enough"))
    assert world.calls == [("tries", 1)]


async def test_an_output_that_is_lost_is_undone_and_not_repeated(
    scripts: Scripts, world: World, cache: int
) -> None:
    """OPS-21: output NaN with retry: one call, undone once; NotSerializable names operation and output."""
    async with scripts(cache=cache) as run:
        failure = await run.fails(do("tries", ["nan"], retry={"max_attempts": 5}))
    assert causes(failure)[-1] == (
        "NotSerializable",
        "tries (tries@1.0.0): output doesn't survive JSON: value is nan, which JSON can't hold",
    )
    assert world.calls == [("tries", 1), ("undo tries", "unknown")]


async def test_a_result_that_is_not_json_fails_the_run(scripts: Scripts, world: World, cache: int) -> None:
    """OPS-61f: a sequence returns NaN: FAILED, NotSerializable naming it, its step undone."""
    async with scripts(Result, cache=cache) as run:
        failure = await _result(run, "nan")
    text = "result@1.0.0: result doesn't survive JSON: value is nan, which JSON can't hold"
    assert causes(failure)[-1] == ("NotSerializable", text)
    assert causes(failure)[0] == ("RolledBack", f"result@1.0.0 rolled back: NotSerializable: {text}")
    assert world.calls == [("a", 1), UNDO_A]


async def test_a_result_that_is_too_large_fails_the_run(scripts: Scripts, world: World) -> None:
    """OPS-61f: a sequence returns 3 MB: FAILED, ResultTooLarge naming it, its step undone."""
    async with scripts(Result) as run:
        failure = await _result(run, "large")
    text = "result@1.0.0: result has 3145730 bytes, 2031616 can be recorded"
    assert causes(failure)[-1] == ("ResultTooLarge", text)
    assert world.calls == [("a", 1), UNDO_A]


async def _result(run: Runner, input: str) -> BaseException:
    return await failure_of(await start(run.client, Result, input, id=new_id(), task_queue=run.task_queue))


async def test_a_failed_undo_does_not_stop_the_others(scripts: Scripts, world: World, cache: int) -> None:
    """ACT-26, section 1: undo of b fails: a is undone all the same; Stuck names b and why; cause: c's."""
    world.switch("fail-c")
    world.switch("fail-undo-b")
    async with scripts(cache=cache) as run:
        failure = await run.fails(do("a", 1), do("b", 2), do("c", 3))
        memo = (await run.last.describe()).memo_value("counterstep")
        status = (await run.last.query("status"))["steps"]
    step = "step c (c@1.0.0) failed after 1 attempt: RuntimeError: c down"
    lines = [
        f"script@1.0.0 is stuck: {step}",
        "not undone: b (b@1.0.0): RuntimeError: undo of b down",
    ]
    assert causes(failure) == [
        ("Stuck", "\n".join(lines)),
        ("OperationFailed", step),
        ("RuntimeError", "c down"),
    ]
    assert world.calls[3:] == [("undo b", 2, "done", 4)] * 3 + [UNDO_A]
    assert status == {"a": "undone", "b": "not undone", "c": "failed"}
    assert (await memo) == {"state": "stuck", "reason": "\n".join(lines), "not_undone": "b"}


async def test_stop_leaves_the_others(scripts: Scripts, world: World) -> None:
    """ACT-26: on_undo_failure="stop": undo of b fails, a isn't tried; Stuck names both."""
    world.switch("fail-undo-b")
    async with scripts(Stopping) as run:
        failure = await run.fails(do("a", 1), do("b", 2), do("fail", "enough"), flow=Stopping)
    assert causes(failure)[0][1].split("\n") == [
        "stopping@1.0.0 is stuck: Wanted: enough",
        "not undone: b (b@1.0.0): RuntimeError: undo of b down",
        "not undone: a (a@1.0.0): not tried, since b wasn't undone",
    ]
    assert world.calls[2:] == [("undo b", 2, "done", 4)] * 3


async def test_what_an_inner_flow_could_not_undo_is_named(scripts: Scripts, world: World) -> None:
    """Section 1: an inner undo fails, the body goes on: the run completes, its memo says stuck."""
    world.switch("fail-undo-b")
    inner = do("inner", calls=[do("b", 2), do("fail", "enough")], catch=True)
    async with scripts(Inner) as run:
        results = await run(do("a", 1), inner)
        memo = await (await run.last.describe()).memo_value("counterstep")
        failure = await run.fails(do("a", 1), inner, do("fail", "again"))
    assert results[1]["error"] == "SequenceFailed"
    assert (memo["state"], memo["not_undone"]) == ("stuck", "inner/b")
    assert causes(failure)[0][1].split("\n") == [
        "script@1.0.0 is stuck: Wanted: again",
        "not undone: inner/b (b@1.0.0): RuntimeError: undo of b down",
    ]
    assert world.calls[-1] == UNDO_A


async def test_undo_by_hand(scripts: Scripts, world: World, cache: int) -> None:
    """Section 4: self.undo(report) undoes one step; it answers no call any more, and isn't undone again."""
    async with scripts(cache=cache) as run:
        failure = await run.fails(do("a", 1), do("b", 2), do("undo", "a"), do("a", 1), do("fail", "enough"))
        status = (await run.last.query("status"))["steps"]
    assert causes(failure)[1] == ("Wanted", "enough")
    assert world.calls == [("a", 1), ("b", 2), UNDO_A, ("a", 1), UNDO_A, ("undo b", 2, "done", 4)]
    assert status == {"a": "undone", "b": "undone", "a.2": "undone"}


async def test_undo_by_hand_of_what_is_undone(scripts: Scripts, world: World) -> None:
    """Section 4: undoing twice, or what has no undo, is an error that says so, and calls nothing."""
    async with scripts() as run:
        twice = (
            do("a", 1),
            do("undo", "a"),
            do("undo", "a", catch=True),
            do("slow", 1),
            do("undo", "slow", catch=True),
        )
        results = await run(*twice)
    why = "has nothing to undo: it isn't a step of this flow with an undo, or it is undone"
    assert column([results[2], results[4]], "message") == [f"a {why}", f"slow {why}"]
    assert world.calls == [("a", 1), UNDO_A, ("slow", 1)]


async def test_an_undo_by_hand_that_fails(scripts: Scripts, world: World) -> None:
    """Section 4: its undo fails: Stuck; caught, the step is undone with the rest when the run fails."""
    world.switch("fail-undo-a")
    world.switch("hold-b")
    async with scripts() as run:
        handle = await run.start(do("a", 1), do("undo", "a", catch=True), do("b", 2), do("fail", "enough"))
        await world.until("b", 2)
        world.switch("fail-undo-a", on=False)
        world.switch("go-b")
        failure = await run.failure(handle)
    assert causes(failure)[0][0] == "RolledBack"
    assert world.calls == [("a", 1), *[UNDO_A] * 3, ("b", 2), ("undo b", 2, "done", 4), UNDO_A]


async def test_keep_leaves_everything(scripts: Scripts, world: World) -> None:
    """Section 5: on_failure="keep": Kept, its cause the failure; no undo is called."""
    world.switch("fail-c")
    async with scripts(kept=True) as run:
        failure = await run.fails(do("a", 1), do("c", 3))
        memo = await (await run.last.describe()).memo_value("counterstep")
    step = "step c (c@1.0.0) failed after 1 attempt: RuntimeError: c down"
    assert causes(failure)[:2] == [
        ("Kept", f"script@1.0.0 failed, and what it did is kept: {step}"),
        ("OperationFailed", step),
    ]
    assert memo == {"state": "kept", "reason": f"OperationFailed: {step}"}
    assert world.calls == [("a", 1), ("c", 3)]


async def test_local_steps_unwind_like_remote_ones(scripts: Scripts, world: World) -> None:
    """Section 3: local and remote steps are undone in one order, newest first."""
    world.switch("fail-local-b")
    async with scripts() as run:
        assert outputs(await run(do("local-a", 1), do("a", 2))) == [2, 4]
        failure = await run.fails(do("local-a", 1), do("a", 2), do("local-b", 3))
    assert causes(failure)[-1] == ("RuntimeError", "local-b down")
    assert world.calls[5:] == [("undo a", 2, "done", 4), ("undo local-a", 1, "done", 2)]


async def test_an_undo_that_failed_before_is_named_when_it_is_not_tried_again(
    scripts: Scripts, world: World, cache: int
) -> None:
    """The body goes on after its undo of a failed; unwinding stops at b: both are named, and a isn't tried again."""
    for switch in ("fail-undo-a", "fail-undo-b", "fail-c"):
        world.switch(switch)
    script = (do("a", 1), do("undo", "a", catch=True), do("b", 2), do("c", 3))
    async with scripts(Stopping, cache=cache) as run:
        found = causes(await run.fails(*script, flow=Stopping))
    assert found[0][0] == "Stuck"
    assert found[0][1].split("\n")[1:] == [
        "not undone: b (b@1.0.0): RuntimeError: undo of b down",
        "not undone: a (a@1.0.0): not tried, since b wasn't undone",
    ]
    undo_b = ("undo b", 2, "done", 4)
    assert world.calls == [("a", 1), *[UNDO_A] * 3, ("b", 2), ("c", 3), *[undo_b] * 3]
