"""Long-running operations through the gateway: their own metadata, and one operation over all their legs."""

from __future__ import annotations

import asyncio
from typing import Any

from google.longrunning.operations_pb2 import (
    DeleteOperationRequest,
    ListOperationsRequest,
    WaitOperationRequest,
)

from activities import Registry
from flows._operation_name import operation_name
from tests.conftest import Serve
from tests.gateway.conftest import facing
from tests.gateway.flows import LONG as FLOWS
from tests.gateway.test_get import ended, get, json_of
from tests.support import World, new_id


async def test_a_long_running_operation_is_one_operation_over_its_legs(
    serve: Serve, world: World, task_queue: str
) -> None:
    """Started over HTTP: one name through all legs, the metadata last set, a wait over the legs, listed once."""
    async with (
        serve(*FLOWS) as client,
        facing(client, task_queue, Registry(*FLOWS)) as served,
    ):
        world.switch("hold-a")
        started = (await served.http.post("/v1/flows/counting:run", json=3)).json()
        name = started["name"]
        waiting = asyncio.ensure_future(served.stub.WaitOperation(WaitOperationRequest(name=name)))
        await world.until("a", 3)
        id = name.removeprefix("operations/")
        running = await get(served, id)
        assert (running.done, json_of(running.metadata)) == (False, {"p": 3, "q": None})
        world.switch("go-a")
        done = await waiting
        assert (done.name, json_of(done.response)) == (name, {"n": 3})
        assert json_of(done.metadata) == {"p": None, "q": 3}
        ask = ListOperationsRequest(filter="definition=counting done=true", page_size=1)
        while not (found := await listed(served, ask)):
            await asyncio.sleep(0.05)
        assert found == [name]


async def listed(served: Any, ask: ListOperationsRequest) -> list[str]:
    found = []
    while True:
        page = await served.stub.ListOperations(ask)
        found += [one.name for one in page.operations]
        if not page.next_page_token:
            return found
        ask.page_token = page.next_page_token


async def test_progress_is_shown_where_nothing_else_is(serve: Serve, world: World, task_queue: str) -> None:
    """An operation without metadata of its own: resume point, steps at work; `Empty` at its end; deleted, it is gone."""
    async with serve(*FLOWS) as client, facing(client, task_queue) as served:
        world.switch("hold-a")
        id = new_id()
        await served.start("quiet", 5, id)
        await world.until("a", 5)
        shown = json_of((await get(served, id)).metadata)
        assert (shown["flow"], shown["state"], shown["resume_point"]) == ("quiet@1.0.0", "running", "second")
        assert [step.rpartition("/")[2] for step in shown["current"]] == ["a"]
        world.switch("go-a")
        operation = await ended(served, id)
        assert operation.response.type_url == "type.googleapis.com/google.protobuf.Empty"
        name = operation_name(id)
        await served.stub.DeleteOperation(DeleteOperationRequest(name=name))
        assert name not in await listed(served, ListOperationsRequest(filter="definition=quiet"))


async def test_a_deleted_one_stays_hidden_when_it_resumes(
    serve: Serve, world: World, task_queue: str
) -> None:
    """Deleted in its first leg: NOT_FOUND in the second too, and it comes to its end."""
    async with serve(*FLOWS) as client, facing(client, task_queue) as served:
        id = new_id()
        handle = await served.start("resting@1.0.0", 1, id)
        await served.stub.DeleteOperation(DeleteOperationRequest(name=operation_name(id)))
        await world.until("a", 1)
        answer = await served.http.get(f"/v1/{operation_name(id)}")
        assert (answer.status_code, await handle.result()) == (404, 2)
