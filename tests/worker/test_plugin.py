"""`CounterstepPlugin` on somebody's own client and worker, beside workflows and activities of theirs."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from collections.abc import Sequence as Many
from contextlib import asynccontextmanager
from datetime import timedelta

from pydantic import BaseModel
from temporalio import activity, workflow
from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter, PayloadCodec
from temporalio.worker import Replayer, Worker

from activities import Registry
from flows import CounterstepPlugin, Sequence, start
from tests.support import World, new_id

with workflow.unsafe.imports_passed_through():
    from tests.sample import a


class Name(BaseModel):
    """Somebody's own model."""

    first: str


@activity.defn
async def greet(name: Name) -> str:
    """Somebody's own activity."""
    return f"hello {name.first}"


@workflow.defn
class Greeting:
    """Somebody's own workflow."""

    @workflow.run
    async def run(self, name: Name) -> str:
        return await workflow.execute_activity(greet, name, start_to_close_timeout=timedelta(seconds=10))


@workflow.defn
class Parent:
    """Somebody's own workflow, which has one of our flows as a child."""

    @workflow.run
    async def run(self, input: int) -> int:
        child: int = await workflow.execute_child_workflow("double@1.0.0", input, result_type=int)
        return child + 1


class Double(Sequence[int, int], id="double", version="1.0.0"):
    """Double."""

    async def run(self, input: int) -> int:
        return (await self.execute(a, input)).output


async def test_both_run_on_one_worker(dev_address: str, world: World, task_queue: str) -> None:
    """Their workflow with their activity, their workflow with our flow as its child, and our flow."""
    plugin = CounterstepPlugin(Registry(a, Double), deps=world)
    client = await Client.connect(dev_address, plugins=[plugin])
    async with Worker(client, task_queue=task_queue, workflows=[Greeting, Parent], activities=[greet]):
        hello = await client.execute_workflow(
            Greeting.run, Name(first="ann"), id=new_id(), task_queue=task_queue
        )
        seven = await client.execute_workflow(Parent.run, 3, id=new_id(), task_queue=task_queue)
        four = await (await start(client, Double, 2, id=new_id(), task_queue=task_queue)).result()
        ranged = await (await start(client, "double@^1", 4, id=new_id(), task_queue=task_queue)).result()
    assert (hello, seven, four, ranged) == ("hello ann", 7, 4, 8)
    assert world.calls == [("a", 3), ("a", 2), ("a", 4)]


async def test_lifespan_is_entered_once_and_left(dev_address: str, world: World, task_queue: str) -> None:
    """Dependencies live as long as any worker of the plugin, and are left when the last one ends."""

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[World]:
        world.record("entered")
        yield world
        world.record("left")

    plugin = CounterstepPlugin(Registry(a, Double), lifespan=lifespan)
    client = await Client.connect(dev_address, plugins=[plugin])
    async with Worker(client, task_queue=task_queue):
        async with Worker(client, task_queue=f"{task_queue}-2"):
            handle = await start(client, Double, 1, id=new_id(), task_queue=f"{task_queue}-2")
            assert await handle.result() == 2
        assert await (await start(client, Double, 2, id=new_id(), task_queue=task_queue)).result() == 4
    assert world.calls == ["entered", ("a", 1), ("a", 2), "left"]


class Mirror(PayloadCodec):
    """Writes all data backwards."""

    async def encode(self, payloads: Many[Payload]) -> list[Payload]:
        """See base class."""
        return [Payload(metadata={"encoding": b"mirror"}, data=p.SerializeToString()[::-1]) for p in payloads]

    async def decode(self, payloads: Many[Payload]) -> list[Payload]:
        """See base class."""
        return [
            Payload.FromString(p.data[::-1]) if p.metadata.get("encoding") == b"mirror" else p
            for p in payloads
        ]


async def _run_with(converter: DataConverter, address: str, world: World, queue: str) -> set[bytes]:
    """Run a flow that unwinds; give the encodings of the inputs in its history."""
    plugin = CounterstepPlugin(Registry(a, Double), deps=world)
    client = await Client.connect(address, plugins=[plugin], data_converter=converter)
    async with Worker(client, task_queue=queue):
        handle = await start(client, "double", 3, id=new_id(), task_queue=queue)
        assert await handle.result() == 6
        assert (await handle.query("status"))["state"] == "completed"
        events = (await handle.fetch_history()).events
    inputs = [event.activity_task_scheduled_event_attributes.input.payloads for event in events]
    return {payload.metadata["encoding"] for payloads in inputs for payload in payloads}


async def test_their_codec_stays(dev_address: str, world: World, task_queue: str) -> None:
    """A codec of the client's encodes what our steps send, with and without pydantic's converter."""
    for converter in (DataConverter.default, pydantic_data_converter):
        mirrored = dataclasses.replace(converter, payload_codec=Mirror())
        assert await _run_with(mirrored, dev_address, world, task_queue) == {b"mirror"}
    assert await _run_with(DataConverter.default, dev_address, world, task_queue) == {b"json/plain"}


async def test_their_replayer_knows_our_flows(dev_address: str, world: World, task_queue: str) -> None:
    """A Replayer with the plugin replays a run of ours, and one that was started by range."""
    plugin = CounterstepPlugin(Registry(a, Double), deps=world)
    client = await Client.connect(dev_address, plugins=[plugin])
    async with Worker(client, task_queue=task_queue):
        handle = await start(client, "double@^1", 3, id=new_id(), task_queue=task_queue)
        first = client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id)
        assert await handle.result() == 6
    replayer = Replayer(workflows=[Greeting], plugins=[plugin])
    for run in (first, client.get_workflow_handle(handle.id)):
        await replayer.replay_workflow(await run.fetch_history())
