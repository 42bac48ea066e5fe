"""What a payload codec is told of the payloads that it gets: as in any Temporal worker."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence as Several

from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import (
    ActivitySerializationContext,
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
)

from flows import Sequence, start
from tests.conftest import Serve
from tests.sample import count
from tests.support import new_id

TOLD: set[tuple[str, str]] = set()


class Telling(PayloadCodec, WithSerializationContext):
    """Changes nothing, and keeps what it was told: kind of context, and activity id or nothing."""

    def __init__(self, context: SerializationContext | None = None) -> None:
        self.context = context

    def with_context(self, context: SerializationContext) -> Telling:
        return Telling(context)

    async def encode(self, payloads: Several[Payload]) -> list[Payload]:
        self._tell("encode")
        return list(payloads)

    async def decode(self, payloads: Several[Payload]) -> list[Payload]:
        self._tell("decode")
        return list(payloads)

    def _tell(self, what: str) -> None:
        if isinstance(self.context, ActivitySerializationContext):
            TOLD.add((what, str(self.context.activity_id)))
        elif self.context is not None:
            TOLD.add((what, type(self.context).__name__))


class Noting(Sequence[int, int], id="noting", version="1.0.0"):
    """One remote step."""

    async def run(self, input: int) -> int:
        return (await self.execute(count, input, step="first")).output


async def test_a_codec_knows_whose_payload_it_gets(serve: Serve, task_queue: str) -> None:
    """A step's input and result come with its activity's context, the run's own with the workflow's."""
    TOLD.clear()
    converter = dataclasses.replace(pydantic_data_converter, payload_codec=Telling())
    async with serve(count, Noting, data_converter=converter) as client:
        handle = await start(client, Noting, 1, id=new_id(), task_queue=task_queue)
        assert await handle.result() == 1
    activity, own = "first", "WorkflowSerializationContext"
    assert {(what, whose) for what in ("encode", "decode") for whose in (activity, own)} == TOLD
