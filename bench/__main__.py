"""``make bench``: prints a table and writes ``bench/results/latest.json``."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from temporalio.client import Client, WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Worker

from activities import Registry
from bench.flows_by_hand import LocalByHand, RemoteByHand, SagaByHand, add_one, take_one
from bench.flows_ours import Local, Remote, add_one_locally, planned, ten
from bench.flows_ours import add_one as our_add_one
from bench.histories import history
from bench.stats import ratio
from counterstep.reports import read_run, report_of
from counterstep.serving import embedded
from flows import CounterstepPlugin

OPEN = 20
Start = Callable[[str], Awaitable[WorkflowHandle[Any, Any]]]


async def rate(start: Start, name: str) -> float:
    """Give runs a second with ``OPEN`` of them open at once."""
    began = time.perf_counter()
    handles = await asyncio.gather(*(start(f"{name}-{time.time_ns()}-{n}") for n in range(OPEN)))
    await asyncio.gather(*(handle.result() for handle in handles))
    return OPEN / (time.perf_counter() - began)


async def duration(start: Start, name: str) -> float:
    """Give the seconds that one run takes."""
    began = time.perf_counter()
    await (await start(f"{name}-{time.time_ns()}")).result()
    return time.perf_counter() - began


async def shape(start: Start, name: str) -> tuple[int, int]:
    """Give events and bytes of one run's history."""
    handle = await start(f"{name}-shape-{time.time_ns()}")
    await handle.result()
    described = await handle.describe()
    return described.raw_info.history_length, described.raw_info.history_size_bytes


def starter(client: Client, workflow: str, queue: str) -> Start:
    """Give what starts a run, eagerly."""

    async def start(id: str) -> WorkflowHandle[Any, Any]:
        return await client.start_workflow(workflow, 1, id=id, task_queue=queue, request_eager_start=True)

    return start


async def pairs(measure: Any, ours: Start, theirs: Start, count: int) -> list[tuple[float, float]]:
    """Measure in turn, after one pair that doesn't count."""
    found = []
    for number in range(count + 1):
        both = (await measure(ours, "ours"), await measure(theirs, "theirs"))
        if number:
            found.append(both)
    return found


async def startup(address: str, count: int) -> list[float]:
    """Give the seconds from starting a worker process to its first poll."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "worker.py", "--module", "bench.flows_ours", "--address", address,
            "--task-queue", "startup", stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        await process.stdout.readline()
        times.append(time.perf_counter() - began)
        process.terminate()
        await process.wait()
    return sorted(times)


async def flows(address: str, count: int) -> list[dict[str, Any]]:
    """Compare our flows with those by hand."""
    registry = Registry(our_add_one, add_one_locally, Remote, Local, ten)
    ours = await Client.connect(address, plugins=[CounterstepPlugin(registry)])
    hand = await Client.connect(address, data_converter=pydantic_data_converter)
    rows = []
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(Worker(ours, task_queue="ours"))
        by_hand = Worker(
            hand,
            task_queue="hand",
            workflows=[RemoteByHand, LocalByHand, SagaByHand],
            activities=[add_one, take_one],
        )
        await stack.enter_async_context(by_hand)
        for kind, flow, measure in (
            ("remote", "remote", rate),
            ("local", "local", duration),
            ("saga", "ten", rate),
        ):
            mine, theirs = starter(ours, f"{flow}@1.0.0", "ours"), starter(hand, f"{kind}-by-hand", "hand")
            my_shape, their_shape = await shape(mine, "ours"), await shape(theirs, "theirs")
            rows.append({"what": f"{kind}: events", "ours": my_shape[0], "by hand": their_shape[0]})
            size = my_shape[1] / their_shape[1]
            rows.append(
                {
                    "what": f"{kind}: bytes",
                    "ours": my_shape[1],
                    "by hand": their_shape[1],
                    "ratio": f"{size:.3f}",
                }
            )
            found = ratio(await pairs(measure, mine, theirs, count))
            rows.append({"what": f"{kind}: {measure.__name__}", "ratio": str(found), "pairs": found.pairs})
    return rows


def reporting() -> float:
    """Give the events a second that become a report, the best of five: 2,000 steps."""
    events, times = history(2000), []
    for _ in range(5):
        began = time.perf_counter()
        report_of(read_run("bench", events), "default")
        times.append(time.perf_counter() - began)
    return len(events) / min(times)


async def per_step(address: str, large: int) -> dict[str, Any]:
    """Compare what a step costs in a large saga with what it costs in one of a hundred."""
    registry = Registry(our_add_one, planned)
    client = await Client.connect(address, plugins=[CounterstepPlugin(registry)])
    cost: dict[int, float] = {}
    async with Worker(client, task_queue="large"):
        for steps in (*[100] * 6, large):
            began = time.perf_counter()
            handle = await client.start_workflow(
                "planned@1.0.0", steps, id=f"large-{time.time_ns()}", task_queue="large"
            )
            await handle.result()
            took = (time.perf_counter() - began) / steps * 1000
            cost[steps] = min(took, cost.get(steps, took))  # of the small ones, the quickest
    what = f"ms a step, of {large:,} / of 100"
    return {
        "what": what,
        "ours": f"{cost[large]:.1f} / {cost[100]:.1f}",
        "ratio": f"{cost[large] / cost[100]:.2f}",
    }


async def main(count: int, large: int) -> None:
    """Measure everything."""
    async with embedded(0, 0, None) as address:
        rows = [await per_step(address, large)] if large else await flows(address, count)
        times = await startup(address, 5)
    began = time.perf_counter()
    planned.plan(1000)
    rows.append({"what": "planning 1,000 steps, ms", "ours": f"{(time.perf_counter() - began) * 1000:.0f}"})
    rows.append({"what": "start-up to first poll, s", "ours": f"{times[len(times) // 2]:.2f}"})
    rows.append({"what": "report: events a second", "ours": f"{reporting():,.0f}"})
    table = Table("what", "ours", "by hand", "ours / by hand, median [95 %]", "target")
    for row in rows:
        table.add_row(
            *(str(row.get(k, "")) for k in ("what", "ours", "by hand", "ratio")), TARGETS.get(row["what"], "")
        )
    Console().print(table)
    results = Path("bench/results")
    results.mkdir(exist_ok=True)
    (results / "latest.json").write_text(json.dumps(rows, indent=1))


TARGETS = {
    "remote: events": "the same",
    "remote: bytes": "≤ 1.15",
    "remote: rate": "≥ 0.95",
    "local: events": "≤ 16",
    "local: duration": "≤ 1.15",
    "saga: events": "one more",
    "saga: rate": "≥ 0.93",
    "ms a step, of 10,000 / of 100": "≤ 1.2",
    "planning 1,000 steps, ms": "≤ 200",
    "start-up to first poll, s": "≤ 1.5",
    "report: events a second": "≥ 20,000",
}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=24)
    parser.add_argument(
        "--large", type=int, default=0, help="compare this many steps with 100, and nothing else"
    )
    given = parser.parse_args()
    asyncio.run(main(given.pairs, given.large))
