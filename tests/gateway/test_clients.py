"""Google's own clients, as they come: over gRPC, asyncio and REST, and the mixins of a cloud product's client."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.api_core import exceptions, operation, operation_async
from google.api_core.operations_v1 import (
    AbstractOperationsClient,
    OperationsAsyncClient,
    OperationsClient,
)
from google.api_core.operations_v1.transports.rest import OperationsRestTransport
from google.auth.credentials import AnonymousCredentials
from google.cloud import run_v2
from google.cloud.run_v2.services.services.transports import ServicesGrpcTransport
from google.longrunning.operations_pb2 import (
    CancelOperationRequest,
    DeleteOperationRequest,
    GetOperationRequest,
    ListOperationsRequest,
    Operation,
    WaitOperationRequest,
)
from google.protobuf.empty_pb2 import Empty
from google.protobuf.struct_pb2 import Struct

from flows._operation_name import operation_name
from tests.gateway.conftest import Gate, Served
from tests.support import World, new_id

HTTP_OPTIONS = {
    f"google.longrunning.Operations.{method}": [option]
    for method, option in {
        "ListOperations": {"method": "get", "uri": "/v1/{name=operations}"},
        "GetOperation": {"method": "get", "uri": "/v1/{name=operations/*}"},
        "DeleteOperation": {"method": "delete", "uri": "/v1/{name=operations/*}"},
        "CancelOperation": {"method": "post", "uri": "/v1/{name=operations/*}:cancel", "body": "*"},
    }.items()
}
"""What google-api-core's REST client needs for names without a parent; docs/gateway.md has it too."""


def rest(served: Served, http_options: Any = None) -> AbstractOperationsClient:
    transport = OperationsRestTransport(
        host=served.url,
        credentials=AnonymousCredentials(),
        http_options=http_options,
    )
    return AbstractOperationsClient(transport=transport)


async def held(served: Served, world: World, input: Any = None) -> str:
    """Start a flow that waits in a step until `go-a` is on; give its operation's name."""
    world.switch("hold-a")
    id = new_id()
    await served.start("book@1.0.0", input or {"flight": "LH1", "seats": 2}, id)
    return operation_name(id)


def use_future(client: OperationsClient, name: str, world: World) -> dict[str, Any]:
    """Do with a future what a program does, blocking as the client does."""
    future = operation.from_gapic(client.get_operation(name), client, Struct, metadata_type=Struct)
    called = threading.Event()
    found: dict[str, Any] = {"done": future.done(), "running": future.running()}
    found["state"] = future.metadata["state"]
    other = operation.from_gapic(client.get_operation(name), client, Struct)  # polls in a thread of its own
    other.add_done_callback(lambda future: called.set())
    world.switch("go-a")
    found["result"] = dict(future.result(timeout=60))
    found["after"] = future.done(), future.running(), future.cancel(), future.cancelled()
    found["exception"], found["called"] = future.exception(), called.wait(60)
    return found


async def test_operations_client_gives_a_future_that_works(gate: Gate, world: World) -> None:
    """`from_gapic`: done, running, metadata, result, exception, add_done_callback; cancel of a done one is False."""
    async with gate() as served:
        name = await held(served, world)
        with grpc.insecure_channel(served.address) as channel:
            found = await asyncio.to_thread(use_future, OperationsClient(channel), name, world)
        assert found == {
            "done": False,
            "running": True,
            "state": "running",
            "result": {"flight": "LH1", "seats": 2.0},
            "after": (True, False, False, False),
            "exception": None,
            "called": True,
        }


async def test_operations_client_cancels_lists_and_deletes(gate: Gate, world: World) -> None:
    """LRO-11: `cancel` unwinds, then `result` raises Cancelled; a deleted operation is NotFound."""

    def use(client: OperationsClient, name: str) -> None:
        future = operation.from_gapic(client.get_operation(name), client, Struct, metadata_type=Struct)
        assert future.cancel() is True
        with pytest.raises(exceptions.Cancelled) as raised:
            future.result(timeout=60)
        assert raised.value.errors[0].details[0].type_url.endswith("google.rpc.ErrorInfo")
        assert (future.cancelled(), future.metadata["state"]) == (True, "cancelled")
        while name not in [listed.name for listed in client.list_operations("operations", "state=cancelled")]:
            pass
        client.delete_operation(name)
        with pytest.raises(exceptions.NotFound) as gone:
            client.get_operation(name)
        assert (gone.value.reason, gone.value.metadata) == ("OPERATION_NOT_FOUND", {"operation": name})

    async with gate() as served:
        name = await held(served, world)
        await world.until("a", 2)
        with grpc.insecure_channel(served.address) as channel:
            await asyncio.to_thread(use, OperationsClient(channel), name)
        assert world.calls.count(("undo a", 2, "unknown", None)) == 1


