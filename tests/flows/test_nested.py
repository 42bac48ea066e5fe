"""Flows inside flows: namespaces, reports, unwinding; and calls in parallel."""

from __future__ import annotations

from typing import Any

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from counterstep.reports import fetch_report, sequence_report_json
    from tests.flows.running import Runner, Scripts, column, outputs, scripts
    from tests.flows.script import Inner, InnerKept, do
    from tests.support import World, causes

__all__ = ["scripts"]
NESTED = (do("a", 1), do("inner", calls=[do("b", 2)]), do("c", 3))


async def tree(run: Runner) -> list[tuple[str, str, Any]]:
    """Give step, outcome and children of the newest run's report, as it was queried."""
    return _rows((await run.last.query("report"))["children"])


def _rows(children: list[dict[str, Any]]) -> list[tuple[str, str, Any]]:
    return [(child["step"], child["outcome"], _rows(child["children"])) for child in children]


async def test_children_are_in_order_and_reports_once(scripts: Scripts, world: World, cache: int) -> None:
    """OPS-56, issue point 5: outer{op1, inner{op2}, op3}: children in order; duplicates when asked for."""
    async with scripts(Inner, cache=cache) as run:
        results = await run(*NESTED)
        assert await tree(run) == [
            ("a", "done", []),
            ("inner", "done", [("inner/b", "done", [])]),
            ("c", "done", []),
        ]
        report = await fetch_report(run.client, run.last.id)
    assert outputs(results)[::2] == [2, 6] and outputs(results[1]["output"]) == [4]
    ids = {r.id: r.step or "outer" for r in report.walk()}
    once, twice = (sequence_report_json(report, duplicates=d)["executionReports"] for d in (False, True))
    assert [ids[row["id"]] for row in once] == ["a", "inner/b", "inner", "c", "outer"]
    assert [ids[row["id"]] for row in twice] == ["a", "inner/b", "inner/b", "inner", "c", "outer"]
    assert [ids[id] for id in sequence_report_json(report)["childOperationReports"]] == ["a", "inner", "c"]


async def test_the_parent_undoes_what_an_inner_flow_did(scripts: Scripts, world: World, cache: int) -> None:
    """OPS-56, issue point 5: op3 fails: undone op2, op1, newest first over both flows."""
    world.switch("fail-c")
    async with scripts(Inner, cache=cache) as run:
        await run.fails(*NESTED)
    assert world.calls[3:] == [("undo b", 2, "done", 4), ("undo a", 1, "done", 2)]


async def test_an_inner_flow_unwinds_before_its_failure_arrives(scripts: Scripts, world: World) -> None:
    """Section 4: the inner flow undoes its own steps before the parent goes on; the parent's stay."""
    world.switch("fail-c")
    inner = do("inner", calls=[do("b", 2), do("c", 4)], catch=True)
    async with scripts(Inner) as run:
        _, failed, _ = await run(do("a", 1), inner, do("a", 9))
    assert failed["error"] == "SequenceFailed"
    assert failed["message"] == (
        "inner (inner@1.0.0) failed: step inner/c (c@1.0.0) failed after 1 attempt: RuntimeError: c down"
    )
    assert world.calls == [("a", 1), ("b", 2), ("c", 4), ("undo b", 2, "done", 4), ("a", 9)]


async def test_an_inner_failure_is_told_from_outside_in(scripts: Scripts, world: World) -> None:
    """Section 4: uncaught, the run ends rolled back; its causes name the flow, the step and the root."""
    world.switch("fail-b")
    async with scripts(Inner) as run:
        failure = await run.fails(*NESTED)
    step = "step inner/b (b@1.0.0) failed after 1 attempt: RuntimeError: b down"
    assert causes(failure) == [
        ("RolledBack", f"script@1.0.0 rolled back: inner (inner@1.0.0) failed: {step}"),
        ("SequenceFailed", f"inner (inner@1.0.0) failed: {step}"),
        ("OperationFailed", step),
        ("RuntimeError", "b down"),
    ]
    assert world.calls == [("a", 1), ("b", 2), ("undo a", 1, "done", 2)]


async def test_what_an_inner_flow_keeps_is_the_parents(scripts: Scripts, world: World) -> None:
    """Section 4: an inner flow that keeps undoes nothing itself; the parent undoes it, in its place."""
    world.switch("fail-c")
    inner = do("inner-kept", calls=[do("b", 2), do("c", 4)], catch=True)
    async with scripts(InnerKept) as run:
        await run(do("a", 1), inner)
        assert world.calls == [("a", 1), ("b", 2), ("c", 4)]
        await run.fails(do("a", 1), inner, do("local-a", 5), do("fail", "enough"))
    assert world.calls[7:] == [
        ("undo local-a", 5, "done", 10),
        ("undo b", 2, "done", 4),
        ("undo a", 1, "done", 2),
    ]


async def test_a_failed_sequence_has_its_reports(scripts: Scripts, world: World) -> None:
    """OPS-59: A, B!: the error names step b and "b down"; reports A, B!, S! with S's error and children."""
    world.switch("fail-b")
    async with scripts(kept=True) as run:
        failure = await run.fails(do("a", 1), do("b", 2))
        report = await fetch_report(run.client, run.last.id)
    message = "step b (b@1.0.0) failed after 1 attempt: RuntimeError: b down"
    assert causes(failure)[1] == ("OperationFailed", message)
    rows = [(r.step, str(r.outcome), r.error and r.error.message) for r in report.walk()]
    whole = f"script@1.0.0 failed, and what it did is kept: {message}"
    assert rows == [("a", "done", None), ("b", "failed", "b down"), ("", "failed", whole)]
    assert report.child_operation_reports == [child.id for child in report.children]


