"""Payloads, failures and times of history events, as values."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pydantic_core
from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure as FailureProto
from temporalio.api.history.v1 import HistoryEvent
from temporalio.converter import DataConverter, DefaultPayloadConverter

from activities._json import Json
from activities._wire import HEADER
from counterstep.reports._recorded import unpack

_READABLE = (b"", b"json/plain", b"json/protobuf", b"binary/null")
UNREADABLE = "unreadable"
"""The only key of what stands for a value that is encoded, by its encoding: an encrypted one stays so."""


def readable(payload: Payload) -> bool:
    """Whether a payload is JSON, or nothing."""
    return payload.metadata.get("encoding", b"") in _READABLE


def json_of(payload: Payload) -> Json:
    """Give a payload's value; one that is encoded is told by its encoding."""
    encoding = payload.metadata.get("encoding", b"")
    if encoding == b"binary/null" or not payload.data:
        return None
    try:
        return pydantic_core.from_json(payload.data)
    except ValueError:
        return None if encoding in _READABLE else {UNREADABLE: encoding.decode(errors="replace")}


def summary_of(event: HistoryEvent) -> str:
    """Give what an event says of itself for Temporal's UI; nothing where that is encoded."""
    text = json_of(event.user_metadata.summary)
    return text if isinstance(text, str) else ""


def beside_of(payload: Payload) -> Json:
    """Give what stands beside a child flow's result."""
    text = payload.metadata.get(HEADER)
    return None if text is None else pydantic_core.from_json(unpack(text.decode()))


class _Lenient(DefaultPayloadConverter):
    """Gives what stands for a value that is encoded, where the SDK's own would fail."""

    def from_payloads(self, payloads: Sequence[Payload], type_hints: list[type] | None = None) -> list[Any]:
        """See base class."""
        given = []
        for payload in payloads:
            try:
                given += super().from_payloads([payload])
            except (KeyError, ValueError, RuntimeError):
                given.append({UNREADABLE: payload.metadata.get("encoding", b"").decode(errors="replace")})
        return given


_LENIENT = _Lenient()


def exception_of(failure: FailureProto) -> BaseException:
    """Give a failure as the exception that a workflow would have seen; what is encoded in it stays so."""
    return DataConverter.default.failure_converter.from_failure(failure, _LENIENT)


def time_of(event: HistoryEvent) -> datetime:
    """Give the time of an event."""
    return event.event_time.ToDatetime(tzinfo=UTC)


async def decode(
    messages: Iterable[Message], decoder: Callable[[Sequence[Payload]], Awaitable[list[Payload]]]
) -> None:
    """Decode every payload in place; headers of ours and marker data of the SDK were never encoded."""
    for message in messages:
        for payload in _payloads(message):
            payload.CopyFrom((await decoder([payload]))[0])


def _payloads(message: Message) -> Iterator[Payload]:
    if isinstance(message, Payload):
        yield message
        return
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None or descriptor.name in ("header", "search_attributes"):
            continue
        if descriptor.message_type.GetOptions().map_entry:
            items = [v for k, v in value.items() if isinstance(v, Message) and k != "data"]
        else:
            items = [value] if isinstance(value, Message) else list(value)
        for item in items:
            yield from _payloads(item)
