"""Retries, and inputs that a hook changes between attempts."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities import Retry
    from counterstep.reports import fetch_report
    from tests.flows.running import Runner, Scripts, column, outputs, scripts
    from tests.flows.script import FAST, do
    from tests.script_operations import keys
    from tests.support import World, causes

__all__ = ["scripts"]


def named(world: World, name: str) -> list[Any]:
    """Give what was recorded under a name, without the name."""
    return [call[1] if len(call) == 2 else tuple(call[1:]) for call in world.calls if call[0] == name]


async def attempts(run: Runner) -> list[int | None]:
    """Give the attempts of each step of the newest run, from its history."""
    return [child.attempts for child in (await fetch_report(run.client, run.last.id)).children]


async def test_no_retry_unless_asked_for(scripts: Scripts, world: World) -> None:
    """OPS-37: without retry one failure is final, though a second attempt would do."""
    async with scripts() as run:
        (failed,) = await run(do("tries", ["boom", "ok"], catch=True))
        assert await attempts(run) == [1]
    assert failed["message"] == "step tries (tries@1.0.0) failed after 1 attempt: RuntimeError: boom"
    assert named(world, "tries") == [1]


async def test_max_attempts_counts_attempts(scripts: Scripts, world: World) -> None:
    """OPS-39: max_attempts=1 is one call; 3 is three calls, and the message counts them."""
    async with scripts() as run:
        results = await run(
            do("tries", ["boom"], retry=Retry(1), catch=True), do("tries", ["bam"], retry=FAST, catch=True)
        )
        assert await attempts(run) == [1, 3]
    assert results[1]["message"] == "step tries.2 (tries@1.0.0) failed after 3 attempts: RuntimeError: bam"
    assert named(world, "tries") == [1, 1, 2, 3]


async def test_zero_attempts_mean_no_limit(scripts: Scripts, world: World) -> None:
    """OPS-39: max_attempts=0, failing 12 times: 13 calls with one key, done."""
    forever = Retry(0, initial=timedelta(milliseconds=5), factor=1)
    async with scripts() as run:
        (done,) = await run(do("tries", ["boom"] * 12 + ["ok"], retry=forever))
        assert await attempts(run) == [13]
    assert (done["output"], done["outcome"]) == (13, "done")
    assert named(world, "tries") == list(range(1, 14))
    assert len(set(keys(world, "tries"))) == 1


async def test_cancel_ends_unlimited_attempts(scripts: Scripts, world: World) -> None:
    """OPS-39: a cancel ends a step that is tried for ever; every attempt raised: nothing is undone."""
    async with scripts() as run:
        handle = await run.start(
            do("tries", ["boom"], retry=Retry(0, initial=timedelta(milliseconds=5), factor=1))
        )
        await world.until("tries", 3)
        await handle.cancel()
        report = await fetch_report(run.client, await _ended(handle))
    assert report.error is not None and report.error.type == "canceled"
    assert named(world, "undo tries") == []


async def _ended(handle: Any) -> str:
    from temporalio.client import WorkflowFailureError
    from temporalio.exceptions import CancelledError

    try:
        await handle.result()
    except WorkflowFailureError as error:
        assert isinstance(error.cause, CancelledError)
    return str(handle.id)


async def test_retry_of_a_call_replaces_the_operations(scripts: Scripts, world: World) -> None:
    """OPS-41: declared with five attempts, called with two: two calls; and the hook once."""
    async with scripts() as run:
        (failed,) = await run(do("hooked", ["boom"], retry=Retry(2, initial=FAST.initial), catch=True))
    assert failed["message"] == "step hooked (hooked@1.0.0) failed after 2 attempts: RuntimeError: boom"
    assert (named(world, "hooked"), named(world, "hook")) == ([1, 2], [(0, "boom")])


async def test_retry_input_changes_the_input_of_the_next_attempt(
    scripts: Scripts, world: World, cache: int
) -> None:
    """OPS-42, OPS-43: ×10, four failures; hook 0..3; one report, input 1, output of 10000; new keys."""
    async with scripts(cache=cache) as run:
        results = await run(do("grow", 1), do("grow", 1), do("grow", 10_000))
        report = await fetch_report(run.client, run.last.id)
    assert outputs(results) == [10_000, 10_000, 10_000]
    assert column(results, "step") == ["grow", "grow", "grow.2"]
    assert named(world, "grow") == [1, 10, 100, 1000, 10_000, 10_000]
    assert named(world, "grow hook") == [(i, f"{10**i} is too small") for i in range(4)]
    assert len(set(keys(world, "grow"))) == 6
    assert [(c.input, c.output, c.attempts) for c in report.children] == [(1, 10_000, 5), (10_000, 10_000, 1)]


async def test_the_hook_is_not_called_after_the_last_attempt(scripts: Scripts, world: World) -> None:
    """OPS-42: three attempts, all fail: the hook sees 0 and 1."""
    world.switch("fail-grow")
    async with scripts() as run:
        await run(do("grow", 1, retry=FAST, catch=True))
    assert named(world, "grow") == [1, 10, 100]
    assert [attempt for attempt, _ in named(world, "grow hook")] == [0, 1]


async def test_gas_grows_only_when_it_ran_out(scripts: Scripts, world: World) -> None:
    """OPS-42: gas 0, then 1,000,000, then +100,000, and only on "out of gas"."""
    async with scripts() as run:
        assert outputs(await run(do("gas", {"gas": 0}))) == [1_100_000]
        assert named(world, "gas") == [0, 1_000_000, 1_100_000]
    world.switch("fail-gas")
    (world.folder / "calls").unlink()
    async with scripts() as run:
        assert outputs(await run(do("gas", {"gas": 0}))) == [1_100_000]
    assert named(world, "gas") == [0, 1_000_000, 1_000_000, 1_100_000]


async def test_what_the_hook_returns_is_checked(scripts: Scripts, world: World) -> None:
    """OPS-27: a hook that returns text for a model fails the step with InvalidInput after one call."""
    world.switch("wrong-gas")
    async with scripts() as run:
        failure = await run.fails(do("gas", {"gas": 0}))
    kind, message = causes(failure)[-1]
    assert kind == "InvalidInput"
    assert message.startswith(
        "gas (gas@1.0.0): what retry_input returned doesn't fit Gas: value: Input should be"
    )
    assert named(world, "gas") == [0]


async def test_unrecoverable_stops_at_once(scripts: Scripts, world: World) -> None:
    """OPS-44: "first", then Unrecoverable: two calls, hook called once."""
    async with scripts() as run:
        (failed,) = await run(do("hooked", ["first", "fatal", "ok"], catch=True))
    assert failed["message"] == "step hooked (hooked@1.0.0) failed after 2 attempts: Unrecoverable: fatal"
    assert (named(world, "hooked"), named(world, "hook")) == ([1, 2], [(0, "first")])


async def test_unrecoverable_counts_as_a_cause_too(scripts: Scripts, world: World) -> None:
    """OPS-44: raise X from Unrecoverable on attempt 1: one call, the hook never."""
    async with scripts() as run:
        failure = await run.fails(do("hooked", ["caused", "ok"]))
    assert causes(failure)[2:] == [("RuntimeError", "outer"), ("Unrecoverable", "fatal")]
    assert (named(world, "hooked"), named(world, "hook")) == ([1], [])
