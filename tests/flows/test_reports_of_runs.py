"""Reports of real runs: as the run tells them while it lives, and as its history gives them, complete."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from rich.console import Console

    from activities import NoOutput, Retry
    from counterstep.reports import Report, fetch_report, render_tree, sequence_report_json, tree_json
    from tests.flows.running import Runner, Scripts, column, outputs, scripts
    from tests.flows.script import Inner, do
    from tests.support import World

__all__ = ["scripts"]
FAST = Retry(3, initial="PT0.01S")
COMPLETE = ("scheduled", "started", "finished", "timestamp", "attempts", "worker")


def ids(report: dict[str, Any]) -> dict[str, str]:
    """Give the id of each step, and of its undo."""
    found = {report["step"]: report["id"]}
    for child in report["children"]:
        found |= ids(child)
        if child["undo"]:
            found[f"{child['step']}.undo"] = child["undo"]["id"]
    return found


async def history_of(run: Runner) -> Report[Any, Any]:
    """Give the report of the newest run, from its history."""
    return await fetch_report(run.client, run.last.id)


async def test_live_and_from_history_have_the_same_ids(scripts: Scripts, world: World, cache: int) -> None:
    """Section 8: remote, local, series, inner, failed steps: each id is the same live and from history."""
    world.switch("fail-c")
    script = (
        do("a", 1),
        do("local-a", 2),
        do("count", 1, series="A", n=2),
        do("inner", calls=[do("b", 3)]),
        do("c", 5, catch=True),
    )
    async with scripts(Inner, cache=cache) as run:
        await run(*script)
        live = await run.last.query("report")
        report = tree_json(await history_of(run))
    assert list(ids(live)) == ["", "a", "local-a", "A.0", "A.1", "inner", "inner/b", "c"]
    assert ids(live) == ids(report)


async def test_a_report_from_history_is_the_same_every_time(scripts: Scripts, world: World) -> None:
    """Section 8: byte-identical every time, also when no worker runs, and for one that was undone."""
    world.switch("fail-b")
    async with scripts() as run:
        await run.fails(do("a", 1), do("local-a", 2), do("b", 3))
        first = json.dumps(tree_json(await history_of(run)))
    assert json.dumps(tree_json(await history_of(run))) == first


async def test_a_report_from_history_is_complete(scripts: Scripts, world: World) -> None:
    """Section 8: from history times, attempts and worker are there; live, what the run can't know is None."""
    world.switch("fail-count-1")
    async with scripts() as run:
        await run(do("count", 7, retry=FAST, key="k"), do("local-a", 2))
        report, (live, _) = await history_of(run), (await run.last.query("report"))["children"]
    remote, local = report.children
    for child in (remote, local):
        assert child.scheduled and child.started and child.finished
        assert child.scheduled <= child.finished and child.started <= child.finished
        assert child.timestamp == child.finished and child.finished.utcoffset() is not None
        assert child.worker and "@" in child.worker
    assert (remote.input, remote.output, remote.attempts, remote.key) == (7, 2, 2, "k")
    assert (local.input, local.output, local.attempts, str(local.outcome)) == (2, 4, 1, "done")
    assert [live[name] is None for name in COMPLETE] == [False, True, False, False, True, True]


async def test_a_flow_without_steps_has_its_report(scripts: Scripts) -> None:
    """OPS-33, OPS-55: a sequence without steps has childOperationReports [] and its own report."""
    async with scripts() as run:
        await run()
        view = sequence_report_json(await history_of(run))
    assert (view["childOperationReports"], view["input"], view["output"]) == ([], [], [])
    assert [row["id"] for row in view["executionReports"]] == [view["id"]]


async def test_seed_json_of_a_run(scripts: Scripts) -> None:
    """OPS-33, OPS-55: children first, the sequence last; the seed's names and empties; no executionSeries."""
    async with scripts() as run:
        await run(do("a", 1))
        view = sequence_report_json(await history_of(run))
    child, own = view["executionReports"]
    assert {k: v for k, v in child.items() if k not in ("id", "timestamp")} == {
        "definition": {"id": "a", "version": "1.0.0", "description": ""},
        "output": 2,
        "input": 1,
        "error": None,
        "childOperationReports": None,
    }
    assert own == {k: v for k, v in view.items() if k != "executionReports"}
    assert own["childOperationReports"] == [child["id"]]


async def test_a_failure_is_a_report(scripts: Scripts, world: World) -> None:
    """OPS-29: outcome failed, attempts 1, message "boom"; .output raises NoOutput, saying why."""
    async with scripts() as run:
        (failed,) = await run(do("tries", ["boom"], catch=True))
        (child,) = (await history_of(run)).children
    assert (failed["error"], failed["outcome"], failed["output"]) == ("OperationFailed", "failed", None)
    assert failed["id"] == child.id
    assert (str(child.outcome), child.attempts) == ("failed", 1)
    assert child.error is not None and (child.error.type, child.error.message) == ("RuntimeError", "boom")
    with pytest.raises(NoOutput) as caught:
        _ = child.output
    assert caught.value.message == "tries (tries@1.0.0) has no output: RuntimeError: boom"