async def test_operations_async_client_works(gate: Gate, world: World) -> None:
    """`operation_async.from_gapic`: done, metadata, result; then cancel and cancelled of another."""
    async with gate() as served:
        client = OperationsAsyncClient(served.channel)
        name, other = await held(served, world), await held(served, world)
        future: Any = operation_async.from_gapic(
            await client.get_operation(name), client, Struct, metadata_type=Struct
        )
        assert (await future.done(), future.metadata["state"]) == (False, "running")
        stopped: Any = operation_async.from_gapic(await client.get_operation(other), client, Struct)
        assert await stopped.cancel() is True
        world.switch("go-a")
        assert dict(await future.result(timeout=60)) == {"flight": "LH1", "seats": 2.0}
        failed: Any = await stopped.exception(timeout=60)
        assert failed.message == "book@1.0.0 was cancelled"  # that client leaves the code to `cancelled`
        assert await stopped.cancelled() is True


async def test_raw_stub_waits_and_pages(gate: Gate, world: World) -> None:
    """The generated stub: Wait, page size, page token, Cancel, Delete."""
    async with gate() as served:
        names = [await held(served, world) for _ in range(3)]
        waiting = asyncio.ensure_future(served.stub.WaitOperation(WaitOperationRequest(name=names[0])))
        world.switch("go-a")
        assert (await waiting).done
        found, token = [], ""
        while len(found) < 3:
            request = ListOperationsRequest(
                name="operations", filter="definition=book", page_size=2, page_token=token
            )
            page = await served.stub.ListOperations(request)
            found += [listed.name for listed in page.operations if listed.name in names]
            token = page.next_page_token
        assert found == names[::-1]
        assert await served.stub.CancelOperation(CancelOperationRequest(name=names[0])) == Empty()
        assert await served.stub.DeleteOperation(DeleteOperationRequest(name=names[0])) == Empty()
        with pytest.raises(grpc.aio.AioRpcError) as gone:
            await served.stub.GetOperation(GetOperationRequest(name=names[0]))
        assert gone.value.code() == grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("parent", "options"), [("", HTTP_OPTIONS), ("projects/p/", None)], ids=["options", "default paths"]
)
async def test_rest_client_works(gate: Gate, world: World, parent: str, options: Any) -> None:
    """`AbstractOperationsClient` over REST, with the documented options, or with a parent and its own paths."""

    def use(client: AbstractOperationsClient, name: str) -> None:
        assert client.get_operation(name).name == name
        future = operation.from_gapic(client.get_operation(name), client, Struct, metadata_type=Struct)
        assert future.cancel() is True
        with pytest.raises(exceptions.GoogleAPICallError, match="was cancelled"):
            future.result(timeout=60)
        found: list[str] = []
        while name not in found:
            pager = client.list_operations(
                name=f"{parent}operations" if options else "projects/p", filter_=""
            )
            found = [listed.name for page in pager.pages for listed in page.operations]
        client.delete_operation(name)
        with pytest.raises(exceptions.NotFound):
            client.get_operation(name)

    async with gate() as served:
        name = parent + await held(served, world)
        await world.until("a", 2)
        await asyncio.to_thread(use, rest(served, options), name)


async def test_the_mixins_of_a_cloud_client_work(gate: Gate, world: World) -> None:
    """google-cloud-run: get, list, wait and delete of its client, pointed at the gateway."""

    def wait(client: run_v2.ServicesClient, name: str, seconds: int) -> Operation:
        request = {"name": name, "timeout": timedelta(seconds=seconds)}
        found = client.wait_operation(request, timeout=30)
        return Operation.FromString(found) if isinstance(found, bytes) else found  # bytes up to 0.16

    def use(client: run_v2.ServicesClient, name: str) -> None:
        assert client.get_operation({"name": name}).done is False
        assert wait(client, name, 1).done is False
        world.switch("go-a")
        assert wait(client, name, 25).done is True
        listed = client.list_operations({"name": "operations", "filter": "definition=book", "page_size": 5})
        assert name in [one.name for one in listed.operations]
        client.delete_operation({"name": name})
        with pytest.raises(exceptions.NotFound):
            client.get_operation({"name": name})

    async with gate() as served:
        name = await held(served, world)
        with grpc.insecure_channel(served.address) as channel:
            client = run_v2.ServicesClient(transport=ServicesGrpcTransport(channel=channel))
            await asyncio.to_thread(use, client, name)
