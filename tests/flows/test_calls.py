"""Equal calls in one run are one execution; what tells calls apart, and which report answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities import EmptyInput, Registry, Retry
    from flows import Sequence, start
    from tests.flows.running import Scripts, column, outputs, scripts
    from tests.flows.script import do
    from tests.script_operations import Pair, count_edited, pair
    from tests.support import World, events_of, new_id

__all__ = ["scripts"]
BIG = 16015286601757825753


async def test_equal_calls_are_one_execution(scripts: Scripts, world: World, cache: int) -> None:
    """OPS-01, OPS-61b: the same call twice is one execution and one child; retry= is no part of equality."""
    async with scripts(cache=cache) as run:
        first, second = await run(do("count", 1), do("count", 1, retry=Retry()))
        report = await run.last.query("report")
    assert first == second and first["output"] == 1
    assert [child["step"] for child in report["children"]] == ["count"]
    assert world.calls == [("count", 1)]


async def test_an_answer_is_the_earlier_report_and_leaves_no_event(scripts: Scripts) -> None:
    """OPS-13: an answered call gives the same id and timestamp; the history is as long as with one call."""
    async with scripts() as run:
        await run(do("count", 1))
        alone = await events_of(run.last)
        first, second = await run(do("count", 1), do("count", 1))
        assert (first["id"], first["at"]) == (second["id"], second["at"])
        assert await events_of(run.last) == alone
    assert len(alone) == 11


async def test_other_versions_are_other_calls(scripts: Scripts, world: World) -> None:
    """OPS-01, OPS-04: 1.0.1 and 1.0.0+abc are others than 1.0.0; each runs, under a name of its own."""
    async with scripts() as run:
        results = await run(do("count", 1), do("count-patch", 1), do("count-build", 1), do("count", 1))
    assert outputs(results) == [1, 2, 3, 1]
    assert column(results, "step") == ["count", "count.2", "count.3", "count"]


async def test_the_description_is_no_part_of_equality(scripts: Scripts, world: World) -> None:
    """OPS-03: an operation whose text was edited is answered within a run, and from an earlier run."""
    world.switch("fail-b")
    async with scripts(kept=True) as run:
        assert outputs(await run(do("count", 1), do("count-edited", 1))) == [1, 1]
        await run.fails(do("count", 1), do("b", 1))
        kept = run.last.id
    async with scripts(count_edited, kept=True) as run:
        assert outputs(await run(do("count-edited", 1), resume=kept)) == [2]
    assert world.calls == [("count", 1), ("count", 1), ("b", 1)]


async def test_inputs_are_equal_when_their_json_is(scripts: Scripts, world: World, cache: int) -> None:
    """OPS-05, OPS-07: key order and 1.0 for 1 are no difference; array order, text, booleans, digits are."""
    same = [{"a": 1, "b": 2}, {"b": 2, "a": 1.0}]
    others = [[1, 2], [2, 1], 1, 1.0, "1", True, BIG, BIG + 1]
    async with scripts(cache=cache) as run:
        results = await run(*(do("count", value) for value in (*same, *others)))
    assert outputs(results) == [1, 1, 2, 3, 4, 4, 5, 6, 7, 8]
    assert len(world.calls) == 8


async def test_only_successes_answer(scripts: Scripts, world: World) -> None:
    """OPS-11: a caught failure doesn't block another try: two calls, two reports."""
    world.switch("fail-count-1")
    async with scripts() as run:
        first, second = await run(do("count", 1, catch=True), do("count", 1))
    assert (first["error"], first["outcome"], first["step"]) == ("OperationFailed", "failed", "count")
    assert (second["output"], second["outcome"], second["step"]) == (2, "done", "count.2")
    assert first["id"] != second["id"]
    assert world.calls == [("count", 1), ("count", 1)]


async def test_the_newest_success_answers(scripts: Scripts, world: World) -> None:
    """OPS-12, OPS-72: force=True runs anyway and adds a report with an id of its own, which then answers."""
    async with scripts() as run:
        first, forced, plain = await run(do("count", 1), do("count", 1, force=True), do("count", 1))
    assert [first["output"], forced["output"], plain["output"]] == [1, 2, 2]
    assert plain == forced and forced["id"] != first["id"]
    assert len(world.calls) == 2


