"""Values as ``google.protobuf.Any``: a protobuf message as it is, everything else as ``Struct`` or ``Value``."""

from __future__ import annotations

import base64
from typing import Any

import pydantic_core
from google.api.httpbody_pb2 import HttpBody
from google.protobuf import json_format, symbol_database
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError, Message
from google.protobuf.struct_pb2 import ListValue, NullValue, Struct, Value
from google.protobuf.wrappers_pb2 import BytesValue
from google.rpc import error_details_pb2  # noqa: F401  (makes its messages known to the symbol database)
from temporalio.api.common.v1 import Payload

PREFIX = "type.googleapis.com/"
SIZE_LIMIT = 3 * 1024 * 1024
"""Bytes of one packed value; gRPC clients take messages of 4 MiB as a whole."""

DEPTH_LIMIT = 24
"""Nested levels of JSON in a ``Struct``: each takes four of the hundred that protobuf parsers take."""

_EXACT = 1 << 53


def pack(message: Message) -> AnyMessage:
    """Put a message into an ``Any``."""
    found = AnyMessage()
    found.Pack(message)
    return found


def pack_payload(payload: Payload) -> AnyMessage:
    """Pack what a flow returned, or shows, as Temporal keeps it."""
    encoding = payload.metadata.get("encoding", b"")
    kind = payload.metadata.get("messageType", b"").decode(errors="replace")
    if encoding == b"binary/null":
        return pack(Empty())
    if encoding == b"binary/protobuf" and kind:
        return AnyMessage(type_url=PREFIX + kind, value=payload.data)
    if encoding not in (b"json/plain", b"json/protobuf"):
        return pack(BytesValue(value=payload.data))
    try:
        value = pydantic_core.from_json(payload.data)
    except ValueError:
        return pack(BytesValue(value=payload.data))
    packed = message_of(kind, value) if encoding == b"json/protobuf" else None
    return packed or pack_json(value)


def pack_json(value: Any) -> AnyMessage:
    """Pack a JSON value: an object as ``Struct``, nothing as ``Empty``, anything else as ``Value``.

    An object with ``@type`` is the JSON form of a message and becomes that. What a ``Struct`` can't hold, because it is nested
    too deep or grows too large, becomes ``google.api.HttpBody`` with the JSON.
    """
    if value is None:
        return pack(Empty())
    typed = any_of(value)
    if typed is not None:
        return typed
    if _depth(value) <= DEPTH_LIMIT:
        packed = pack(_struct(value) if isinstance(value, dict) else _value(value))
        if packed.ByteSize() <= SIZE_LIMIT:
            return packed
    return pack(HttpBody(content_type="application/json", data=pydantic_core.to_json(value)))


def message_of(kind: str, value: Any) -> AnyMessage | None:
    """Read a message's JSON; none if its type isn't known to this process, or the JSON isn't one."""
    try:
        message = symbol_database.Default().GetSymbol(kind)()
        return pack(json_format.ParseDict(value, message))
    except (KeyError, TypeError, ValueError, AttributeError, json_format.ParseError):
        return None  # ParseDict raises them all for JSON of another kind than the message's own


def any_of(value: Any) -> AnyMessage | None:
    """Read the JSON form of an ``Any``; none if it isn't one, or its type isn't known to this process."""
    if not isinstance(value, dict) or not isinstance(value.get("@type"), str):
        return None
    return message_of(value["@type"].rpartition("/")[2], _without_type(value))


def as_json(packed: AnyMessage) -> dict[str, Any]:
    """Give an ``Any`` as JSON; a message of unknown type, or one that isn't what it says, as its bytes."""
    try:
        found: dict[str, Any] = json_format.MessageToDict(packed)
        return found
    except (TypeError, ValueError, DecodeError):
        return {"@type": packed.type_url, "value": base64.b64encode(packed.value).decode()}


def _without_type(value: dict[str, Any]) -> Any:
    """Give the message's own JSON: well-known types with a JSON form of their own stand under ``value``."""
    rest = {key: item for key, item in value.items() if key != "@type"}
    own = value["@type"].rpartition("/")[2].startswith("google.protobuf.")
    return rest["value"] if own and set(rest) == {"value"} else rest


def _depth(value: Any) -> int:
    """Count nested levels, without recursion; beyond the limit it doesn't matter how many."""
    level, depth = [value], 0
    while level and depth <= DEPTH_LIMIT:
        depth += 1
        inner = [item.values() if isinstance(item, dict) else item for item in level if _nested(item)]
        level = [item for items in inner for item in items]
    return depth


def _nested(value: Any) -> bool:
    return isinstance(value, (dict, list))


def _struct(value: dict[str, Any]) -> Struct:
    return Struct(fields={key: _value(item) for key, item in value.items()})


def _value(value: Any) -> Value:
    if value is None:
        return Value(null_value=NullValue.NULL_VALUE)
    if isinstance(value, bool):
        return Value(bool_value=value)
    if isinstance(value, (int, float)):
        exact = isinstance(value, float) or -_EXACT <= value <= _EXACT
        return Value(number_value=value) if exact else Value(string_value=str(value))  # as proto3's own int64
    if isinstance(value, str):
        return Value(string_value=value)
    if isinstance(value, dict):
        return Value(struct_value=_struct(value))
    return Value(list_value=ListValue(values=[_value(item) for item in value]))
