"""Linear workflows run their steps in a line, undo them backwards, and report both with the seed's words."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from activities import Context, Skip
from flows import Policy, undo
from flows import start as start_flow
from flows.linear import Step, StepRegistry, Workflow, WorkflowReport
from tests.linear.steps import done, line, rows, step
from tests.linear.steps import undo as undo_step
from tests.support import World, new_id

S, F, K = "SUCCESS", "FAILED", "SKIPPED"


async def test_steps_run_in_list_order(runs: Any, world: World, cache: int) -> None:
    """A1: [stop, fetch, notify skips] → SUCCESS, SUCCESS, SKIPPED; the workflow SUCCESS; stepSequence of all three."""
    world.switch("skip-notify")
    async with runs(line(["stop", "fetch", "notify"]), cache=cache) as start:
        report = await start()
    assert rows(report, "run") == [("stop", S), ("fetch", S), ("notify", K)]
    assert rows(report, "rollback") == []
    assert (report.workflow_id, report.status.value) == (start.last.id, S)
    assert report.step_sequence == ("stop", "fetch", "notify")
    assert world.calls == ["stop", "fetch", "notify"]


async def test_the_seeds_example(runs: Any, world: World, cache: int) -> None:
    """A4: [stop, fetch, notify skips, restart!], stop's undo fails → run S, S, SKIPPED, FAILED; rollback S, SKIPPED (never
    called), S, FAILED; 8 step reports; stepSequence of all four; the error is that of the last undo (A7).
    """
    for switch in ("skip-notify", "fail-restart", "fail-undo-stop"):
        world.switch(switch)
    async with runs(line(["stop", "fetch", "notify", "restart"]), cache=cache) as start:
        found, report = await start.fails()
    assert rows(report, "run") == [("stop", S), ("fetch", S), ("notify", K), ("restart", F)]
    assert rows(report, "rollback") == [("restart", S), ("notify", K), ("fetch", S), ("stop", F)]
    assert len(report.step_reports) == 8
    assert report.step_sequence == ("stop", "fetch", "notify", "restart")
    assert report.status.value == F
    assert done(world) == ["stop", "fetch", "notify", "restart", "undo restart", "undo fetch", "undo stop"]
    assert found[0][0] == "Stuck" and found[-1] == ("RuntimeError", "undo of stop down")
    assert report.step_reports[-1].reason is not None
    assert str(report.step_reports[-1].reason) == "RuntimeError: undo of stop down"
    assert str(report.step_reports[3].reason) == "RuntimeError: restart down"


@pytest.mark.parametrize(
    ("names", "failing", "count"), [("abcd", "c", 6), ("abcd", "d", 8), ("abcd", "a", 2)]
)
async def test_rows_of_a_failure(runs: Any, world: World, names: str, failing: str, count: int) -> None:
    """A2, A3, A5, F3: of four steps the third fails → 6 reports, the fourth only in the sequence; own undo first."""
    world.switch(f"fail-{failing}")
    async with runs(line(names)) as start:
        found, report = await start.fails()
    ran = names[: names.index(failing) + 1]
    assert rows(report, "run") == [(name, F if name == failing else S) for name in ran]
    assert rows(report, "rollback") == [(name, S) for name in reversed(ran)]
    assert len(report.step_reports) == count
    assert report.step_sequence == tuple(names)
    assert found[0][0] == "RolledBack" and found[-1] == ("RuntimeError", f"{failing} down")
    assert world.calls == [*ran, *(f"undo {name}" for name in reversed(ran))]


@pytest.mark.parametrize(("error", "told"), [("first", "c down"), ("last", "undo of b down")])
async def test_which_error_is_returned(runs: Any, world: World, error: Any, told: str) -> None:
    """A7: a, b (undo fails), c! → undo c, b, a; returned: c's error ("first"), or b's ("last"); the report has both."""
    world.switch("fail-c")
    world.switch("fail-undo-b")
    async with runs(line("abc", policy=Policy.automa(error=error))) as start:
        found, report = await start.fails()
    assert done(world)[3:] == ["undo c", "undo b", "undo a"]
    assert found[-1] == ("RuntimeError", told)
    assert [str(row.reason) for row in report.step_reports if row.reason] == [
        "RuntimeError: c down", "RuntimeError: undo of b down",
    ]  # fmt: skip


async def test_skipping_everything_is_a_success(runs: Any, world: World) -> None:
    """A9: all skip → SUCCESS, each SKIPPED."""
    for name in "ab":
        world.switch(f"skip-{name}")
    async with runs(line("ab")) as start:
        report = await start()
    assert (report.status.value, rows(report, "run")) == (S, [("a", K), ("b", K)])


async def test_what_never_executed_is_never_undone(runs: Any, world: World) -> None:
    """A10, A60, seed bug: a, b skips, c! → undo c, a called, b's isn't; b's rollback report says SKIPPED."""
    world.switch("skip-b")
    world.switch("fail-c")
    async with runs(line("abc")) as start:
        _, report = await start.fails()
    assert world.calls == ["a", "b", "c", "undo c", "undo a"]
    assert rows(report, "rollback") == [("c", S), ("b", K), ("a", S)]


