"""Without a worker, and without Temporal."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from google.longrunning.operations_pb2 import (
    CancelOperationRequest,
    DeleteOperationRequest,
    GetOperationRequest,
    ListOperationsRequest,
    WaitOperationRequest,
)
from grpc_health.v1 import health_pb2, health_pb2_grpc
from temporalio.client import Client

from flows._operation_name import operation_name
from tests.conftest import Serve, _free_port, _listening, _ready
from tests.gateway.conftest import Gate, Served, facing
from tests.gateway.flows import EVERYTHING
from tests.support import World, dev_server, eventually, new_id


async def code(call: Any) -> str:
    """Give the code that a call ends with."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"


async def test_without_a_worker_every_method_answers(
    unworked: Gate, serve: Serve, world: World, task_queue: str
) -> None:
    """P1, P3: Get, List, Wait, Cancel and Delete while no worker runs; a cancel is done once one comes."""
    world.switch("hold-a")
    async with unworked() as served:
        async with serve(*EVERYTHING):
            running, closed = new_id("running"), new_id("closed")
            handle = await served.start("book@1.0.0", {"flight": "LH1"}, running)
            await (await served.start("plain@2.1.0", 1, closed)).result()
            await world.until("a", 1)
        name = operation_name(running)
        get = GetOperationRequest(name=name)
        assert not (await served.stub.GetOperation(get)).done
        assert (await served.stub.GetOperation(GetOperationRequest(name=operation_name(closed)))).done
        waiting = WaitOperationRequest(name=name)
        waiting.timeout.FromMilliseconds(300)
        assert not (await served.stub.WaitOperation(waiting)).done
        ask = ListOperationsRequest(filter="definition=book AND done=false")
        while name not in [one.name for one in (await served.stub.ListOperations(ask)).operations]:
            await asyncio.sleep(0.05)
        assert await code(served.stub.CancelOperation(CancelOperationRequest(name=name))) == "OK"
        assert not (await served.stub.GetOperation(get)).done
        gone = DeleteOperationRequest(name=operation_name(closed))
        assert [await code(served.stub.DeleteOperation(gone)) for _ in range(2)] == ["OK", "NOT_FOUND"]
        async with serve(*EVERYTHING):
            done = await served.stub.WaitOperation(WaitOperationRequest(name=name), timeout=60)
            assert (done.error.code, (await handle.describe()).status) == (1, 4)  # CANCELLED, CANCELED


@contextmanager
def server(port: int, database: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Temporal of the test's own, with its runs in a file."""
    command = dev_server(port)
    command += ["--db-filename", str(database), "--log-level", "never"]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield running
    finally:
        running.kill()
        running.wait(20)


async def refusals(served: Served, name: str) -> list[tuple[str, str]]:
    """Call every method; give codes."""
    stub = served.stub
    calls = {
        "get": stub.GetOperation(GetOperationRequest(name=name)),
        "wait": stub.WaitOperation(WaitOperationRequest(name=name)),
        "list": stub.ListOperations(ListOperationsRequest()),
        "cancel": stub.CancelOperation(CancelOperationRequest(name=name)),
        "delete": stub.DeleteOperation(DeleteOperationRequest(name=name)),
    }
    found = [(method, await code(call)) for method, call in calls.items()]
    start = await served.http.post("/v1/flows/plain:run", content=b"1")
    return [*found, ("start", start.json()["error"]["status"])]


async def test_without_temporal_calls_are_unavailable_and_then_work_again(
    tmp_path: Path, task_queue: str
) -> None:
    """UNAVAILABLE at once, from the start and after a kill; open waits too; it works again without a restart."""
    port, id = _free_port(), new_id()
    name = operation_name(id)
    down = [(m, "UNAVAILABLE") for m in ("get", "wait", "list", "cancel", "delete", "start")]
    client = await Client.connect(f"127.0.0.1:{port}", lazy=True)
    async with facing(client, task_queue, registry()) as served:
        assert await refusals(served, name) == down
        assert (await served.http.get("/healthz")).status_code == 503
        with server(port, tmp_path / "runs.db"):
            await eventually(lambda: _listening(port))
            await _ready(f"127.0.0.1:{port}")
            await served.start("plain@2.1.0", 1, id)
            assert not (await served.stub.GetOperation(GetOperationRequest(name=name))).done
            while not await serving(served):
                await asyncio.sleep(0.1)
            waiting = asyncio.ensure_future(code(served.stub.WaitOperation(WaitOperationRequest(name=name))))
            await asyncio.sleep(0.5)
        assert await waiting == "UNAVAILABLE"
        began = time.monotonic()
        assert await refusals(served, name) == down
        assert time.monotonic() - began < 15  # six calls: none waits for its time to be over
        with server(port, tmp_path / "runs.db"):
            while (found := await code(served.stub.GetOperation(GetOperationRequest(name=name)))) != "OK":
                assert found == "UNAVAILABLE"
                await asyncio.sleep(0.1)


def registry() -> Any:
    from activities import Registry

    return Registry(*EVERYTHING)


async def serving(served: Served) -> bool:
    """Ask gRPC health."""
    stub = health_pb2_grpc.HealthStub(served.channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest())
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
