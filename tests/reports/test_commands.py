"""`counterstep report`, `watch` and `doctor`: what they write, and how they fail."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import subprocess
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from rich.console import Console
from temporalio import workflow
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError
from typer.testing import CliRunner

with workflow.unsafe.imports_passed_through():
    from activities import Context, EmptyInput, Failure, Retry, operation
    from counterstep.cli import app
    from counterstep.reports import Pending, RunInfo, shape_of
    from counterstep.watch import Look, _Screen
    from flows import Dag, Sequence, saga, start
    from tests.conftest import Serve
    from tests.reports.flows import DEFINITIONS, careful, plain
    from tests.reports.making import report
    from tests.sagas.operations import check, work
    from tests.sagas.test_plan_checks import TEN, ten
    from tests.support import World, binary, causes, eventually, failure_of, new_id, reset
    from tests.undoing import undo, undo_fails

Command = Callable[..., Awaitable[Result]]


@pytest.fixture
def counterstep(dev_address: str) -> Command:
    """Run a command in this process, against the dev server."""

    async def run(*args: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, app, [*args, "--address", dev_address])

    return run


async def ran(client: Client, queue: str, flow: Any = plain) -> str:
    """Run a flow to its end, whatever that is; give its id."""
    handle = await start(client, flow, EmptyInput(), id=new_id(), task_queue=queue)
    with contextlib.suppress(WorkflowFailureError):
        await asyncio.wait_for(handle.result(), 60)
    return handle.id


async def test_report_in_every_format(
    serve: Serve, world: World, task_queue: str, counterstep: Command, tmp_path: Path
) -> None:
    """Each format is the view of that name; a file's name chooses one; no worker is there."""
    world.switch("fail-d")
    async with serve(*DEFINITIONS) as client:
        id = await ran(client, task_queue)
    texts = {name: (await counterstep("report", id, "--format", name)).stdout for name in FORMATS}
    tree = json.loads(texts["json"])
    assert (tree["run"]["workflowId"], tree["run"]["state"], len(tree["children"])) == (id, "rolled_back", 4)
    assert json.loads((await counterstep("report", id, "--json")).stdout) == tree
    assert texts["tree"].splitlines()[:3] == [
        "plain@1.0.0  failed  RuntimeError: d down",
        "├── a  done  work@1.0.0",
        "│   └── undo  undone",
    ]
    assert [len(json.loads(texts[name])["executionReports"]) for name in ("seed", "seed-duplicates")] == [
        5,
        5,
    ]
    assert (
        json.loads(texts["workflow"])["workflowID"]
        == id
        == yaml.safe_load(texts["workflow-yaml"])["workflow_id"]
    )
    assert texts["log"].splitlines()[:3] == ["SAGA LOG:", f"saga id: {id}", "direction: unwinding"]
    assert texts["status"].splitlines()[:2] == [f"+ saga execution: {id}", "+-- undone: a"]
    assert texts["mermaid"].splitlines()[:2] == ["flowchart TD", '  n0["a<br/>undone"]:::undone']
    file = tmp_path / "report.html"
    assert (await counterstep("report", id, "-o", str(file))).stdout == ""
    assert file.read_text().startswith("<!doctype html>") and f"<title>{id}: " in file.read_text()
    for suffix, name in (
        (".json", "json"),
        (".yaml", "workflow-yaml"),
        (".mmd", "mermaid"),
        (".txt", "tree"),
    ):
        file = tmp_path / f"report{suffix}"
        assert (await counterstep("report", id, "-o", str(file))).stdout == ""
        assert file.read_text() == texts[name]


