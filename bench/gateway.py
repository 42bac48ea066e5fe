"""``python -m bench.gateway``: what the gateway adds to a bare ``describe()``, and what open waits cost."""

from __future__ import annotations

import asyncio
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any
from uuid import uuid4

import grpc
import psutil
from google.longrunning.operations_pb2 import GetOperationRequest, WaitOperationRequest
from google.longrunning.operations_pb2_grpc import OperationsStub
from temporalio.client import Client

from bench.lines import Line, Target, on_two_cores, show
from counterstep.serving import embedded
from worker import leave

CALLS, WAITS = 300, 200


async def medians(calls: dict[str, Callable[[], Awaitable[Any]]]) -> dict[str, float]:
    """Give the median seconds of each call; they take turns, so that all see the same machine."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(CALLS + 20):
        for name, call in calls.items():
            began = time.perf_counter()
            await call()
            if turn >= 20:
                taken[name].append(time.perf_counter() - began)
    return {name: median(seconds) for name, seconds in taken.items()}


async def waiting(client: Client, stub: Any, gateway: psutil.Process) -> float:
    """Give the megabytes that open waits add, each for a flow of its own."""
    ids = [f"wait-{uuid4().hex[:8]}" for _ in range(WAITS)]
    for id in ids:
        await client.start_workflow("nobody", id=id, task_queue="nobody")
    await stub.WaitOperation(WaitOperationRequest(name=f"operations/{ids[0]}"), timeout=1)
    before = gateway.memory_info().rss
    waits = [stub.WaitOperation(WaitOperationRequest(name=f"operations/{id}")) for id in ids]
    tasks = [asyncio.ensure_future(_result(wait)) for wait in waits]
    await asyncio.sleep(15)
    after = gateway.memory_info().rss
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return float(after - before) / 1e6


async def _result(wait: Any) -> Any:
    return await wait


async def measure(address: str, stub: Any, gateway: psutil.Process) -> dict[str, float]:
    """Measure, against a gateway that runs."""
    client = await Client.connect(address)
    running = await client.start_workflow("nobody", id="running", task_queue="nobody")
    done = await client.start_workflow("nobody", id="done", task_queue="nobody")
    await done.terminate()
    found = await medians(
        {
            "describe": running.describe,
            "Get, running": lambda: stub.GetOperation(GetOperationRequest(name="operations/running")),
            "Get, done": lambda: stub.GetOperation(GetOperationRequest(name="operations/done")),
        }
    )
    return found | {"megabytes": await waiting(client, stub, gateway)}


async def main() -> int:
    """Print a table; give 1 when a target isn't met."""
    where = on_two_cores()
    async with embedded(0, 0, None) as address:
        command = [sys.executable, "-m", "counterstep.cli", "gateway", "--address", address]
        command += ["--listen", "127.0.0.1:0", "--http", ""]
        process = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
        try:
            assert process.stdout is not None
            where = (await process.stdout.readline()).decode().strip().removeprefix("gRPC: ")
            async with grpc.aio.insecure_channel(where) as channel:
                stub = OperationsStub(channel)  # type: ignore[no-untyped-call]
                found = await measure(address, stub, psutil.Process(process.pid))
        finally:
            process.terminate()
            await process.wait()
    lines = _lines(found)
    show(f"the gateway, on {where}", lines)
    return int(any(line.met is False for line in lines))


def _lines(found: dict[str, float]) -> list[Line]:
    bare = found["describe"]
    lines = [Line("a bare describe(), ms", bare * 1000, None, f"{bare * 1000:.2f}")]
    for name in ("Get, running", "Get, done"):
        times = found[name] / bare
        lines.append(
            Line(
                f"{name}, in describe()s",
                times,
                Target(2),
                f"{times:.2f}",
                more=f"{found[name] * 1000:.2f} ms",
            )
        )
    taken = found["megabytes"]
    return [*lines, Line(f"{WAITS} open waits, MB", taken, Target(100), f"{taken:.0f}")]


if __name__ == "__main__":
    leave(asyncio.run(main()))