async def test_equal_calls_in_flight_share_one_execution(scripts: Scripts, world: World, cache: int) -> None:
    """OPS-18: five at once are one call, and all get the same report."""
    async with scripts(cache=cache) as run:
        (five,) = await run(do("gather", calls=[do("slow", 1)] * 5))
    assert five == [five[0]] * 5 and five[0]["output"] == 1
    assert world.calls == [("slow", 1)]


async def test_a_failure_in_flight_is_shared_too(scripts: Scripts, world: World) -> None:
    """OPS-18: two equal calls at once whose execution fails both get that failure; it ran once."""
    world.switch("fail-count-1")
    async with scripts() as run:
        (both,) = await run(do("gather", calls=[do("count", 1, catch=True)] * 2))
    assert column(both, "id") == [both[0]["id"]] * 2 and both[0]["error"] == "OperationFailed"
    assert world.calls == [("count", 1)]


async def test_a_member_of_a_series_answers_a_plain_call(scripts: Scripts, world: World) -> None:
    """OPS-17: a plain call is answered by the newest member of a series, with no call."""
    async with scripts() as run:
        assert outputs(await run(do("count", 1, series="A", n=3), do("count", 1))) == [[1, 2, 3], 3]
    assert len(world.calls) == 3


async def test_keys_are_part_of_equality(scripts: Scripts, world: World) -> None:
    """OPS-73: a key tells calls apart, an empty one is none; it stands in the report."""
    calls = [
        do("count", 1),
        do("count", 1, key="k"),
        do("count", 1, key=""),
        do("count", 1, key="k", force=True),
    ]
    calls += [do("count", 1, key="k"), do("count", 1)]
    async with scripts() as run:
        results = await run(*calls)
        apart = await run(do("count", 1, key="23"), do("count", 12, key="3"))
    assert outputs(results) == [1, 2, 1, 3, 3, 1]
    assert column(results, "key") == [None, "k", None, "k", "k", None]
    assert outputs(apart) == [4, 5]


async def test_a_step_name_is_used_once(scripts: Scripts, world: World) -> None:
    """Section 4: an explicit step name used twice is refused before the call; names of ours get .2, .3."""
    async with scripts() as run:
        results = await run(
            do("count", 1, step="x"), do("count", 2), do("count", 3), do("count", 4, step="x", catch=True)
        )
    assert column(results[:3], "step") == ["x", "count", "count.2"]
    assert results[3] == {
        "error": "DefinitionError",
        "message": "step name 'x' is used twice; each needs its own",
    }
    assert [call[1] for call in world.calls] == [1, 2, 3]


@dataclass
class PairClass:
    b: str
    a: float


class Pairs(Sequence[EmptyInput, list[Any]], id="pairs", version="1.0.0"):
    """Call one operation with inputs of several Python types, and one looked up in a registry."""

    async def run(self, input: EmptyInput) -> list[Any]:
        found: Any = Registry(pair).retrieve("pair@^1")
        inputs: list[Any] = [Pair(a=1, b="x"), PairClass("x", 1.0), {"b": "x", "a": 1.0}, {"a": 2, "b": "x"}]
        reports = [await self.execute(found if i == 2 else pair, value) for i, value in enumerate(inputs)]
        return [[r.output, type(r.output).__name__, type(r.input).__name__] for r in reports]


async def test_python_types_make_no_difference(scripts: Scripts, world: World) -> None:
    """OPS-05, OPS-65: model, dataclass, reordered dict, retrieved operation: one call, ints, models."""
    async with scripts(Pairs) as run:
        handle = await start(run.client, Pairs, EmptyInput(), id=new_id(), task_queue=run.task_queue)
        assert await handle.result() == [[1, "int", "Pair"]] * 3 + [[2, "int", "Pair"]]
    assert world.calls == [("pair", 1, "x"), ("pair", 2, "x")]
