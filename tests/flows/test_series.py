"""Series: n executions of one operation, which go on where they stopped."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from counterstep.reports import fetch_report, sequence_report_json
    from tests.flows.running import Scripts, column, outputs, scripts
    from tests.flows.script import FAST, do
    from tests.script_operations import keys
    from tests.support import World, causes, events_of

__all__ = ["scripts"]


async def test_a_series_counts_only_its_own_successes(scripts: Scripts, world: World) -> None:
    """OPS-45: plain calls and other inputs don't count; the other input has order 0, its own name and key."""
    async with scripts() as run:
        plain, mine, other = await run(
            do("count", 1), do("count", 1, series="A", n=1), do("count", 2, series="A", n=1)
        )
    assert outputs([plain, mine, other]) == [1, [2], [3]]
    assert column([plain, *mine, *other], "step") == ["count", "A.0", "A.0.2"]
    assert column([*mine, *other], "order") == [0, 0]
    assert len(set(keys(world, "count"))) == 3


async def test_a_series_runs_in_order_and_grows(scripts: Scripts, world: World, cache: int) -> None:
    """OPS-46, OPS-47, OPS-48: n=3 gives orders 0..2; n=5 two more; n=2 the first two; n=7 two more."""
    async with scripts(cache=cache) as run:
        results = await run(*(do("count", 1, series="A", n=n) for n in (3, 5, 2, 7)))
    assert outputs(results) == [[1, 2, 3], [1, 2, 3, 4, 5], [1, 2], [1, 2, 3, 4, 5, 6, 7]]
    assert [column(r, "order") for r in results] == [[*range(3)], [*range(5)], [0, 1], [*range(7)]]
    assert results[1][:3] == results[0] and results[2] == results[0][:2]
    assert len(world.calls) == 7


async def test_a_gap_in_a_series_is_filled(scripts: Scripts, world: World, cache: int) -> None:
    """Order 1 of three is undone: n=2 executes it again, under a name of its own, and n=4 one more."""
    script = [do("count", 1, series="A", n=3), do("undo", "A.1")]
    script += [do("count", 1, series="A", n=n) for n in (2, 4)]
    async with scripts(cache=cache) as run:
        _, _, two, four = await run(*script)
    assert (outputs(two), column(two, "order")) == ([1, 4], [0, 1])
    assert (outputs(four), column(four, "order")) == ([1, 4, 3, 5], [0, 1, 2, 3])
    assert column(four, "step") == ["A.0", "A.1.2", "A.2", "A.3"]
    assert world.calls == [*[("count", 1)] * 3, ("undo count", 1, "done", 2), *[("count", 1)] * 2]


async def test_a_failed_member_keeps_what_was_done(scripts: Scripts, world: World) -> None:
    """OPS-49: n=5, third call fails: error with reports 0, 1; again in that run: order 2 is used again."""
    world.switch("fail-count-3")
    async with scripts() as run:
        failed, again = await run(
            do("count", 1, series="A", n=5, catch=True), do("count", 1, series="A", n=5)
        )
    assert failed["error"] == "SeriesFailed"
    assert (
        failed["message"]
        == "series A: step A.2 (count@1.0.0) failed after 1 attempt: RuntimeError: call 3 is down"
    )
    assert (failed["order"], failed["outcome"]) == (2, "failed")
    assert (outputs(failed["reports"]), column(failed["reports"], "order")) == ([1, 2], [0, 1])
    assert (outputs(again), column(again, "order")) == ([1, 2, 4, 5, 6], [0, 1, 2, 3, 4])
    assert len(world.calls) == 6


async def test_a_series_goes_on_in_another_run(scripts: Scripts, world: World) -> None:
    """OPS-49, issue point 4: resumed, the failed order runs again, old key: three calls, orders 0..4."""
    world.switch("fail-count-3")
    async with scripts(kept=True) as run:
        await run.fails(do("count", 1, series="A", n=5))
        (series,) = await run(do("count", 1, series="A", n=5), resume=run.last.id)
        assert (outputs(series), column(series, "order")) == ([1, 2, 4, 5, 6], [0, 1, 2, 3, 4])
        assert column(series, "step") == ["A.0", "A.1", "A.2", "A.3", "A.4"]
        assert outputs(await run(do("count", 1, series="A", n=2), resume=run.last.id)) == [[1, 2]]
    called = keys(world, "count")
    assert len(called) == 6 and called[2] == called[3] and len(set(called)) == 5