async def test_report_of_a_refused_run(
    serve: Serve, world: World, task_queue: str, counterstep: Command, tmp_path: Path
) -> None:
    """Every mistake has its line, under what was asked for: a plan that never was has no version."""
    file = tmp_path / "report.txt"
    async with serve(work, check, ten) as client:
        handle = await client.start_workflow("so-many-mistakes", id=new_id(), task_queue=task_queue)
        await failure_of(handle)
        await counterstep("report", handle.id, "-o", str(file))
    lines = file.read_text().splitlines()
    assert lines[0].startswith("so-many-mistakes  failed  InvalidPlan: so-many-mistakes@1.0.0 can't be run,")
    assert sorted(lines[1:]) == sorted(TEN)


FORMATS = ("tree", "json", "seed", "seed-duplicates", "workflow", "workflow-yaml", "log", "status", "mermaid")


async def test_commands_fail_in_one_line(counterstep: Command, tmp_path: Path) -> None:
    """No such run, no Temporal, no folder, no module: exit code 1, one line that says what."""
    rows = [
        (("report", "nobody"), "counterstep report: there is no run of 'nobody'"),
        (("report", "nobody", "-r", "x"), "counterstep report: there is no run x of 'nobody'"),
        (("report", "nobody", "-n", "elsewhere"), "counterstep report: there is no namespace 'elsewhere'\n"),
        (("watch", "nobody", "-n", "elsewhere"), "counterstep watch: there is no namespace 'elsewhere'\n"),
        (("undo", "nobody", "-n", "elsewhere"), "counterstep undo: there is no namespace 'elsewhere'\n"),
        (("watch", "nobody"), "counterstep watch: there is no run of 'nobody'"),
        (("doctor", "--tls-ca-path", "/nothing"), "counterstep doctor: can't read /nothing: No such file or directory"),
        (("doctor", "-n", "elsewhere"), "counterstep doctor: Temporal refused: "),
        (("report", "nobody", "--module", "no_such"), "counterstep report: there is no module 'no_such'"),
    ]  # fmt: skip
    for args, line in rows:
        result = await counterstep(*args)
        assert (result.exit_code, result.stdout) == (1, ""), args
        assert result.stderr.startswith(line), result.stderr
    down = await asyncio.to_thread(CliRunner().invoke, app, ["doctor", "--address", "127.0.0.1:1"])
    assert (down.exit_code, down.stderr.startswith("counterstep doctor: can't reach Temporal at")) == (
        1,
        True,
    )


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("here:x", "'here:x' is no address, HOST:PORT: invalid port number"),
        ("a b:7233", "'a b:7233' is no address, HOST:PORT: invalid international domain name"),
    ],
)
def test_what_is_no_address(address: str, says: str) -> None:
    """An address that can't be one is named as what it is."""
    result = CliRunner().invoke(app, ["doctor", "--address", address])
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", f"counterstep doctor: {says}\n")


