"""Delete: hides an operation; never cancels, never destroys."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import grpc
from google.longrunning.operations_pb2 import (
    CancelOperationRequest,
    DeleteOperationRequest,
    GetOperationRequest,
    ListOperationsRequest,
    WaitOperationRequest,
)
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import WorkflowExecutionStatus

from counterstep._exporting import Exporting
from counterstep._findings import Bounds, find
from counterstep.gateway._tombstones import tombstone_id
from counterstep.reports import options_for
from flows._operation_name import operation_name
from tests.gateway.conftest import Gate, Served
from tests.support import World, new_id, reset


async def code(call: object) -> str:
    """Give the code that a call ends with."""
    try:
        await call  # type: ignore[misc]
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"


def delete(served: Served, id: str) -> object:
    return served.stub.DeleteOperation(DeleteOperationRequest(name=operation_name(id)))


def get(served: Served, id: str) -> object:
    return served.stub.GetOperation(GetOperationRequest(name=operation_name(id)))


async def test_a_deleted_operation_is_gone_and_its_flow_goes_on(gate: Gate, world: World) -> None:
    """LRO-19, P4: Delete of a running one: OK, then NOT_FOUND everywhere, and the flow ends as it would have."""
    async with gate() as served:
        world.switch("hold-a")
        id = new_id()
        handle = await served.start("book@^1", {"flight": "LH1", "seats": 3}, id)
        await world.until("a", 3)
        assert await code(delete(served, id)) == "OK"
        name = operation_name(id)
        assert await code(get(served, id)) == "NOT_FOUND"
        assert await code(delete(served, id)) == "NOT_FOUND"
        assert await code(served.stub.WaitOperation(WaitOperationRequest(name=name))) == "NOT_FOUND"
        assert await code(served.stub.CancelOperation(CancelOperationRequest(name=name))) == "NOT_FOUND"
        world.switch("go-a")
        assert await handle.result() == {"flight": "LH1", "seats": 3}
        assert (world.calls, await code(get(served, id))) == ([("a", 3)], "NOT_FOUND")


async def test_one_of_several_deletes_wins(unworked: Gate) -> None:
    """Five at once, from two gateways: one is OK, the others NOT_FOUND; also of an operation that is done."""
    async with unworked() as served, unworked() as other:
        for done in (False, True):
            id = new_id()
            handle = await served.start("book@1.0.0", {}, id)
            if done:
                await handle.terminate()
            codes = await asyncio.gather(
                *(code(delete(by, id)) for by in (served, other, served, other, other))
            )
            assert sorted(codes) == ["NOT_FOUND"] * 4 + ["OK"]
            assert await code(get(other, id)) == "NOT_FOUND"


async def test_a_new_run_under_a_deleted_id_is_a_new_operation(unworked: Gate) -> None:
    """The tombstone hides one flow, not the id: the next one is there, and can be deleted too."""
    async with unworked() as served:
        id = new_id()
        for _ in range(3):
            handle = await served.start("book@1.0.0", {}, id)
            assert await code(get(served, id)) == "OK"
            assert await code(delete(served, id)) == "OK"
            assert await code(get(served, id)) == "NOT_FOUND"
            await handle.terminate()


async def test_a_tombstone_is_nobody_s_business(unworked: Gate) -> None:
    """Neither takes the place of a flow with `doctor`, nor wants a worker; `export` sends nothing of it, open or closed."""
    async with unworked() as served:
        closed, open_ = new_id("closed"), new_id("open")
        await (await served.start("book@1.0.0", {}, closed)).terminate()
        await served.start("book@1.0.0", {}, open_)
        for id in (closed, open_):
            assert await code(delete(served, id)) == "OK"
        ours = f"WorkflowId IN ('{tombstone_id(open_)}', '{tombstone_id(closed)}')"
        while len({one.status async for one in served.client.list_workflows(ours)}) < 2:
            await asyncio.sleep(0.1)
        bounds = Bounds(timedelta(days=1), limit=1)
        unpolled = [one async for one in find(served.client, bounds, print) if one.kind == "unpolled"]
        assert [(one.workflow_id, one.task_queue) for one in unpolled] == [(open_, served.task_queue)]
        sent: list[Any] = []
        sink: Any = SimpleNamespace(send=sent.append)
        await Exporting(served.client, sink, options_for(served.client)).matching(ours)
        assert sent == []


async def test_a_tombstone_ends_when_its_flow_has_and_still_hides_it(unworked: Gate) -> None:
    """Swept, it is closed, later than its flow: so Temporal keeps it for at least as long."""
    async with unworked() as served:
        open_, closed = new_id("open"), new_id("closed")
        running = await served.start("book@1.0.0", {}, open_)
        await (await served.start("book@1.0.0", {}, closed)).terminate()
        for id in (open_, closed):
            assert await code(delete(served, id)) == "OK"
        stones = {id: served.client.get_workflow_handle(tombstone_id(id)) for id in (open_, closed)}
        while (await stones[closed].describe()).status == WorkflowExecutionStatus.RUNNING:
            await asyncio.sleep(0.1)  # by itself, after a second
        await served.gateway.tombstones.sweep()
        assert (await stones[open_].describe()).status == WorkflowExecutionStatus.RUNNING
        await running.terminate()
        while (await stones[open_].describe()).status == WorkflowExecutionStatus.RUNNING:
            await served.gateway.tombstones.sweep()
        ended, flow = await stones[open_].describe(), await running.describe()
        assert ended.close_time is not None and flow.close_time is not None
        assert ended.close_time >= flow.close_time
        assert [await code(get(served, id)) for id in (open_, closed)] == ["NOT_FOUND", "NOT_FOUND"]


async def test_what_temporal_forgot_is_not_found(unworked: Gate) -> None:
    """P9: Past its retention, or deleted in Temporal itself: NOT_FOUND."""
    async with unworked() as served:
        id = new_id()
        await (await served.start("book@1.0.0", {}, id)).terminate()
        await served.client.workflow_service.delete_workflow_execution(
            DeleteWorkflowExecutionRequest(
                namespace="default", workflow_execution=WorkflowExecution(workflow_id=id)
            )
        )
        while await code(get(served, id)) != "NOT_FOUND":
            await asyncio.sleep(0.1)


async def test_our_own_workflows_are_no_operations(unworked: Gate) -> None:
    """A tombstone can't be got, cancelled or deleted through the gateway."""
    async with unworked() as served:
        id = new_id()
        await served.start("book@1.0.0", {}, id)
        assert await code(delete(served, id)) == "OK"
        stone = tombstone_id(id)
        assert [await code(get(served, stone)), await code(delete(served, stone))] == [
            "NOT_FOUND",
            "NOT_FOUND",
        ]


async def test_a_reset_flow_is_the_same_operation(gate: Gate, world: World) -> None:
    """Reset after its end it runs again, under its name; one that was deleted stays hidden."""
    async with gate() as served:
        shown, hidden = new_id("shown"), new_id("hidden")
        for id in (shown, hidden):
            await (await served.start("book@1.0.0", {"flight": "LH1"}, id)).result()
        assert await code(delete(served, hidden)) == "OK"
        world.switch("hold-a")
        for id in (shown, hidden):
            await reset(served.client, served.client.get_workflow_handle(id), 4)
        assert not (await get(served, shown)).done  # type: ignore[misc]
        assert await code(get(served, hidden)) == "NOT_FOUND"
        world.switch("go-a")
        waiting = served.stub.WaitOperation(WaitOperationRequest(name=operation_name(shown)))
        assert (await waiting).HasField("response")
        ask = ListOperationsRequest(filter="definition=book AND done=true", page_size=200)
        while True:
            names = [one.name for one in (await served.stub.ListOperations(ask)).operations]
            if operation_name(shown) in names:
                break
        assert (names.count(operation_name(shown)), operation_name(hidden) in names) == (1, False)
