"""Metrics: the SDK's, and ours, which count each end once, however often it is replayed."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from typing import Any

from temporalio.client import Client
from temporalio.runtime import MetricBuffer, Runtime, TelemetryConfig
from temporalio.worker import Worker

from activities import Context, Outcome, Registry, Retry, operation
from flows import CounterstepPlugin, Policy, Sequence, start
from tests.conftest import _free_port
from tests.support import World, events_of, eventually, failure_of, new_id
from tests.worker.conftest import Launch
from tests.worker.support import get

ONCE = Retry(max_attempts=1)


@operation(id="make", version="1.0.0")
async def make(ctx: Context[World], input: int) -> int:
    """Make."""
    return input


@make.undo(retry=ONCE)
async def unmake(ctx: Context[World], input: int, outcome: Outcome[int]) -> None:
    if input < 0:
        raise RuntimeError("it sticks")


@operation(id="check", version="1.0.0", placement="local")
async def check(ctx: Context[World], input: int) -> int:
    """Refuse all but 1."""
    if input != 1:
        raise ValueError("not 1")
    return input


class Made(Sequence[int, int], id="made", version="1.0.0"):
    """Make, wait for a cancel if it is 0, check."""

    async def run(self, input: int) -> int:
        await self.execute(make, input)
        if input == 0:
            await self.approval("go")
        return (await self.execute(check, input)).output


class Kept(Made, id="kept", version="1.0.0", policy=Policy(on_failure="keep")):
    """The same, and keep what was made."""


def counted(buffer: MetricBuffer) -> dict[str, Counter[tuple[str, ...]]]:
    """Sum up what was counted of ours, by name and our own labels."""
    sums: dict[str, Counter[tuple[str, ...]]] = {}
    for update in buffer.retrieve_updates():
        if update.metric.name.startswith("counterstep_"):
            labels = tuple(
                str(update.attributes[k])
                for k in ("flow", "operation", "end", "outcome")
                if k in update.attributes
            )
            sums.setdefault(update.metric.name, Counter())[labels] += int(update.value)
    return sums


async def test_each_end_counts_once(dev_address: str, world: World, task_queue: str, cache: int) -> None:
    """Flows by end, steps and undos by outcome are exact, also where every task replays the run."""
    buffer = MetricBuffer(100_000)
    runtime = Runtime(telemetry=TelemetryConfig(metrics=buffer))
    plugin = CounterstepPlugin(Registry(make, check, Made, Kept), deps=world)
    client = await Client.connect(dev_address, plugins=[plugin], runtime=runtime)
    async with Worker(client, task_queue=task_queue, max_cached_workflows=cache):

        async def begin(flow: Any, input: Any) -> Any:
            return await start(client, flow, input, id=new_id(), task_queue=task_queue)

        assert await (await begin(Made, 1)).result() == 1
        for flow, input in (
            ("made@1.0.0", 2),
            ("made@1.0.0", -1),
            ("kept@1.0.0", 3),
            ("made@1.0.0", "x"),
            ("nope", 1),
        ):
            await failure_of(await begin(flow, input))
        waiting = await begin(Made, 0)
        await eventually_waits(waiting)
        await waiting.cancel()
        await failure_of(waiting)
        assert (await waiting.query("status"))["state"] == "cancelled"  # replays it once more
    counts = counted(buffer)
    assert counts["counterstep_flows"] == {
        ("made@1.0.0", "completed"): 1, ("made@1.0.0", "rolled_back"): 1, ("made@1.0.0", "stuck"): 1,
        ("kept@1.0.0", "kept"): 1, ("made@1.0.0", "refused"): 1, ("nope", "refused"): 1,
        ("made@1.0.0", "cancelled"): 1,
    }  # fmt: skip
    assert counts["counterstep_steps"] == {
        ("make@1.0.0", "done"): 5, ("check@1.0.0", "done"): 1, ("check@1.0.0", "failed"): 3,
    }  # fmt: skip
    assert counts["counterstep_undos"] == {("make@1.0.0", "done"): 2, ("make@1.0.0", "failed"): 1}


async def eventually_waits(handle: Any) -> None:
    """Wait until a run's second task has ended. Not by a query: see docs/running.md on what it may count."""
    while (await events_of(handle)).count("WORKFLOW_TASK_COMPLETED") < 2:
        await asyncio.sleep(0.05)


async def test_prometheus_reads_them(launch: Launch, dev_address: str, task_queue: str) -> None:
    """`--metrics HOST:PORT` serves the SDK's metrics and ours, under names with units and `_total`."""
    where = f"127.0.0.1:{_free_port()}"
    launch("--metrics", where).until(f"Metrics: http://{where}/metrics")
    client = await Client.connect(dev_address)
    handle = await start(client, "doubled@1.0.0", 3, id=new_id(), task_queue=task_queue)
    assert await asyncio.wait_for(handle.result(), 30) == 6
    _, text = get(f"http://{where}/metrics")
    ours = re.findall(r"^(counterstep_\w+)\{(.*)\} (\d+)$", text, re.MULTILINE)
    labels = {
        name: dict(re.findall(r'(\w+)="([^"]*)"', given)) for name, given, count in ours if count == "1"
    }
    assert {
        name: (given.get("flow"), given.get("end"), given.get("operation"), given.get("outcome"))
        for name, given in labels.items()
    } == {
        "counterstep_flows_total": ("doubled@1.0.0", "completed", None, None),
        "counterstep_steps_total": (None, None, "slow@1.0.0", "done"),
    }
    for name in ("temporal_workflow_completed_total", "temporal_activity_execution_latency_seconds_count"):
        # The SDK counts once the server has answered, so after whoever waits for the result.
        await eventually(lambda name=name: f"\n{name}{{" in get(f"http://{where}/metrics")[1])  # type: ignore[misc]


def test_metrics_of_a_port_that_is_taken(launch: Launch, dev_address: str) -> None:
    """Somebody else listens there: exit code 1 and one line that names the option."""
    worker = launch("--metrics", dev_address)
    assert worker.ends() == 1
    (said,) = worker.err.read_text().splitlines()
    assert said.startswith(f"counterstep worker: --metrics: can't listen on {dev_address}: ")