def test_a_host_that_isnt_known() -> None:
    """Why a host isn't reached is said in words."""
    result = CliRunner().invoke(app, ["doctor", "--address", "nowhere.invalid:7233"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("counterstep doctor: can't reach Temporal at nowhere.invalid:7233: ")
    assert "(failed to lookup address information: " in result.stderr and "tonic" not in result.stderr


async def test_the_installed_command(
    serve: Serve, world: World, task_queue: str, dev_address: str, tmp_path: Path
) -> None:
    """As it is installed, connected by the environment and by a profile."""
    async with serve(*DEFINITIONS) as client:
        id = await ran(client, task_queue)
    config = tmp_path / "temporal.toml"
    config.write_text(f'[profile.here]\naddress = "{dev_address}"\n')
    for flags, env in (
        ([], {"TEMPORAL_ADDRESS": dev_address}),
        (["--config-file", str(config), "--profile", "here"], {}),
    ):
        command = [binary("counterstep"), "report", id, "--format", "status", *flags]
        done = await asyncio.to_thread(
            subprocess.run,
            command,
            capture_output=True,
            text=True,
            timeout=60,
            env={"HOME": str(tmp_path), **env},
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines()[0] == f"+ saga execution: {id}"


async def test_watch_until_the_end(serve: Serve, world: World, task_queue: str, counterstep: Command) -> None:
    """Each change once, in order; attempts that the history doesn't tell of yet; 0 when it completed."""
    world.switch("hold-b")
    async with serve(*DEFINITIONS) as client:
        handle = await start(client, plain, EmptyInput(), id=new_id(), task_queue=task_queue)
        watching = asyncio.create_task(counterstep("watch", handle.id, "--json", "--interval", "0.05"))
        await world.until("b")
        await asyncio.sleep(0.5)
        world.switch("go-b")
        result = await asyncio.wait_for(watching, 60)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 0, result.stderr
    assert (lines[-1]["step"], lines[-1]["state"]) == ("", "completed")
    done = [line["step"] for line in lines if line["state"] == "done"]
    assert (done[0], sorted(done), done[-1]) == ("a", ["a", "b", "c", "d"], "d")
    assert len({(line["step"], line["state"]) for line in lines}) == len(lines)


async def test_watch_a_run_that_failed(
    serve: Serve, world: World, task_queue: str, counterstep: Command
) -> None:
    """Its end is the last line, the exit code 1, and the reason what the failed step said."""
    world.switch("fail-d")
    async with serve(*DEFINITIONS) as client:
        id = await ran(client, task_queue)
    result = await counterstep("watch", id)
    assert (result.exit_code, result.stderr) == (1, f"counterstep watch: {id} rolled back: d down\n")
    lines = result.stdout.splitlines()
    assert [line.split(maxsplit=1)[1] for line in lines] == [
        *(f"{step}  {state}" for step, state in (("a", "undone"), ("b", "undone"), ("c", "undone"))),
        "d  failed",
        "plain@1.0.0  rolled_back",
    ]


async def test_watch_a_run_that_was_refused(
    serve: Serve, world: World, task_queue: str, counterstep: Command
) -> None:
    """Every mistake of a plan has its line, as in `report`."""
    async with serve(work, check, ten) as client:
        handle = await client.start_workflow("so-many-mistakes", id=new_id(), task_queue=task_queue)
        await failure_of(handle)
        result = await counterstep("watch", handle.id)
    first, *mistakes = result.stderr.splitlines()
    assert first == (
        f"counterstep watch: {handle.id} refused: so-many-mistakes@1.0.0 can't be run, {len(TEN)} mistakes:"
    )
    assert (result.exit_code, sorted(mistakes)) == (1, sorted(TEN))


async def test_watch_a_run_that_is_stuck(
    serve: Serve, world: World, task_queue: str, counterstep: Command
) -> None:
    """What isn't undone is named, a line each, under the failure that it began with."""
    for switch in ("fail-d", "fail-undo-b", "fail-undo-a"):
        world.switch(switch)
    async with serve(*DEFINITIONS) as client:
        id = await ran(client, task_queue)
    result = await counterstep("watch", id)
    assert (result.exit_code, result.stderr.splitlines()) == (1, [
        f"counterstep watch: {id} stuck: plain@1.0.0 is stuck: step d (work@1.0.0) failed after 1 attempt: "
        "RuntimeError: d down",
        "not undone: b (work@1.0.0): RuntimeError: undo of b down",
        "not undone: a (work@1.0.0): RuntimeError: undo of a down",
    ])  # fmt: skip


class Wordy(Sequence[EmptyInput, None], id="wordy", version="1.0.0"):
    """Fails in two lines."""

    async def run(self, input: EmptyInput) -> None:
        raise ApplicationError("the first line\nand the second", non_retryable=True)


async def test_watch_shows_all_lines_of_a_failure(
    serve: Serve, world: World, task_queue: str, counterstep: Command
) -> None:
    """A failure's message isn't cut at its first line."""
    async with serve(Wordy) as client:
        id = await ran(client, task_queue, Wordy)
    result = await counterstep("watch", id)
    lines = [f"counterstep watch: {id} rolled back: the first line", "and the second"]
    assert (result.exit_code, result.stderr.splitlines()) == (1, lines)


def test_watch_on_a_terminal() -> None:
    """A bar with its count, the steps around those at work, which attempt one is at and why, and what is hidden."""
    steps = [report(f"s{n}") for n in range(30)]
    steps[20] = report("s20", outcome=None, result=())
    info = RunInfo("default", "run-1", "r", "r", "s@1.0.0", "running", "running", 10)
    flow = report("s", *steps, step="", outcome=None, run=info, result=())
    pending = Pending("s20", "s20@1.0.0", 3, "started", Failure(type="OSError", message="disk full"))
    console = Console(file=io.StringIO(), force_terminal=True, width=100, height=16, color_system=None)
    with _Screen(console) as screen:
        screen.show(Look(flow, shape_of(flow), {"s20": pending}))
    assert isinstance(console.file, io.StringIO)
    lines = [line.strip() for line in console.file.getvalue().splitlines()]
    assert next(line for line in lines if "run-1" in line).endswith("29/30  running")
    shown = list(dict.fromkeys(" ".join(line.split()) for line in lines if line.startswith(("s", "…"))))
    assert shown == [
        *(f"s{n} done" for n in range(17, 20)),
        "s20 running, attempt 3: disk full",
        *(f"s{n} done" for n in range(21, 27)),
        "… 20 more",
    ]


@operation(
    id="hopeless", version="1.0.0", retry=Retry(max_attempts=0, initial=timedelta(milliseconds=5), factor=1)
)
async def hopeless(ctx: Context[World], input: EmptyInput) -> None:
    """Never work."""
    raise RuntimeError("no disk")


class Hopeless(Sequence[EmptyInput, None], id="hopeless-flow", version="1.0.0"):
    """A step that fails for ever."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(hopeless, input)


class Bug(Sequence[EmptyInput, None], id="bug", version="1.0.0"):
    """A body with a bug."""

    async def run(self, input: EmptyInput) -> None:
        raise KeyError("nothing here")


async def doctored(
    counterstep: Command, wanted: Callable[[list[dict[str, Any]]], Any]
) -> list[dict[str, Any]]:
    """Ask until what is wanted was found: visibility lags, and Temporal reports a problem only after some tries."""
    deadline = time.monotonic() + 120
    while not wanted(found := json.loads((await counterstep("doctor", "--json")).stdout)):
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.25)
    return list(found)


@pytest.mark.nightly
@pytest.mark.timeout(300)
async def test_doctor(serve: Serve, world: World, task_queue: str, counterstep: Command) -> None:
    """Each kind is found, with the command that helps; what was undone since, isn't."""
    for switch in ("fail-b", "hang-x"):
        world.switch(switch)
    async with serve(*DEFINITIONS, hopeless, Hopeless, Bug) as client:
        empty = EmptyInput()
        retrying, bug, held = [
            (await start(client, flow, empty, id=new_id(), task_queue=task_queue)).id
            for flow in (Hopeless, Bug, careful)
        ]
        world.switch("fail-undo-a")
        stuck = await ran(client, task_queue)
        world.switch("fail-b", on=False)
        world.switch("hold-b")
        cut = await start(client, plain, empty, id=new_id(), task_queue=task_queue)
        mended = await start(client, plain, empty, id=new_id(), task_queue=task_queue)
        waits = await client.start_workflow("plain@1.0.0", {}, id=new_id(), task_queue="nobody")
        for handle in (cut, mended):
            while (await handle.query("status"))["steps"].get("b") != "running":
                await asyncio.sleep(0.02)
            await handle.terminate()
        world.switch("go-b")
        world.switch("fail-undo-a", on=False)
        await undo(client, task_queue, mended)
        ids = {retrying, bug, held, stuck, cut.id, waits.id}
        found = await doctored(counterstep, lambda found: ids <= {one["workflow_id"] for one in found})
        for id in (retrying, bug, held):
            await client.get_workflow_handle(id).terminate()
        await waits.terminate()
    mine = {one["workflow_id"]: one for one in found if one["workflow_id"] in {*ids, mended.id}}
    assert {one["kind"]: one["workflow_id"] for one in mine.values()} == {
        "retrying": retrying, "problem": bug, "held": held, "stuck": stuck, "left": cut.id, "unpolled": waits.id,
    }  # fmt: skip
    assert mine[held]["what"] == "b (work@1.0.0) is held: RuntimeError: b down"
    assert mine[held]["commands"][0] == (
        f"temporal workflow update execute --workflow-id {held} "
        """--input '{"step": "b", "by": "…"}' --name retry"""
    )
    assert mine[retrying]["what"].endswith(": RuntimeError: no disk")
    assert mine[retrying]["commands"][0] == (
        f"temporal activity pause --activity-id hopeless --workflow-id {retrying}"
    )
    assert mine[stuck]["what"] == "plain@1.0.0 is stuck; not undone: a"
    assert mine[cut.id]["what"] == "plain@1.0.0 was terminated; still in place: a, b, c"
    assert mine[cut.id]["commands"][0] == f"counterstep undo {cut.id} --run-id {cut.first_execution_run_id}"
    assert mine[waits.id]["task_queue"] == "nobody"
    assert "KeyError" in mine[bug]["what"] or "WorkflowTaskFailed" in mine[bug]["what"]
    shown = await counterstep("doctor", "--exit-code")
    assert shown.exit_code == 3 and f"✗ {stuck}  plain@1.0.0 is stuck; not undone: a" in shown.stdout


@saga(id="around-plain", version="1.0.0")
def around_plain(dag: Dag, params: EmptyInput) -> None:
    """A child."""
    dag.flow("p", plain, {})


async def test_doctor_names_the_run_of_an_id_that_was_used_again(
    serve: Serve, world: World, task_queue: str, counterstep: Command
) -> None:
    """An `undo` that failed is that of its run, not of a later one of the same id; the command names that run."""
    async with serve(*DEFINITIONS) as client:
        first = await start(client, plain, EmptyInput(), id=new_id(), task_queue=task_queue)
        await first.result()
        world.switch("fail-undo-a")
        assert (await undo_fails(client, task_queue, first))[0] == "Stuck"
        world.switch("fail-undo-a", on=False)
        again = await start(client, plain, EmptyInput(), id=first.id, task_queue=task_queue)
        await again.result()
        found = await doctored(
            counterstep, lambda found: any(one["workflow_id"] == first.id for one in found)
        )
        mine = [(one["run_id"], one["commands"][0]) for one in found if one["workflow_id"] == first.id]
        run = first.first_execution_run_id
        assert mine == [(run, f"counterstep undo {first.id} --run-id {run}")]
        shown = await counterstep("undo", first.id, "--run-id", str(run))
        assert shown.exit_code == 0, shown.output
        gone = await doctored(counterstep, lambda found: all(one["workflow_id"] != first.id for one in found))
    assert first.id not in {one["workflow_id"] for one in gone}


async def test_doctor_looks_at_the_newest_run_of_a_reset(
    serve: Serve, world: World, task_queue: str, counterstep: Command
) -> None:
    """A run that a reset ended isn't listed: what it left is the reset run's, also while the id is used again."""
    world.switch("hold-b")
    async with serve(*DEFINITIONS) as client:
        first = await start(client, plain, EmptyInput(), id=new_id(), task_queue=task_queue)
        await eventually(lambda: "b" in world.calls)
        anew = await reset(client, first, 4)
        cut = await start(client, plain, EmptyInput(), id=new_id(), task_queue=task_queue)
        await eventually(lambda: world.calls.count("b") == 3)
        await cut.terminate()
        for again in (False, True):
            found = await doctored(
                counterstep, lambda found: any(one["workflow_id"] == cut.id for one in found)
            )
            assert first.id not in {one["workflow_id"] for one in found}
            if not again:
                world.switch("go-b")
                await anew.result()
                last = await start(client, plain, EmptyInput(), id=first.id, task_queue=task_queue)
                await last.result()
        await undo(client, task_queue, cut)


async def test_doctor_lists_the_root_for_a_child_that_is_stuck(
    serve: Serve, world: World, task_queue: str, counterstep: Command
) -> None:
    """A child that is stuck under a root that was terminated before: the root is listed, once, however few runs are looked at."""
    world.switch("hold-b")
    world.switch("fail-undo-a")
    async with serve(*DEFINITIONS, around_plain) as client:
        root = await start(client, around_plain, EmptyInput(), id=new_id(), task_queue=task_queue)
        await eventually(lambda: "b" in world.calls)
        child = client.get_workflow_handle(f"{root.id}/p")
        await root.terminate()
        world.switch("go-b")
        assert causes(await failure_of(child))[0][0] == "Stuck"
        other = await start(client, plain, EmptyInput(), id=new_id(), task_queue="nobody")
        await other.terminate()
        for options in ((), ("--limit", "1")):
            deadline = time.monotonic() + 60
            listed: list[str] = []
            while root.id not in listed and time.monotonic() < deadline:
                found = json.loads((await counterstep("doctor", "--json", *options)).stdout)
                listed = [one["workflow_id"] for one in found if one["workflow_id"].startswith(root.id)]
            assert listed == [root.id]
        world.switch("fail-undo-a", on=False)
        await undo(client, task_queue, root)


async def test_doctor_leaves_a_cut_off_child_to_its_cut_off_root(
    serve: Serve, world: World, task_queue: str, counterstep: Command
) -> None:
    """A root that was terminated is listed, its child, which ended with it, isn't: the undo of the root undoes both."""
    world.switch("hold-b")
    async with serve(*DEFINITIONS, around_plain) as client:
        root = await start(client, around_plain, EmptyInput(), id=new_id(), task_queue=task_queue)
        await eventually(lambda: "b" in world.calls)
        child = client.get_workflow_handle(f"{root.id}/p")
        await child.terminate()
        await root.terminate()
        world.switch("go-b")
        ids = {root.id, child.id}
        found = await doctored(counterstep, lambda found: ids & {one["workflow_id"] for one in found})
        assert {one["workflow_id"] for one in found} & ids == {root.id}
        await undo(client, task_queue, root)


async def test_doctor_tells_of_an_undo_that_failed_and_leaves_a_child_to_its_root(
    serve: Serve, world: World, task_queue: str, counterstep: Command
) -> None:
    """A run that completed, and whose undo is stuck, is listed; a terminated child that its root undid isn't."""
    async with serve(*DEFINITIONS, around_plain) as client:
        completed = await start(client, plain, EmptyInput(), id=new_id(), task_queue=task_queue)
        await completed.result()
        world.switch("fail-undo-a")
        assert (await undo_fails(client, task_queue, completed))[0] == "Stuck"
        world.switch("fail-undo-a", on=False)
        world.switch("hold-b")
        root = await start(client, around_plain, EmptyInput(), id=new_id(), task_queue=task_queue)
        child = client.get_workflow_handle(f"{root.id}/p")
        await eventually(lambda: world.calls.count("b") == 2)
        await child.terminate()
        world.switch("go-b")
        assert causes(await failure_of(root))[0][0] == "RolledBack"
        ids = {completed.id, root.id, child.id}
        found = await doctored(
            counterstep, lambda found: completed.id in {one["workflow_id"] for one in found}
        )
        mine = {one["workflow_id"]: (one["kind"], one["what"]) for one in found if one["workflow_id"] in ids}
        assert mine == {
            completed.id: ("stuck", "plain@1.0.0 completed, and its undo is stuck; not undone: a")
        }
        await undo(client, task_queue, completed)
        gone = await doctored(
            counterstep, lambda found: completed.id not in {one["workflow_id"] for one in found}
        )
    assert not ids & {one["workflow_id"] for one in gone}
