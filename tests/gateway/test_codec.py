"""A module's codec: the gateway reads what its workers write, and says so where it can't."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence as Many

from google.protobuf.json_format import MessageToDict
from google.rpc import code_pb2
from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DefaultFailureConverterWithEncodedAttributes, PayloadCodec

from activities import Registry
from counterstep.gateway._view import UNREADABLE
from tests.conftest import Serve
from tests.gateway.conftest import facing
from tests.gateway.flows import EVERYTHING
from tests.gateway.test_get import ended, get, info_of, json_of, until_state
from tests.support import World, new_id


class Turned(PayloadCodec):
    """Turns every payload round: nobody reads it by chance."""

    async def encode(self, payloads: Many[Payload]) -> list[Payload]:
        return [
            Payload(metadata={"encoding": b"binary/turned"}, data=payload.SerializeToString()[::-1])
            for payload in payloads
        ]

    async def decode(self, payloads: Many[Payload]) -> list[Payload]:
        return [
            Payload.FromString(payload.data[::-1])
            if payload.metadata.get("encoding") == b"binary/turned"
            else payload
            for payload in payloads
        ]


CONVERTER = dataclasses.replace(
    pydantic_data_converter,
    payload_codec=Turned(),
    failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
)


async def test_what_a_codec_hides_is_shown(
    serve: Serve, world: World, task_queue: str, dev_address: str
) -> None:
    """Result, failure, raised status, memo, and a start over HTTP; without the codec, bytes and no more."""
    async with (
        serve(*EVERYTHING, data_converter=CONVERTER) as client,
        facing(client, task_queue, Registry(*EVERYTHING)) as served,
        facing(await Client.connect(dev_address), task_queue) as blind,
    ):
        started = (await served.http.post("/v1/flows/book:run", json={"flight": "LH1"})).json()["name"]
        failed, status, held = new_id(), new_id(), new_id()
        await served.start("refused@1.0.0", "ValueError", failed)
        await served.start("refused@1.0.0", "status", status)
        await served.start("holding@1.0.0", "ValueError", held)
        booked = started.removeprefix("operations/")
        assert json_of((await ended(served, booked)).response) == {"flight": "LH1", "seats": 1}
        operation = await ended(served, failed)
        assert operation.error.message.startswith("refused@1.0.0 rolled back: step refusing (refusing@1.0.0)")
        assert info_of(operation).reason == "ROLLED_BACK"
        operation = await ended(served, status)
        assert (operation.error.code, len(operation.error.details)) == (code_pb2.FAILED_PRECONDITION, 2)
        assert (await until_state(served, held, "held"))["reason"].startswith("refusing: ")
        unread = await ended(blind, booked)
        assert unread.response.type_url == "type.googleapis.com/google.protobuf.BytesValue"
        assert "LH1" not in str(MessageToDict(unread))
        assert json_of((await get(blind, held)).metadata)["state"] == "running"
        assert (await ended(blind, failed)).error.message == UNREADABLE
        await served.client.get_workflow_handle(held).terminate()
