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

from temporalio.client import Client, WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Worker

from activities import Registry
from bench.flows_by_hand import ChainByHand, LocalByHand, RemoteByHand, SagaByHand, add_one, take_one
from bench.flows_ours import Local, Remote, add_one_locally, planned, ten
from bench.flows_ours import add_one as our_add_one
from bench.histories import history
from bench.lines import Line, Target, on_two_cores, show
from bench.stats import ratio
from counterstep.reports import read_run, report_of
from counterstep.serving import embedded
from flows import CounterstepPlugin

OPEN, SMALL = 20, 100
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


async def flows(address: str, count: int) -> list[Line]:
    """Compare our flows with those by hand."""
    registry = Registry(our_add_one, add_one_locally, Remote, Local, ten)
    ours = await Client.connect(address, plugins=[CounterstepPlugin(registry)])
    hand = await Client.connect(address, data_converter=pydantic_data_converter)
    lines: list[Line] = []
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
            lines += shapes(kind, await shape(mine, "ours"), await shape(theirs, "theirs"))
            found, what = ratio(await pairs(measure, mine, theirs, count)), f"{kind}: {measure.__name__}"
            lines.append(
                Line(what, found.median, TARGETS[what], ratio=str(found), more=f"{found.pairs} pairs")
            )
    return lines


def shapes(kind: str, ours: tuple[int, int], by_hand: tuple[int, int]) -> list[Line]:
    """Compare events and bytes of a history."""
    events, bytes_ = f"{kind}: events", f"{kind}: bytes"
    figure = ours[0] if kind == "local" else ours[0] - by_hand[0]
    size = ours[1] / by_hand[1]
    return [
        Line(events, figure, TARGETS[events], str(ours[0]), str(by_hand[0])),
        Line(bytes_, size, TARGETS.get(bytes_), str(ours[1]), str(by_hand[1]), f"{size:.3f}"),
    ]


def reporting() -> float:
    """Give the events a second that become a report, the best of five: 2,000 steps."""
    events, times = history(2000), []
    for _ in range(5):
        began = time.perf_counter()
        report_of(read_run("bench", events), "default")
        times.append(time.perf_counter() - began)
    return len(events) / min(times)


async def per_step(address: str, large: int) -> Line:
    """Compare what a step costs in a large saga with what it costs in one of a hundred."""
    registry = Registry(our_add_one, planned)
    ours = await Client.connect(address, plugins=[CounterstepPlugin(registry)])
    hand = await Client.connect(address, data_converter=pydantic_data_converter)
    by_hand = Worker(hand, task_queue="large-hand", workflows=[ChainByHand], activities=[add_one])
    async with Worker(ours, task_queue="large"), by_hand:
        return cost_of(
            large,
            await costs(ours, "planned@1.0.0", "large", large),
            await costs(hand, "chain-by-hand", "large-hand", large),
        )


async def costs(client: Client, workflow: str, queue: str, large: int) -> dict[int, float]:
    """Give what a step costs, in milliseconds, by the number of steps; of the small ones, the quickest."""
    cost: dict[int, float] = {}
    for steps in (*[SMALL] * 6, large):
        began = time.perf_counter()
        await client.execute_workflow(workflow, steps, id=f"{queue}-{time.time_ns()}", task_queue=queue)
        took = (time.perf_counter() - began) / steps * 1000
        cost[steps] = min(took, cost.get(steps, took))
    return cost


def cost_of(large: int, ours: dict[int, float], by_hand: dict[int, float]) -> Line:
    """Give the line that compares what a step costs, in milliseconds, by the number of steps."""
    times, theirs = (cost[large] / cost[SMALL] for cost in (ours, by_hand))
    each = "; ".join(f"{cost[large]:.1f} / {cost[SMALL]:.1f} ms" for cost in (ours, by_hand))
    return Line(
        f"ms a step, of {large:,} to that of {SMALL}", times, Target(1.2), f"{times:.2f}", f"{theirs:.2f}",
        f"{times / theirs:.2f}", each,
    )  # fmt: skip


def alone(times: list[float]) -> list[Line]:
    """Measure what nothing by hand compares with; times are those of starting a worker."""
    began = time.perf_counter()
    planned.plan(1000)
    planning = (time.perf_counter() - began) * 1000
    start_up, events = times[len(times) // 2], reporting()
    return [
        Line("planning 1,000 steps, ms", planning, Target(200), f"{planning:.0f}"),
        Line("start-up to first poll, s", start_up, Target(1.5), f"{start_up:.2f}"),
        Line("report: events a second", events, Target(20_000, least=True), f"{events:,.0f}"),
    ]


async def main(count: int, large: int) -> None:
    """Measure everything; without pairs nothing by hand, without large no long saga."""
    where = on_two_cores()
    lines: list[Line] = []
    async with embedded(0, 0, None) as address:
        if count:
            lines += await flows(address, count)
        if large:
            lines.append(await per_step(address, large))
        times = await startup(address, 5)
    lines += alone(times)
    show(f"ours, and the same by hand, on {where}", lines)
    results = Path("bench/results")
    results.mkdir(exist_ok=True)
    found = {"on": where, "lines": [line.to_json() for line in lines]}
    (results / "latest.json").write_text(json.dumps(found, indent=1))


TARGETS = {
    "remote: events": Target(0, said="the same"),
    "remote: bytes": Target(1.15),
    "remote: rate": Target(0.95, least=True),
    "local: events": Target(16),
    "local: duration": Target(1.15),
    "saga: events": Target(1, said="one more"),
    "saga: rate": Target(0.93, least=True),
}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=24, help="of ours and by hand; 0 leaves them out")
    parser.add_argument(
        "--large",
        type=int,
        default=10_000,
        help="steps of the saga compared with one of 100; 0 leaves it out",
    )
    given = parser.parse_args()
    asyncio.run(main(given.pairs, given.large))
