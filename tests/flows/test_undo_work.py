"""The work of an `undo`: how it shows, its size, its commands, and the keys that its undos get."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import subprocess
import sys
from asyncio.subprocess import PIPE
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHandle
from temporalio.converter import DataConverter
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    from activities import Context, Outcome, Retry, operation
    from counterstep.reports import fetch_report
    from flows import Policy, Sequence, Undone, start
    from flows import undo as flows_undo
    from tests.conftest import Serve
    from tests.flows.running import Scripts, scripts
    from tests.flows.script import Kept, do
    from tests.sample import a, b
    from tests.support import World, events_of, new_id
    from tests.undoing import claim_of, done, start_undo, started, undo, undo_fails
    from tests.worker.test_plugin import Mirror

__all__ = ["scripts"]
UNDO_A, UNDO_B, UNDO_C = ("undo a", 3, "done", 6), ("undo b", 6, "done", 12), ("undo c", 1, "done", 2)
AB = (do("a", 3), do("b", 6))
TRIES = 3


async def _run_id(handle: WorkflowHandle[Any, Any]) -> str:
    return str((await handle.describe()).run_id)


async def test_the_work_is_seen_and_paused_like_a_flow(scripts: Scripts, world: World) -> None:
    """Section 7: the undos show under readable ids; status, report, pause and unpause work; a cancel changes nothing."""
    world.switch("hold-undo-b")
    async with scripts() as run:
        await run(*AB)
        by = await start_undo(run.client, run.task_queue, run.last)
        await world.until(*UNDO_B)
        work = run.client.get_workflow_handle(await claim_of(run.last))
        assert (await by.query("status"))["undoing"] == work.id
        status = {"flow": "undo@1.0.0", "state": "unwinding", "steps": {"a": "to be undone", "b": "undoing"}}
        assert await work.query("status") == status
        await work.execute_update("pause", {"by": "ann"})
        await work.cancel()
        await by.cancel()
        world.switch("go-undo-b")
        while (await work.query("status"))["steps"]["b"] != "undone":
            await asyncio.sleep(0.02)
        assert (await work.query("status"))["state"] == "unwinding, paused"
        assert UNDO_A not in world.calls
        await work.execute_update("unpause", {"by": "ann"})
        assert (await by.result())["undone"] == ["b", "a"]
        report = await work.query("report")
        kept = await fetch_report(run.client, work.id)
    shown = [
        (row["step"], row["outcome"], row["output"], row["undo"]["outcome"]) for row in report["children"]
    ]
    assert shown == [("a", "done", 6, "done"), ("b", "done", 12, "done")]
    assert [(r.step, str(r.definition), str(r.outcome)) for r in kept.children] == [
        ("b", "b@1.0.0", "done"), ("a", "a@1.0.0", "done"),
    ]  # fmt: skip


async def test_activity_ids_are_readable(scripts: Scripts) -> None:
    """An undo of step b is the activity b.undo of type b@1.0.0/undo, summed up in words."""
    async with scripts() as run:
        await run(*AB)
        await undo(run.client, run.task_queue, run.last)
        work = run.client.get_workflow_handle(await claim_of(run.last))
        scheduled = [
            e.activity_task_scheduled_event_attributes
            async for e in work.fetch_history_events()
            if e.HasField("activity_task_scheduled_event_attributes")
        ]
    assert [(s.activity_id, s.activity_type.name) for s in scheduled] == [
        ("b.undo", "b@1.0.0/undo"), ("a.undo", "a@1.0.0/undo"),
    ]  # fmt: skip


@operation(id="keyed", version="1.0.0", retry=Retry(3, initial=timedelta(milliseconds=10)))
async def keyed(ctx: Context[World], input: int) -> int:
    """Save, record the key; a third attempt of input 9 waits."""
    await ctx.save({"page": input, "attempt": ctx.attempt})
    ctx.deps.record("key", input, ctx.idempotency_key)
    if input == 9 and ctx.attempt == 1:
        raise RuntimeError("once more")
    if input == 9:
        await ctx.deps.wait("never", 60)
    return input


@keyed.retry_input
def same(attempt: int, error: Any, input: int, deps: World) -> int:
    return input


@keyed.undo
async def undo_keyed(ctx: Context[World], input: int, outcome: Outcome[int]) -> None:
    ctx.deps.record("undo key", input, ctx.idempotency_key)
    ctx.deps.record("saved", ctx.saved, outcome.saved == ctx.saved)


class Keyed(Sequence[int, int], id="keyed-flow", version="1.0.0", policy=Policy(on_failure="keep")):
    """Two keyed steps."""

    async def run(self, input: int) -> int:
        await self.execute(keyed, 1)
        return (await self.execute(keyed, input)).output


async def test_keys_and_saved_data_are_those_of_the_steps(
    serve: Serve, world: World, task_queue: str
) -> None:
    """Section 3: the undo of a closed run gets the forward keys, also that of a changed input, and what was saved."""
    async with serve(keyed, Keyed) as client:
        handle = await start(client, Keyed, 9, id=new_id(), task_queue=task_queue)
        await _calls(world, 3)
        await handle.terminate()
        assert await undo(client, task_queue, handle) == done("keyed.2", "keyed")
    forward = [call[2] for call in world.calls if call[0] == "key"]
    backward = [call[2] for call in world.calls if call[0] == "undo key"]
    assert len(set(forward)) == 3
    assert backward == [forward[2], forward[0]]
    saved = [call[1:] for call in world.calls if call[0] == "saved"]
    assert saved == [({"page": 9, "attempt": 2}, True), ({"page": 1, "attempt": 1}, True)]


async def _calls(world: World, count: int) -> None:
    while len(world.calls) < count:
        await asyncio.sleep(0.02)


@pytest.mark.nightly
async def test_long_histories_are_read_to_their_end(scripts: Scripts, world: World) -> None:
    """S77: a history of several pages (1,800 events): every undo, once, over several runs of the undoing workflow."""
    count = 500
    async with scripts() as run:
        calls = [
            do("gather", calls=[do("a", n) for n in range(k, k + 50)], limit=50) for k in range(0, count, 50)
        ]
        await run(*calls)
        result = await undo(run.client, run.task_queue, run.last)
        assert len(await events_of(run.last)) > 1_500
    undone = [call[1] for call in world.calls[count:]]
    assert undone == list(reversed(range(count)))
    assert len(result["undone"]) == count


async def test_the_work_goes_on_as_new(
    scripts: Scripts, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Section 5, size: where the history is full, the undoing goes on as new, and names a failed undo once, at its end."""
    monkeypatch.setattr("flows._full.CONTINUE_AT", 40)
    monkeypatch.setattr("flows._undo_services.BATCH_BYTES", 2_000)
    world.switch("fail-undo-b")
    async with scripts() as run:
        await run(*(do("a", n) for n in range(10)), do("b", 6), *(do("c", n) for n in range(10)))
        kind, message = await undo_fails(run.client, run.task_queue, run.last)
        work = run.client.get_workflow_handle(await claim_of(run.last))
        assert (await started(work)).continued_execution_run_id
    assert (kind, message.split("\n")) == (
        "Stuck",
        [
            f"undo of {run.last.id} is stuck: 1 not undone",
            "not undone: b (b@1.0.0): RuntimeError: undo of b down",
        ],
    )
    assert [call[:2] for call in world.calls[21:]] == [
        *(("undo c", n) for n in reversed(range(10))), *[("undo b", 6)] * TRIES, *(("undo a", n) for n in reversed(range(10))),
    ]  # fmt: skip