async def test_undos_have_reports(scripts: Scripts, world: World) -> None:
    """Section 8: an undo is a report of its own on its step: outcome, attempts, error; ids of both differ."""
    world.switch("fail-undo-b")
    async with scripts() as run:
        await run.fails(do("a", 1), do("local-a", 2), do("b", 3), do("fail", "enough"))
        report = await history_of(run)
    undos = [child.undo for child in report.children]
    rows = [(u.step, str(u.outcome), u.attempts, u.error and str(u.error)) for u in undos if u]
    assert rows == [
        ("a", "done", 1, None),
        ("local-a", "done", 1, None),
        ("b", "failed", 3, "RuntimeError: undo of b down"),
    ]
    assert len({r.id for child in report.children for r in (child, child.undo) if r}) == 6


async def test_an_unknown_outcome_is_told(scripts: Scripts, world: World) -> None:
    """Section 1: an unknown step is unknown live and from history, and a skipped one has its reason."""
    async with scripts(kept=True) as run:
        await run.fails(do("tries", ["skip"]), do("tries", ["unknown"]))
        live = (await run.last.query("report"))["children"]
        skipped, unknown = (await history_of(run)).children
    assert column(live, "outcome") == [str(skipped.outcome), str(unknown.outcome)] == ["skipped", "unknown"]
    assert live[0]["skipped"] == skipped.skipped == "nothing to do"


async def test_a_run_that_is_open_has_a_report(scripts: Scripts, world: World) -> None:
    """Section 8: while b runs: a is done, b and the flow have no outcome yet; terminated, b is unknown."""
    world.switch("hold-b")
    async with scripts() as run:
        handle = await run.start(do("a", 1), do("b", 2))
        await world.until("b", 2)
        open_ = await history_of(run)
        await handle.terminate("enough")
        closed = await history_of(run)
        world.switch("go-b")
    assert [r.outcome and str(r.outcome) for r in open_.walk()] == ["done", None, None]
    assert [str(r.outcome) for r in closed.walk()] == ["done", "unknown", "failed"]
    assert closed.error is not None and closed.error.message == "Temporal closed the run: terminated"
    assert [r.id for r in open_.walk()] == [r.id for r in closed.walk()]


async def test_answered_calls_stand_in_the_tree_alone(scripts: Scripts, world: World) -> None:
    """OPS-57, OPS-60: S(3) resumed after B failed: seed view B, C, S; tree A (answered, marked), B, C."""
    world.switch("fail-b")
    three = (do("a", 3), do("b", 6), do("c", 12))
    async with scripts(kept=True) as run:
        await run.fails(*three)
        first = await history_of(run)
        world.switch("fail-b", on=False)
        assert outputs(await run(*three, resume=run.last.id)) == [6, 12, 24]
        live, report = await run.last.query("report"), await history_of(run)
        origin = (await run.runs[0].describe()).run_id
    marks = [["a", [run.runs[0].id, origin]], ["b", None], ["c", None]]
    for tree in (live, tree_json(report)):
        assert [[child["step"], child["answeredFrom"]] for child in tree["children"]] == marks
    assert ids(live) == ids(tree_json(report))
    assert [r.id for r in first.children] == [r.id for r in report.children[:2]]
    by_id = {r.id: r.step for r in report.walk()}
    view = sequence_report_json(report)
    assert [by_id[row["id"]] for row in view["executionReports"]] == ["b", "c", ""]
    assert [by_id[id] for id in view["childOperationReports"]] == ["b", "c"]


async def test_what_was_taken_over_and_undone_is_told(scripts: Scripts, world: World) -> None:
    """Section 8: a resumed run unwinds: the report has the step with its output there, and its undo here."""
    async with scripts(Inner) as run:
        await run(do("a", 3), do("inner", calls=[do("b", 4)]))
        await run.fails(do("fail", "enough"), resume=run.last.id)
        first, inner = (await history_of(run)).children
    assert (first.step, first.output, first.undo and str(first.undo.outcome)) == ("a", 6, "done")
    (second,) = inner.children
    assert (inner.step, second.step, second.undo and str(second.undo.outcome)) == ("inner", "inner/b", "done")
    assert world.calls[2:] == [("undo b", 4, "done", 8), ("undo a", 3, "done", 6)]


async def test_a_tree_for_the_terminal(scripts: Scripts, world: World) -> None:
    """Section 8: one line a step: name, outcome, definition, error; its undo below it."""
    world.switch("fail-b")
    async with scripts(Inner) as run:
        await run.fails(do("a", 1), do("inner", calls=[do("b", 2)]))
        report = await history_of(run)
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(render_tree(report))
    lines = [line.rstrip() for line in console.export_text().splitlines()]
    assert lines[1:] == [
        "├── a  done  a@1.0.0",
        "│   └── undo  undone",
        "└── inner  failed  inner@1.0.0  RuntimeError: b down",
        "    └── inner/b  failed  b@1.0.0  RuntimeError: b down",
    ]
    assert lines[0] == "script@1.0.0  failed  RuntimeError: b down"
