"""Runs of somebody else's workflows, in the same namespace: whatever is in their histories, every command goes on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from temporalio import activity, workflow
from temporalio.client import Client, WorkflowHistory
from temporalio.worker import UnsandboxedWorkflowRunner, Worker
from typer.testing import CliRunner

with workflow.unsafe.imports_passed_through():
    from activities import Status
    from counterstep import _findings
    from counterstep.cli import app
    from counterstep.reports import Kind, fetch_report, read_run, report_of
    from flows import Policy, Sequence, _lookup, start
    from tests.conftest import Serve
    from tests.sample import a, b
    from tests.support import World, causes, eventually, failure_of, new_id
    from tests.undoing import done, undo, undo_fails

Command = Callable[..., Awaitable[Result]]
HISTORIES = Path(__file__).parents[1] / "histories" / "0.1"


@activity.defn
async def left_open() -> None:
    """Be completed by somebody else."""
    activity.raise_complete_async()


@activity.defn(name="some@thing")
async def some(x: int) -> int:
    return x


@activity.defn(name="other@1.0.0")
async def other(x: int) -> dict[str, int]:
    return {"output": x}


@workflow.defn(name="theirs")
class Theirs:
    """Somebody else's workflow: local activities and updates whose names look like ours, an activity without a result."""

    def __init__(self) -> None:
        self._skipped = False

    @workflow.run
    async def run(self) -> str:
        soon = timedelta(seconds=30)
        await workflow.execute_local_activity(some, 1, start_to_close_timeout=soon)
        await workflow.execute_local_activity(other, 1, start_to_close_timeout=soon)
        await workflow.wait_condition(lambda: self._skipped)
        await workflow.execute_activity(left_open, activity_id="open", start_to_close_timeout=soon)
        return "ended"

    @workflow.update
    def approve(self, input: Any) -> None:
        """Take anything."""

    @workflow.update
    def skip(self, input: Any) -> None:
        self._skipped = True


class Kept(Sequence[int, int], id="kept-halfway", version="1.0.0", policy=Policy(on_failure="keep")):
    """Two steps."""

    async def run(self, input: int) -> int:
        await self.execute(a, input)
        return (await self.execute(b, 2 * input)).output


async def ran(client: Client, queue: str) -> str:
    """Run it to its end; give its id."""
    handle = await client.start_workflow("theirs", id=new_id("theirs"), task_queue=queue)
    await handle.execute_update("approve", {"name": ["a"], "by": 5, "reason": {}})
    await handle.execute_update("skip", {"step": {"a": 1}})
    theirs = client.get_async_activity_handle(workflow_id=handle.id, run_id=None, activity_id="open")
    while True:
        described = await handle.describe()
        if any(one.state == 2 for one in described.raw_description.pending_activities):
            break
        await asyncio.sleep(0.02)
    await theirs.complete()
    assert await asyncio.wait_for(handle.result(), 30) == "ended"
    return handle.id


@pytest.fixture
async def theirs(dev_address: str, task_queue: str, serve: Serve) -> str:
    """A run of it."""
    async with serve(a):
        pass  # the server is ready
    client = await Client.connect(dev_address)
    async with Worker(
        client,
        task_queue=task_queue,
        workflows=[Theirs],
        activities=[left_open, some, other],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        return await ran(client, task_queue)


@pytest.fixture
def counterstep(dev_address: str) -> Command:
    """Run a command in this process, against the dev server."""

    async def run(*args: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, app, [*args, "--address", dev_address])

    return run


async def test_what_isnt_ours_is_no_step(theirs: str, dev_address: str) -> None:
    """Somebody else's activities are no steps, and what isn't text in an update of theirs names none."""
    report = await fetch_report(await Client.connect(dev_address), theirs)
    assert (report.outcome, report.output) == (Status.DONE, "ended")
    assert [step.step for step in report.walk() if step.kind is Kind.OPERATION] == []
    told = [decision for step in report.walk() for decision in step.decisions]
    assert [(one.action, one.step, one.by, one.reason) for one in told] == [("approve", None, None, None)]


async def test_every_command_reads_them(theirs: str, counterstep: Command) -> None:
    """`report` and `export` of such a run."""
    for args in (("report", theirs), ("report", theirs, "--json"), ("export", theirs, "--json")):
        result = await counterstep(*args)
        assert (result.exit_code, result.stderr) == (0, ""), args
        assert result.stdout


async def test_undo_leaves_them(theirs: str, serve: Serve, task_queue: str) -> None:
    """`undo` of such a run finds nothing."""
    async with serve(a) as client:
        assert await undo(client, task_queue, theirs) == done()


def test_a_step_without_a_result() -> None:
    """A step of ours that somebody completed from outside, without a result, is done; its output is null."""
    text = (HISTORIES / "sequence-completed.json").read_text()
    events = list(WorkflowHistory.from_json("run", text).events)
    ended = next(e for e in events if e.HasField("activity_task_completed_event_attributes"))
    ended.activity_task_completed_event_attributes.ClearField("result")
    steps = {step.step: step for step in report_of(read_run("run", events), "default").walk()}
    assert (steps["a"].outcome, steps["a"].output) == (Status.DONE, None)


BROKEN = "can't be read: IndexError: list index out of range"


def broken(of: str, read: Callable[..., Any]) -> Callable[..., Any]:
    """Be unable to read the run of a workflow id."""

    def reading(*args: Any) -> Any:
        if any(of in (arg, getattr(arg, "workflow_id", None)) for arg in args):
            raise IndexError("list index out of range")
        return read(*args)

    return reading


async def test_an_unreadable_run_is_refused(
    serve: Serve, world: World, task_queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`undo` and `resume_from` of a run that can't be read end with an error that names it, instead of asking for ever."""
    world.switch("fail-b")
    async with serve(Kept, a, b) as client:
        handle = await start(client, Kept, 3, id=new_id(), task_queue=task_queue)
        await failure_of(handle)
        run_id = (await handle.describe()).run_id
        monkeypatch.setattr(_lookup, "read_run", broken(handle.id, _lookup.read_run))
        told = ("InvalidInput", f"run {run_id} of {handle.id} {BROKEN}")
        assert await undo_fails(client, task_queue, handle) == told
        memo = {"resume_from": handle.id}
        again = await start(client, Kept, 3, id=new_id(), task_queue=task_queue, memo=memo)
        assert causes(await failure_of(again))[0] == told


async def test_doctor_goes_on_with_the_others(
    serve: Serve, world: World, task_queue: str, counterstep: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two runs that were cut off, the one that can't be read is told of on stderr, the other is found."""
    world.switch("hold-b")
    async with serve(Kept, a, b) as client:
        handles = [await start(client, Kept, 3, id=new_id(), task_queue=task_queue) for _ in range(2)]
        await eventually(lambda: world.calls.count(("b", 6)) == 2)
        for handle in handles:
            await handle.terminate()
    bad, good = (handle.id for handle in handles)
    monkeypatch.setattr(_findings, "fetch_report", broken(bad, _findings.fetch_report))
    found: list[Any] = []
    while good not in [one["workflow_id"] for one in found]:  # visibility is behind
        result = await counterstep("doctor", "--json")
        assert result.exit_code == 0
        found = json.loads(result.stdout)
    assert bad not in [one["workflow_id"] for one in found]
    run_id = handles[0].first_execution_run_id
    assert f"counterstep doctor: left out {bad} (run {run_id}): {BROKEN}" in result.stderr.splitlines()
