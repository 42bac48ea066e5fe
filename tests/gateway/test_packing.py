"""Values as google.protobuf.Any."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct
from hypothesis import given, settings
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload
from temporalio.converter import DataConverter

from counterstep.gateway._packing import DEPTH_LIMIT, SIZE_LIMIT, as_json, pack_json, pack_payload

JSONS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def nested(levels: int) -> Any:
    value: Any = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


def sent(packed: AnyMessage) -> AnyMessage:
    """Give what arrives at the other end."""
    return AnyMessage.FromString(packed.SerializeToString())


@settings(max_examples=100, deadline=None)
@given(value=st.dictionaries(st.text().filter(lambda key: key != "@type"), JSONS, max_size=4))
def test_an_object_comes_back_from_its_struct(value: dict[str, Any]) -> None:
    """Whatever it holds."""
    found = Struct()
    assert sent(pack_json(value)).Unpack(found)
    assert MessageToDict(found) == value


def test_what_a_struct_cannot_hold_is_json() -> None:
    """As deep as parsers take it a Struct, a level more and HttpBody; the same for what grows too large."""
    found, body = Struct(), HttpBody()
    assert sent(pack_json(nested(DEPTH_LIMIT))).Unpack(found)
    for value in (nested(DEPTH_LIMIT + 1), nested(150), [0] * 400_000, ["x" * SIZE_LIMIT]):
        packed = sent(pack_json(value))
        assert packed.Unpack(body)
        assert (body.content_type, json.loads(body.data)) == ("application/json", value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, {"@type": "type.googleapis.com/google.protobuf.Empty"}),
        (1.5, {"@type": "type.googleapis.com/google.protobuf.Value", "value": 1.5}),
        (-(2**53) - 1, {"@type": "type.googleapis.com/google.protobuf.Value", "value": "-9007199254740993"}),
        ([True, None], {"@type": "type.googleapis.com/google.protobuf.Value", "value": [True, None]}),
        (
            {"@type": "x.y/no.Such", "a": 1},
            {
                "@type": "type.googleapis.com/google.protobuf.Struct",
                "value": {"@type": "x.y/no.Such", "a": 1},
            },
        ),
        (
            {"@type": "type.googleapis.com/google.rpc.Status", "code": 5},
            {"@type": "type.googleapis.com/google.rpc.Status", "code": 5},
        ),
        (
            {"@type": "type.googleapis.com/google.protobuf.Duration", "value": "3s"},
            {"@type": "type.googleapis.com/google.protobuf.Duration", "value": "3s"},
        ),
        *(
            (odd, {"@type": "type.googleapis.com/google.protobuf.Struct", "value": odd})
            for odd in (
                {"@type": "google.protobuf.Empty", "value": 5.0},
                {"@type": "type.googleapis.com/google.protobuf.Any", "value": 5.0},
                {"@type": "type.googleapis.com/google.protobuf.Int64Value", "value": None},
                {"@type": "google.protobuf.Timestamp", "value": [1.0]},
                {"@type": "google.rpc.Status", "details": 5.0},
            )
        ),
    ],
    ids=str,
)
def test_other_json_is_packed_by_its_kind(value: Any, expected: dict[str, Any]) -> None:
    """Nothing is Empty; `@type` names a message, if it is known here and the rest is one."""
    assert as_json(sent(pack_json(value))) == expected


async def test_a_protobuf_message_stays_as_it_is() -> None:
    """Written as JSON or as bytes; one of unknown type keeps its bytes, and shows them."""
    (payload,) = await DataConverter.default.encode([Duration(seconds=3)])
    assert payload.metadata["encoding"] == b"json/protobuf"
    found = Duration()
    assert sent(pack_payload(payload)).Unpack(found)
    assert found == Duration(seconds=3)
    metadata = {"encoding": b"binary/protobuf", "messageType": b"no.Such"}
    unknown = pack_payload(Payload(metadata=metadata, data=b"\x08\x01"))
    assert (unknown.type_url, unknown.value) == ("type.googleapis.com/no.Such", b"\x08\x01")
    assert as_json(unknown) == {"@type": "type.googleapis.com/no.Such", "value": "CAE="}
    metadata = {"encoding": b"binary/protobuf", "messageType": b"google.rpc.Status"}
    corrupt = pack_payload(Payload(metadata=metadata, data=b"\xff"))
    assert as_json(corrupt) == {"@type": "type.googleapis.com/google.rpc.Status", "value": "/w=="}
    strange = pack_payload(Payload(metadata={"encoding": b"binary/odd"}, data=b"x"))
    assert as_json(strange) == {"@type": "type.googleapis.com/google.protobuf.BytesValue", "value": "eA=="}