async def test_a_body_may_catch_and_go_on(scripts: Scripts, world: World) -> None:
    """OPS-61: catches B: completed, with the failed report in it, nothing undone."""
    world.switch("fail-b")
    async with scripts() as run:
        results = await run(do("a", 1), do("b", 2, catch=True), do("count", 7))
        assert await tree(run) == [("a", "done", []), ("b", "failed", []), ("count", "done", [])]
    assert (results[1]["outcome"], results[2]["output"]) == ("failed", 1)
    assert world.calls == [("a", 1), ("b", 2), ("count", 7)]


async def test_a_caught_inner_flow_has_its_reports(scripts: Scripts, world: World) -> None:
    """OPS-61: a caught inner flow: A, B!, inner!, outer."""
    world.switch("fail-b")
    async with scripts(InnerKept) as run:
        await run(do("inner-kept", calls=[do("a", 1), do("b", 2)], catch=True))
        live = await tree(run)
        report = await fetch_report(run.client, run.last.id)
    inside: list[Any] = [("inner-kept/a", "done", []), ("inner-kept/b", "failed", [])]
    assert live == [("inner-kept", "failed", inside)]
    rows = [(r.step, str(r.outcome)) for r in report.walk()]
    assert rows == [
        ("inner-kept/a", "done"),
        ("inner-kept/b", "failed"),
        ("inner-kept", "failed"),
        ("", "done"),
    ]


async def test_parallel_flows_keep_their_children_apart(scripts: Scripts, cache: int) -> None:
    """OPS-61c: three inline flows of two operations at once: each flow has exactly its own reports."""
    flows = [do("inner", calls=[do("a", i), do("b", i)]) for i in range(3)]
    async with scripts(Inner, cache=cache) as run:
        (three,) = await run(do("gather", calls=flows))
        live = await tree(run)
        report = await fetch_report(run.client, run.last.id)
    names = ["inner", "inner.2", "inner.3"]
    assert column(three, "step") == names
    assert live == [(name, "done", [(f"{name}/a", "done", []), (f"{name}/b", "done", [])]) for name in names]
    assert [[r.step for r in child.walk()] for child in report.children] == [
        [f"{n}/a", f"{n}/b", n] for n in names
    ]


async def test_an_equal_inner_flow_is_answered(scripts: Scripts, world: World) -> None:
    """Section 4: an equal flow isn't run again; with another input, or force, it is, under another name."""
    async with scripts(Inner) as run:
        results = await run(
            do("inner", calls=[do("count", 1)]),
            do("inner", calls=[do("count", 1)]),
            do("inner", calls=[do("count", 1)], force=True),
            do("inner", calls=[do("count", 2)]),
        )
    assert column(results, "step") == ["inner", "inner", "inner.2", "inner.3"]
    assert results[0] == results[1]
    assert world.calls == [("count", 1), ("count", 2)]


async def test_gather_gives_results_in_call_order(scripts: Scripts, world: World, cache: int) -> None:
    """Section 4: gather gives results in the order of the calls, whichever ends first."""
    world.switch("hold-a")
    async with scripts(cache=cache) as run:
        handle = await run.start(do("gather", calls=[do("a", 1), do("b", 2)]))
        await world.until("b", 2)
        world.switch("go-a")
        assert outputs(await handle.result()) == [[2, 4]]


async def test_gather_starts_no_more_than_its_limit(scripts: Scripts, world: World) -> None:
    """Section 4: with limit=2 the third call begins only when one of the first two has ended."""
    world.switch("hold-a")
    world.switch("hold-b")
    async with scripts() as run:
        handle = await run.start(do("gather", calls=[do("a", 1), do("b", 2), do("c", 3)], limit=2))
        await world.until("a", 1)
        await world.until("b", 2)
        assert (await handle.query("status"))["steps"] == {"a": "running", "b": "running"}
        world.switch("go-b")
        await world.until("c", 3)
        world.switch("go-a")
        assert outputs(await handle.result()) == [[2, 4, 6]]


async def test_a_failure_lets_the_others_settle(scripts: Scripts, world: World, cache: int) -> None:
    """Section 4, S27: b fails while a runs: a settles and is undone; c, queued, never starts."""
    world.switch("hold-a")
    world.switch("fail-b")
    async with scripts(cache=cache) as run:
        handle = await run.start(do("gather", calls=[do("a", 1), do("b", 2), do("c", 3)], limit=2))
        await world.until("a", 1)
        while (await handle.query("status"))["steps"].get("b") != "failed":
            pass
        world.switch("go-a")
        failure = await run.failure(handle)
    assert causes(failure)[1] == (
        "OperationFailed",
        "step b (b@1.0.0) failed after 1 attempt: RuntimeError: b down",
    )
    assert sorted(world.calls[:2]) == [("a", 1), ("b", 2)]
    assert world.calls[2:] == [("undo a", 1, "done", 2)]