async def test_a_plain_call_leaves_a_failed_member_alone(scripts: Scripts, world: World) -> None:
    """OPS-17, OPS-49: resumed, a plain equal call has its own name; the member keeps its name and key."""
    world.switch("fail-count-1")
    async with scripts(kept=True) as run:
        await run.fails(do("count", 1, series="A", n=1))
        plain, (member,) = await run(do("count", 1), do("count", 1, series="A", n=1), resume=run.last.id)
    assert (plain["step"], member["step"]) == ("count", "A.0")
    first, second, third = keys(world, "count")
    assert first == third != second


async def test_an_empty_series_leaves_no_event(scripts: Scripts, world: World) -> None:
    """OPS-50: n=0 is [], no call, no event."""
    async with scripts() as run:
        assert await run(do("count", 1, series="A", n=0)) == [[]]
        assert len(await events_of(run.last)) == 5
    assert world.calls == []


async def test_retry_holds_for_each_member(scripts: Scripts, world: World) -> None:
    """OPS-51: n=2, the first attempt fails: three calls, attempts 2 and 1."""
    world.switch("fail-count-1")
    async with scripts() as run:
        assert outputs(await run(do("count", 1, series="A", n=2, retry=FAST))) == [[2, 3]]
        report = await fetch_report(run.client, run.last.id)
    assert [child.attempts for child in report.children] == [2, 1]


async def test_an_output_that_is_lost_ends_the_series(scripts: Scripts, world: World) -> None:
    """OPS-53: second output NaN: unknown, report 0 is kept; resumed: its key again, two more calls."""
    world.switch("nan-count-2")
    async with scripts(kept=True) as run:
        failure = await run.fails(do("count", 1, series="A", n=3, retry=FAST))
        assert len(world.calls) == 2
        (series,) = await run(do("count", 1, series="A", n=3), resume=run.last.id)
    text = "A.1 (count@1.0.0): output doesn't survive JSON: value is nan, which JSON can't hold"
    line = f"step A.1 (count@1.0.0) has an unknown outcome after 1 attempt: NotSerializable: {text}"
    assert causes(failure)[1:] == [("SeriesFailed", f"series A: {line}"), ("NotSerializable", text)]
    assert (outputs(series), column(series, "order")) == ([1, 3, 4], [0, 1, 2])
    called = keys(world, "count")
    assert len(called) == 4 and called[1] == called[2] and len(set(called)) == 3


async def test_an_unknown_member_is_undone(scripts: Scripts, world: World) -> None:
    """OPS-53, OPS-21: unwinding undoes the member whose output was lost as unknown, then the one before."""
    world.switch("nan-count-2")
    async with scripts() as run:
        await run.fails(do("count", 1, series="A", n=3))
    assert world.calls[2:] == [("undo count", 1, "unknown", None), ("undo count", 1, "done", 1)]


async def test_series_are_independent(scripts: Scripts, world: World, cache: int) -> None:
    """OPS-53b: five series of three at once: 15 calls, each series has orders 0..2."""
    async with scripts(cache=cache) as run:
        (five,) = await run(do("gather", calls=[do("count", 1, series=name, n=3) for name in "ABCDE"]))
    assert [column(series, "order") for series in five] == [[0, 1, 2]] * 5
    assert sorted(n for series in outputs(five) for n in series) == [*range(1, 16)]
    assert [column(series, "step") for series in five] == [
        [f"{name}.{i}" for i in range(3)] for name in "ABCDE"
    ]


async def test_one_series_asked_for_twice_at_once_runs_once(scripts: Scripts, world: World) -> None:
    """OPS-18, OPS-46: the same series in flight twice shares its executions: three calls."""
    async with scripts() as run:
        (both,) = await run(do("gather", calls=[do("count", 1, series="A", n=3)] * 2))
    assert both[0] == both[1] and outputs(both[0]) == [1, 2, 3]
    assert len(world.calls) == 3


async def test_a_series_has_one_child_a_member(scripts: Scripts) -> None:
    """OPS-61d: n=3 gives r0, r1, r2, then the sequence."""
    async with scripts() as run:
        await run(do("count", 1, series="A", n=3))
        view = sequence_report_json(await fetch_report(run.client, run.last.id))
    rows = view["executionReports"]
    assert [row.get("executionSeries") for row in rows] == [{"id": "A", "order": i} for i in range(3)] + [
        None
    ]
    assert [row["id"] for row in rows[:3]] == view["childOperationReports"]


async def test_a_series_name_is_checked(scripts: Scripts, world: World) -> None:
    """Section 4: a name that would look like a path is refused before the first call."""
    async with scripts() as run:
        (refused,) = await run(do("count", 1, series="A/B", n=1, catch=True))
    assert refused == {
        "error": "DefinitionError",
        "message": "series name 'A/B' must be letters, digits, '-' and '_', at most 100 of them",
    }
    assert world.calls == []
