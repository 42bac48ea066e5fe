"""Going on from an earlier run: what it did answers, what failed there runs again, what was undone is new."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from flows import Policy, Sequence, start
    from tests.flows.running import Runner, Scripts, column, outputs, scripts
    from tests.flows.script import FAST, Inner, do
    from tests.sample import b
    from tests.script_operations import BIG, keys, shape_after, shape_before, values
    from tests.support import World, causes, failure_of, new_id

__all__ = ["scripts"]
THREE = (do("a", 3), do("b", 6), do("c", 12))
UNDO_A = ("undo a", 3, "done", 6)


class Types(Sequence[int, list[str]], id="types", version="1.0.0", policy=Policy(on_failure="keep")):
    """Look at the types of an output."""

    async def run(self, input: int) -> list[str]:
        report = await self.execute(values, 1)
        await self.execute(b, 1)
        at = report.output.at
        return [
            type(report.output).__name__,
            str(report.output.number),
            at.isoformat(),
            str(at.utcoffset()),
            report.id,
        ]


async def test_resumed_again_and_again(scripts: Scripts, world: World, cache: int) -> None:
    """Issue point 1, OPS-60: B fails: A, B; resumed: B, C, 24, no A; a third calls nothing and gives 24."""
    world.switch("fail-b")
    soon = timedelta(seconds=1)  # uncached, a task with a local activity can run into its timeout
    async with scripts(kept=True, cache=cache) as run:
        await run.fails(*THREE)
        assert world.calls == [("a", 3), ("b", 6)]
        world.switch("fail-b", on=False)
        assert outputs(await run(*THREE, resume=run.last.id, task_timeout=soon)) == [6, 12, 24]
        assert world.calls[2:] == [("b", 6), ("c", 12)]
        assert outputs(await run(*THREE, resume=run.last.id, task_timeout=soon)) == [6, 12, 24]
    assert len(world.calls) == 4


async def test_what_is_reused_is_undone_once(scripts: Scripts, world: World) -> None:
    """Issue point 1: a fourth run reuses A and unwinds: A is undone once; a fifth finds nothing left."""
    world.switch("fail-b")
    async with scripts(kept=True) as run:
        await run.fails(*THREE)
        for _ in range(2):
            await run.fails(*THREE, resume=run.last.id)
        third = run.last.id
    assert world.calls == [("a", 3), ("b", 6), ("b", 6), ("b", 6)]
    async with scripts() as run:
        await run.fails(do("a", 3), do("fail", "enough"), resume=third)
        assert world.calls[4:] == [UNDO_A]
        await run.fails(do("fail", "again"), resume=run.last.id)
    assert world.calls[5:] == []


async def test_all_that_was_taken_over_is_undone(scripts: Scripts, world: World) -> None:
    """Section 4: what an earlier run did is the new one's, called there or not: undone, newest first."""
    async with scripts() as run:
        await run(*THREE)
        await run.fails(do("a", 3), do("a", 1), do("fail", "enough"), resume=run.last.id)
        status = await run.last.query("status")
    assert world.calls[3:] == [
        ("a", 1),
        ("undo a", 1, "done", 2),
        ("undo c", 12, "done", 24),
        ("undo b", 6, "done", 12),
        UNDO_A,
    ]
    assert status["steps"] == {"a": "undone", "a.2": "undone", "b": "undone", "c": "undone"}


async def test_what_failed_runs_under_its_old_key(scripts: Scripts, world: World) -> None:
    """Section 4: failed and unknown steps run again under their old keys and names."""
    world.switch("fail-count-2")
    world.switch("nan-count-3")
    script = (do("count", 1), do("count", 2, catch=True), do("count", 3))
    async with scripts(kept=True) as run:
        await run.fails(*script)
        results = await run(*script, do("count", 4), resume=run.last.id)
    assert outputs(results) == [1, 4, 5, 6]
    assert column(results, "step") == ["count", "count.2", "count.3", "count.4"]
    first, failed, unknown, failed_again, unknown_again, new = keys(world, "count")
    assert (failed_again, unknown_again) == (failed, unknown)
    assert len({first, failed, unknown, new}) == 4


async def test_what_was_undone_runs_under_a_new_key(scripts: Scripts, world: World) -> None:
    """Section 4: a run unwound; resumed, its step is called again, under a new key."""
    async with scripts() as run:
        await run.fails(do("count", 1), do("fail", "enough"))
        assert outputs(await run(do("count", 1), resume=run.last.id)) == [2]
    before, after = keys(world, "count")
    assert before != after
    assert keys(world, "undo count") == [before]


async def test_an_unknown_step_stays_unknown(scripts: Scripts, world: World) -> None:
    """Section 3: unknown there, raising here: its first execution may have left something: undone."""
    world.switch("nan-count-1")
    world.switch("fail-count-2")
    async with scripts(kept=True) as run:
        await run.fails(do("a", 3), do("count", 1))
        kept = run.last.id
    async with scripts() as run:
        failure = await run.fails(do("count", 1), resume=kept)
    step = "step count (count@1.0.0) has an unknown outcome after 1 attempt: RuntimeError: call 2 is down"
    assert causes(failure)[1:] == [("OperationFailed", step), ("RuntimeError", "call 2 is down")]
    assert world.calls[2:] == [("count", 1), ("undo count", 1, "unknown", None), UNDO_A]