async def test_an_error_is_an_error_while_skipping(runs: Any, world: World) -> None:
    """A11: a handler that raises another error while skipping → FAILED, own undo."""

    def torn(ctx: Context[World]) -> None:
        try:
            raise Skip("not needed")
        except Skip:
            raise RuntimeError("torn") from None

    async with runs(Workflow("line", [step("a"), Step("torn", torn, undo_step)])) as start:
        _, report = await start.fails()
    assert rows(report, "run") == [("a", S), ("torn", F)]
    assert world.calls == ["a", "undo torn", "undo a"]


async def test_a_step_without_functions_is_skipped_both_ways(runs: Any, world: World) -> None:
    """A12, A43: [x without functions, y!] → x SKIPPED, y FAILED, y's rollback SUCCESS, x's SKIPPED."""
    world.switch("fail-y")
    async with runs(Workflow("line", [Step("x"), step("y")])) as start:
        _, report = await start.fails()
    assert rows(report, "run") == [("x", K), ("y", F)]
    assert rows(report, "rollback") == [("y", S), ("x", K)]
    assert world.calls == ["y", "undo y"]


async def test_a_step_with_only_an_undo(runs: Any, world: World) -> None:
    """A12, A60: a step that has an undo and nothing to run is skipped, and so never undone."""
    world.switch("fail-y")
    async with runs(Workflow("line", [Step("x", undo=undo_step), step("y")])) as start:
        _, report = await start.fails()
    assert rows(report, "rollback") == [("y", S), ("x", K)]
    assert world.calls == ["y", "undo y"]


async def test_an_undo_may_skip(runs: Any, world: World) -> None:
    """A13: b's undo raises Skip → rollback b SKIPPED, a SUCCESS; the run is rolled back."""
    world.switch("fail-c")
    world.switch("skip-undo-b")
    async with runs(line("abc")) as start:
        found, report = await start.fails()
    assert found[0][0] == "RolledBack"
    assert rows(report, "rollback") == [("c", S), ("b", K), ("a", S)]
    assert done(world)[3:] == ["undo c", "undo b", "undo a"]


async def test_an_empty_list(runs: Any, world: World) -> None:
    """A15: with the preset a workflow without steps completes: no report, UNDEFINED."""
    async with runs(line([])) as start:
        report = await start()
        live = await start.last.query("workflow-report")
    assert (report.status.value, report.step_reports, report.step_sequence) == ("UNDEFINED", (), ())
    assert live["status"] == "UNDEFINED"


async def test_one_name_everywhere(runs: Any, world: World) -> None:
    """A17, seed bug: a registry {"alias": A} → stepSequence, reports and ctx.step say alias."""
    registry = StepRegistry().register({"alias": step("a")})
    async with runs(registry.build_workflow("line", ["alias"])) as start:
        report = await start()
    assert (report.step_sequence, rows(report, "run"), world.calls) == (("alias",), [("alias", S)], ["alias"])


async def test_steps_are_values(runs: Any, world: World) -> None:
    """A19, seed bug: wf1 = [a, b, c], then wf2 = [a, c] is built of the same steps; wf1 still runs a, b, c."""
    registry = StepRegistry(*map(step, "abc"))
    first = registry.build_workflow("wf1", ["a", "b", "c"])
    second = registry.build_workflow("wf2", ["a", "c"])
    async with runs(first, second) as start:
        assert (await start("wf1")).step_sequence == ("a", "b", "c")
        assert (await start("wf2")).step_sequence == ("a", "c")
    assert world.calls == ["a", "b", "c", "a", "c"]


async def test_one_step_under_two_names(runs: Any, world: World) -> None:
    """A21, A22, seed bug: [a, b, a as "a2"] → three runs, and each is undone once."""
    world.switch("fail-end")
    a = step("a")
    async with runs(Workflow("line", [a, step("b"), a.rename("a2"), step("end")])) as start:
        await start.fails()
    assert world.calls == ["a", "b", "a2", "end", "undo end", "undo a2", "undo b", "undo a"]