async def test_from_the_temporal_cli(
    serve: Serve, world: World, task_queue: str, temporal: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """Section 5: `temporal workflow execute --type undo --input '{"workflow_id": …}'` undoes a closed run."""
    async with serve(a, b, Kept) as client:
        handle = await start(client, Kept, list(AB), id=new_id(), task_queue=task_queue)
        await handle.result()
        ended = await asyncio.to_thread(
            temporal, "workflow", "execute", "--type", "undo", "-w", new_id("cli"), "-t", task_queue,
            "--input", json.dumps({"workflow_id": handle.id}), "--output", "json",
        )  # fmt: skip
    assert json.loads(ended.stdout)["result"]["undone"] == ["b", "a"]
    assert world.calls[2:] == [UNDO_B, UNDO_A]


async def test_from_our_own_command(serve: Serve, world: World, task_queue: str, dev_address: str) -> None:
    """`counterstep undo ID`, on the run's own task queue, says what was undone; again, by whom; of no run, that there is none."""
    command = [sys.executable, "-m", "counterstep.cli", "undo", "--address", dev_address]

    async def told(id: str) -> tuple[int, str, str]:
        ended = await asyncio.to_thread(
            subprocess.run, [*command, id], capture_output=True, text=True, timeout=60
        )
        return ended.returncode, ended.stdout, ended.stderr

    async with serve(a, b, Kept) as client:
        handle = await start(client, Kept, list(AB), id=new_id(), task_queue=task_queue)
        await handle.result()
        assert await told(handle.id) == (0, "undone: b, a\n", "")
        code, out, _ = await told(handle.id)
        assert code == 0 and re.fullmatch(
            rf"nothing was left to undo\nundone before by undo-{handle.id}-[0-9a-f]{{8}}: b, a\n", out
        )
        wanted = "counterstep undo: there is no run of 'nobody'\n"
        assert await told("nobody") == (1, "", wanted)


async def test_our_command_waits_for_a_worker(
    serve: Serve, world: World, task_queue: str, dev_address: str
) -> None:
    """Where nobody polls the task queue, `counterstep undo` says so, and goes on waiting for a worker."""
    empty = f"{task_queue}-empty"
    args = ["undo", "--address", dev_address, "--task-queue", empty]
    async with serve(a, b, Kept) as client:
        handle = await start(client, Kept, list(AB), id=new_id(), task_queue=task_queue)
        await handle.result()
        waiting = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "counterstep.cli", *args, handle.id, stdout=PIPE, stderr=PIPE
        )
        assert waiting.stdout and waiting.stderr
        assert (await waiting.stderr.readline()).decode() == (
            f"counterstep undo: nobody polls task queue {empty}; waiting for a worker on it: "
            f"counterstep worker --task-queue {empty} --module …\n"
        )
        async with Worker(client, task_queue=empty):
            out, err = await waiting.communicate()
    assert (waiting.returncode, out.decode(), err.decode()) == (0, "undone: b, a\n", "")


async def test_from_python(scripts: Scripts, world: World) -> None:
    """`flows.undo` gives the typed result."""
    async with scripts() as run:
        await run(*AB)
        undone = await flows_undo(run.client, run.last.id, task_queue=run.task_queue)
        assert undone == Undone(workflow_id=run.last.id, run_id=await _run_id(run.last), undone=("b", "a"))


async def test_under_a_codec(serve: Serve, world: World, task_queue: str) -> None:
    """With a client's own codec: what was saved by a step that was open when the run was terminated is found too."""
    mirrored = dataclasses.replace(DataConverter.default, payload_codec=Mirror())
    async with serve(keyed, Keyed, data_converter=mirrored) as client:
        handle = await start(client, Keyed, 9, id=new_id(), task_queue=task_queue)
        await _calls(world, 3)
        await handle.terminate()
        assert await undo(client, task_queue, handle) == done("keyed.2", "keyed")
    saved = [call[1:] for call in world.calls if call[0] == "saved"]
    assert saved == [({"page": 9, "attempt": 2}, True), ({"page": 1, "attempt": 1}, True)]