async def test_a_failed_undo_leaves_the_step_unknown(scripts: Scripts, world: World) -> None:
    """Section 4: an undo failed there: resumed, the step runs again instead of answering."""
    world.switch("fail-undo-a")
    async with scripts() as run:
        assert causes(await run.fails(do("a", 3), do("fail", "enough")))[0][0] == "Stuck"
        world.switch("fail-undo-a", on=False)
        (again,) = await run(do("a", 3), resume=run.last.id)
        assert (again["step"], again["output"]) == ("a", 6)
    assert world.calls == [("a", 3), *[UNDO_A] * 3, ("a", 3)]


async def test_local_steps_answer(scripts: Scripts, world: World) -> None:
    """Section 3: a local step is read from its envelope: it answers, and is undone with its output."""
    world.switch("fail-b")
    async with scripts(kept=True) as run:
        await run.fails(do("local-a", 3), do("b", 6))
        kept = run.last.id
    async with scripts() as run:
        await run.fails(do("local-a", 3), do("fail", "enough"), resume=kept)
    assert world.calls == [("local-a", 3), ("b", 6), ("undo local-a", 3, "done", 6)]


async def test_steps_of_inner_flows_answer(scripts: Scripts, world: World) -> None:
    """Section 4: a step of an inner flow answers there, and is undone when that flow unwinds."""
    world.switch("fail-b")
    async with scripts(Inner, kept=True) as run:
        await run.fails(do("inner", calls=[do("a", 3)]), do("b", 6))
        inner = do("inner", calls=[do("a", 3), do("a", 4), do("fail", "enough")], catch=True)
        (caught,) = await run(inner, resume=run.last.id)
    assert (caught["error"], caught["step"]) == ("SequenceFailed", "inner")
    assert world.calls[2:] == [("a", 4), ("undo a", 4, "done", 8), UNDO_A]


async def test_values_come_back_exactly(scripts: Scripts, world: World) -> None:
    """OPS-35: 64-bit integers and aware times come back as they were, same report id, no call."""
    world.switch("fail-b")
    async with scripts(Types) as run:
        first = await _types(run, None)
        await failure_of(first)
        world.switch("fail-b", on=False)
        report = (await first.query("report"))["children"][0]
        second = await (await _types(run, first.id)).result()
    assert second == ["Values", str(BIG), "2026-01-02T03:04:05.678901+00:00", "0:00:00", report["id"]]
    assert world.calls == [("values", 1), ("b", 1), ("b", 1)]


async def _types(run: Runner, resume: str | None) -> Any:
    memo = {"resume_from": resume} if resume else {}
    return await start(run.client, Types, 1, id=new_id(), task_queue=run.task_queue, memo=memo)


async def test_an_output_that_no_longer_fits_runs_again(scripts: Scripts, world: World) -> None:
    """OPS-15: recorded 1, and the output is a model now: one call, with the key of then."""
    world.switch("fail-b")
    async with scripts(shape_before, kept=True) as run:
        await run.fails(do("shape-before", 1), do("b", 1))
        kept = run.last.id
    async with scripts(shape_after, kept=True) as run:
        (report,) = await run(do("shape-after", 1), resume=kept)
        assert (report["step"], report["output"]) == ("shape", {"a": 1, "b": "x"})
    before, after = keys(world, "shape")
    assert before == after


async def test_what_succeeded_once_is_undone_though_it_fails_later(scripts: Scripts, world: World) -> None:
    """Section 3: a step that succeeded there and raises here, under the same key, is unknown and undone."""
    async with scripts(shape_before, kept=True) as run:
        await run(do("shape-before", 1))
        kept = run.last.id
    world.switch("fail-shape")
    async with scripts(shape_after) as run:
        await run.fails(do("shape-after", 1), resume=kept)
    assert world.calls == [("shape", 1), ("shape", 1), ("undo shape", "unknown")]


async def test_force_runs_a_resumed_step_anew(scripts: Scripts, world: World) -> None:
    """OPS-72: force runs what an earlier run did; both are this run's, and both are undone."""
    async with scripts() as run:
        await run(do("a", 3))
        await run.fails(do("a", 3, force=True), do("fail", "enough"), resume=run.last.id)
        assert (await run.last.query("status"))["steps"] == {"a.2": "undone", "a": "undone"}
    assert world.calls == [("a", 3), ("a", 3), UNDO_A, UNDO_A]


async def test_a_changed_input_goes_on_as_changed(scripts: Scripts, world: World) -> None:
    """Section 3: retry_input had changed the input: resumed, it is that input, under its key."""
    world.switch("fail-grow")
    async with scripts(kept=True) as run:
        await run.fails(do("grow", 1, retry=FAST))
        world.switch("fail-grow", on=False)
        (grown,) = await run(do("grow", 1), resume=run.last.id)
    assert grown["output"] == 10_000
    assert [call[1] for call in world.calls if call[0] == "grow"] == [1, 10, 100, 100, 1000, 10_000]
    called = keys(world, "grow")
    assert called[2] == called[3] and len(set(called)) == 5