async def test_starting_a_workflow_from_python(runs: Any, world: World) -> None:
    """`start` takes the workflow itself, without an input."""
    workflow = line("ab")
    async with runs(workflow) as run_:
        handle = await start_flow(run_.client, workflow, id=new_id(), task_queue=run_.queue)
        assert await handle.result() is None
    assert world.calls == ["a", "b"]


async def test_each_start_has_a_report_of_its_own(runs: Any, world: World) -> None:
    """A23, seed bug: [a] started twice → two reports of 1 row."""
    async with runs(line("a")) as start:
        first, second = await start(), await start()
    assert [len(report.step_reports) for report in (first, second)] == [1, 1]


async def test_any_exception_is_a_failure(runs: Any, world: World) -> None:
    """A27, seed bug: b raises SystemExit → b FAILED, undo b, a."""
    world.switch("exit-b")
    async with runs(line("ab")) as start:
        found, report = await start.fails()
    assert found[-1] == ("SystemExit", "b exits")
    assert rows(report, "run") == [("a", S), ("b", F)]
    assert world.calls == ["a", "b", "undo b", "undo a"]


async def test_times_metadata_and_keys(runs: Any, world: World) -> None:
    """A37, A39: times are each step's own; metadata bytes of runs and undos; JSON and YAML have the seed's keys."""

    def mark(ctx: Context[World]) -> None:
        ctx.metadata["ran"] = b"\x00\xff"

    def unmark(ctx: Context[World]) -> None:
        ctx.metadata["undone"] = b"yes"

    world.switch("fail-b")
    async with runs(Workflow("line", [Step("a", mark, unmark), step("b")])) as start:
        _, report = await start.fails()
        live = await start.last.query("workflow-report")
    assert all(row.start_time <= row.end_time for row in report.step_reports)
    assert all(one.end_time <= two.start_time for one, two in pairwise(report.step_reports))
    assert report.step_reports[0].metadata == {"ran": b"\x00\xff"}
    assert report.step_reports[-1].metadata == {"undone": b"yes"}
    found, text = report.to_json(), yaml.safe_load(report.to_yaml())
    assert list(found) == ["workflowID", "startTime", "endTime", "status", "stepSequence", "stepReports"]
    assert list(found["stepReports"][0]) == [
        "stepID",
        "action",
        "startTime",
        "endTime",
        "status",
        "reason",
        "metadata",
    ]
    assert list(text) == ["workflow_id", "start_time", "end_time", "status", "step_sequence", "step_reports"]
    assert list(text["step_reports"][0]) == [
        "step_id",
        "action",
        "start_time",
        "end_time",
        "status",
        "reason",
        "metadata",
    ]
    assert found["stepReports"][0]["metadata"] == {"ran": "AP8="}
    assert (
        WorkflowReport.model_validate(json.loads(json.dumps(found)))
        == report
        == WorkflowReport.model_validate(text)
    )
    timeless = [
        (row["stepID"], row["action"], row["status"], row["reason"], row["metadata"])
        for row in live["stepReports"]
    ]
    assert timeless == [
        (r["stepID"], r["action"], r["status"], r["reason"], r["metadata"]) for r in found["stepReports"]
    ]


@pytest.mark.parametrize(("field", "value"), [("status", "DONE"), ("action", "undo")])
def test_unknown_words_are_refused(field: str, value: str) -> None:
    """A59: an unknown status or action in a report is refused, naming the field; so is an unknown mode of a policy."""
    now = datetime.now(tz=UTC).isoformat()
    row = {"stepID": "a", "action": "run", "startTime": now, "endTime": now, "status": S, field: value}
    whole = {"workflowID": "w", "startTime": now, "status": S, "stepSequence": ["a"], "stepReports": [row]}
    with pytest.raises(ValidationError) as refused:
        WorkflowReport.model_validate(whole)
    assert [error["loc"] for error in refused.value.errors()] == [("stepReports", 0, field)]
    with pytest.raises(ValidationError, match="on_failure"):
        Policy.automa(on_failure="rollback")


@pytest.mark.parametrize(
    ("mode", "calls", "statuses"),
    [
        ("keep", ["s1", "s2"], [S, F]),
        ("continue", ["s1", "s2", "s3"], [S, F, S]),
        ("unwind", ["s1", "s2", "undo s2", "undo s1"], [S, F, S, S]),
    ],
)
async def test_modes(runs: Any, world: World, mode: Any, calls: list[str], statuses: list[str]) -> None:
    """A57, F1: s1, s2!, s3: stop → s1, s2; continue → all three; rollback → s1, s2, then undo s2, s1; always failed."""
    world.switch("fail-s2")
    async with runs(line(["s1", "s2", "s3"], policy=Policy.automa(on_failure=mode))) as start:
        found, report = await start.fails()
    assert world.calls == calls
    assert [row.status.value for row in report.step_reports] == statuses
    assert found[0][0] == ("RolledBack" if mode == "unwind" else "Kept")
    assert found[-1] == ("RuntimeError", "s2 down")
    assert (report.status.value, report.step_sequence) == (F, ("s1", "s2", "s3"))


async def test_stopping_at_a_failed_undo(runs: Any, world: World) -> None:
    """F5: s1, s2 (undo fails), s3!, on_undo_failure="stop" → undo s3, s2; s1 isn't undone, and is named."""
    world.switch("fail-s3")
    world.switch("fail-undo-s2")
    async with runs(line(["s1", "s2", "s3"], policy=Policy.automa(on_undo_failure="stop"))) as start:
        found, report = await start.fails()
    assert done(world)[3:] == ["undo s3", "undo s2"]
    assert rows(report, "rollback") == [("s3", S), ("s2", F)]
    assert "not undone: s1 (line:s1@1.0.0): not tried, since s2 wasn't undone" in found[0][1]


async def test_a_crash_after_the_end(runs: Any, world: World) -> None:
    """F17: asked again, nothing runs: the same report, the same bytes; `undo` of a rolled back run calls nothing."""
    world.switch("fail-b")
    async with runs(line("ab")) as start:
        _, report = await start.fails()
        again = await start.report()
        await undo(start.client, start.last.id, task_queue=start.queue)
    assert report.to_yaml() == again.to_yaml()
    assert world.calls == ["a", "b", "undo b", "undo a"]


async def test_the_report_while_it_runs(runs: Any, world: World) -> None:
    """The query `workflow-report` while b runs: a SUCCESS, b and the workflow UNDEFINED."""
    world.switch("hold-b")
    async with runs(line("ab")) as start:
        handle = await start.start()
        await world.until("b")
        live = await handle.query("workflow-report")
        world.switch("go-b")
        await asyncio.wait_for(handle.result(), 30)
    assert (live["status"], live["endTime"]) == ("UNDEFINED", None)
    assert [(row["stepID"], row["status"]) for row in live["stepReports"]] == [("a", S), ("b", "UNDEFINED")]


def parent(*steps: Any, **options: Any) -> Workflow:
    """Build a workflow whose steps may be workflows."""
    return Workflow("line", steps, policy=Policy.automa(), **options)


async def test_an_inner_failure(runs: Any, world: World, cache: int) -> None:
    """A53, A61, F10: parent[s1, sub[a, b!]] → run s1, a, b; undo b, a, s1, once each."""
    world.switch("fail-sub/b")
    async with runs(parent(step("s1"), line("ab", "sub")), cache=cache) as start:
        found, report = await start.fails()
    assert world.calls == ["s1", "sub/a", "sub/b", "undo sub/b", "undo sub/a", "undo s1"]
    assert found[-1] == ("RuntimeError", "sub/b down")
    assert rows(report, "run") == [("s1", S), ("sub/a", S), ("sub/b", F)]
    assert rows(report, "rollback") == [("sub/b", S), ("sub/a", S), ("s1", S)]
    assert report.step_sequence == ("s1", "sub/a", "sub/b")


async def test_a_later_sibling_fails(runs: Any, world: World) -> None:
    """F9: parent[sub[a, b], s2!] → undo s2, b, a: the inner workflow is undone in its place."""
    world.switch("fail-s2")
    async with runs(parent(line("ab", "sub"), step("s2"))) as start:
        await start.fails()
    assert world.calls == ["sub/a", "sub/b", "s2", "undo s2", "undo sub/b", "undo sub/a"]


async def test_three_deep(runs: Any, world: World) -> None:
    """F11, A61: line[sub1[sub2[a, b!]]] → undo b, a, once each."""
    world.switch("fail-sub1/sub2/b")
    async with runs(parent(Workflow("sub1", [line("ab", "sub2")]))) as start:
        _, report = await start.fails()
    assert world.calls == ["sub1/sub2/a", "sub1/sub2/b", "undo sub1/sub2/b", "undo sub1/sub2/a"]
    assert rows(report, "rollback") == [("sub1/sub2/b", S), ("sub1/sub2/a", S)]


async def test_one_workflow_twice_and_alone(runs: Any, world: World) -> None:
    """A53: one workflow as two steps of another, and as a flow of its own, by the same worker."""
    sub = line("a", "sub")
    async with runs(sub, parent(sub, sub.rename("again"))) as start:
        assert (await start()).step_sequence == ("sub/a", "again/a")
        assert (await start("sub")).step_sequence == ("a",)
    assert world.calls == ["sub/a", "again/a", "a"]
