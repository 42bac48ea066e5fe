"""Hostile requests: only documented codes, each with one ErrorInfo, and the gateway goes on."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import grpc
import httpx
import pytest
from google.longrunning.operations_pb2 import (
    CancelOperationRequest,
    DeleteOperationRequest,
    GetOperationRequest,
    ListOperationsRequest,
    WaitOperationRequest,
)
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from temporalio.client import Client

from activities import Registry
from counterstep.gateway import GatewaySettings, gateway
from tests.gateway.flows import EVERYTHING

CODES = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED"}
STATUSES = {200, 400, 404, 409}
SERVICE = "/google.longrunning.Operations/"


@dataclass(frozen=True)
class Target:
    """A gateway in a thread of its own, and blocking clients."""

    channel: grpc.Channel
    http: httpx.Client


@pytest.fixture(scope="module")
def target(dev_address: str) -> Iterator[Target]:
    """Serve a gateway beside the test's thread, in which hypothesis runs."""
    up, stop = threading.Event(), asyncio.Event()
    found: dict[str, Any] = {}

    async def serve() -> None:
        client = await Client.connect(dev_address)
        found["loop"] = asyncio.get_running_loop()
        made = GatewaySettings("127.0.0.1:0", "127.0.0.1:0", "nobody", wait_limit=timedelta(seconds=0.2))
        async with gateway(client, made, Registry(*EVERYTHING)) as served:
            found["served"] = served
            up.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert up.wait(60)
    with grpc.insecure_channel(found["served"].grpc) as channel, httpx.Client(timeout=30) as http:
        http.base_url = found["served"].http
        yield Target(channel, http)
    found["loop"].call_soon_threadsafe(stop.set)
    thread.join(30)


NASTY = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        [
            "",
            "none",
            "..",
            "../../etc/passwd",
            "~",
            "~2",
            "~2e~2e",
            "~FF",
            "%2e%2e",
            "%00",
            "%C3",
            "a" * 1100,
            "~41",
            "' OR ''='",
            "x'; --",
            "\x00",
            "operations",
            "counterstep-tombstone:x",
            "\u202e",
            "a\nb",
            "{}",
        ]
    ),
)
NAMES = st.one_of(
    NASTY,
    NASTY.map(lambda id: f"operations/{id}"),
    st.tuples(NASTY, NASTY).map(lambda both: f"{both[0]}/operations/{both[1]}"),
)
WORDS = [
    "done",
    "state",
    "definition",
    "=",
    "!=",
    ":",
    "true",
    "false",
    "held",
    "AND",
    "OR",
    "NOT",
    "-",
    "(",
    ")",
    '"',
]
FILTERS = st.one_of(
    NASTY,
    st.lists(st.sampled_from([*WORDS, "'", "\\", "*", "x@^1"]), max_size=12).map(" ".join),
    NASTY.map(lambda text: f'definition="{text}"'),
    NASTY.map(lambda text: f"definition='{text}*' AND done=false"),
)
TOKENS = st.one_of(NASTY, st.binary(max_size=80).map(lambda data: data.hex()))
DURATIONS = st.builds(
    Duration, seconds=st.integers(-(2**63), 2**63 - 1), nanos=st.integers(-(2**31), 2**31 - 1)
)
REQUESTS = st.one_of(
    st.tuples(st.just("GetOperation"), st.builds(GetOperationRequest, name=NAMES)),
    st.tuples(st.just("CancelOperation"), st.builds(CancelOperationRequest, name=NAMES)),
    st.tuples(st.just("DeleteOperation"), st.builds(DeleteOperationRequest, name=NAMES)),
    st.tuples(
        st.just("WaitOperation"), st.builds(WaitOperationRequest, name=NAMES, timeout=st.none() | DURATIONS)
    ),
    st.tuples(
        st.just("ListOperations"),
        st.builds(
            ListOperationsRequest,
            name=NAMES | st.just("operations"),
            filter=FILTERS,
            page_size=st.integers(-(2**31), 2**31 - 1),
            page_token=TOKENS | st.just(""),
        ),
    ),
).map(lambda both: (both[0], both[1].SerializeToString()))
BYTES = st.tuples(
    st.sampled_from(["GetOperation", "ListOperations", "WaitOperation"]), st.binary(max_size=200)
)
FLOWS = st.sampled_from(["book", "plain", "pair", "saga", "a", "book@^9", "book@x", "none"]) | NASTY
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
HARD = settings(
    max_examples=170,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def one_info(details: list[Any]) -> None:
    """Check that each type of detail comes once, and an ErrorInfo is among them."""
    types = [detail.type_url for detail in details]
    assert len(types) == len(set(types))
    assert sum(detail.Is(ErrorInfo.DESCRIPTOR) for detail in details) == 1


def call(target: Target, method: str, data: bytes) -> str:
    """Send bytes as a request; give the code of the answer."""
    raw = target.channel.unary_unary(SERVICE + method)
    try:
        raw(data, timeout=30)
    except grpc.RpcError as error:
        found: Any = error
        trailers = dict(found.trailing_metadata())
        status = Status.FromString(trailers["grpc-status-details-bin"])
        one_info(list(status.details))
        assert (status.code, status.message) == (found.code().value[0], found.details())
        return str(found.code().name)
    return "OK"


@HARD
@given(request=REQUESTS | BYTES)
def test_hostile_calls_over_grpc(target: Target, request: tuple[str, bytes]) -> None:
    """P21: Names, filters, tokens, sizes, times, and bytes that are no request: a documented code, and on it goes."""
    assert call(target, *request) in CODES


@HARD
@given(
    method=st.sampled_from(["GET", "POST", "DELETE", "PUT", "PATCH"]),
    name=NAMES,
    verb=st.sampled_from(["", ":wait", ":cancel", ":x", ":"]),
    query=st.dictionaries(
        st.sampled_from(["filter", "pageSize", "pageToken", "x", "$alt"]), NASTY, max_size=2
    ),
    body=st.binary(max_size=50),
)
def test_hostile_calls_over_http(
    target: Target, method: str, name: str, verb: str, query: dict[str, str], body: bytes
) -> None:
    """Methods, paths, queries and bodies: a documented status, JSON with one ErrorInfo."""
    path = f"/v1/{quote(name, safe='/')}{verb}"
    answer = target.http.request(method, path, params=query, content=body)
    checked(answer)


@HARD
@given(flow=FLOWS, request=NASTY, body=st.binary(max_size=50) | JSONS.map(lambda value: dumped(value)))
def test_hostile_starts(target: Target, flow: str, request: str, body: bytes) -> None:
    """Definitions, request ids and inputs: refused with a documented status, or started."""
    path = f"/v1/flows/{quote(flow, safe='')}:run"
    answer = target.http.post(path, params={"requestId": request}, content=body)
    checked(answer)


def dumped(value: Any) -> bytes:
    return json.dumps(value).encode(errors="replace")


def checked(answer: httpx.Response) -> None:
    """Check an answer's status, and that an error says the same in its body."""
    assert answer.status_code in STATUSES, answer.text
    if answer.status_code != 200:
        error = answer.json()["error"]
        types = [detail["@type"] for detail in error["details"]]
        assert error["code"] == answer.status_code
        assert len(types) == len(set(types))
        assert "type.googleapis.com/google.rpc.ErrorInfo" in types


@pytest.mark.parametrize("method", ["GetOperation", "WaitOperation", "CancelOperation", "DeleteOperation"])
def test_a_name_that_is_not_there_is_not_found(target: Target, method: str) -> None:
    """LRO-5: NOT_FOUND wherever a name is used; what can't be a name is INVALID_ARGUMENT."""
    assert (
        call(target, method, GetOperationRequest(name="operations/none").SerializeToString()) == "NOT_FOUND"
    )
    for name in (
        "",
        "none",
        "operations/",
        "operations/a b",
        "operations/%4",
        "operations/%ff",
        "/operations/a",
    ):
        found = call(target, method, GetOperationRequest(name=name).SerializeToString())
        assert (name, found) == (name, "INVALID_ARGUMENT")


def test_what_is_too_large_is_refused(target: Target) -> None:
    """A request of 100 KB is RESOURCE_EXHAUSTED by gRPC itself; a method that isn't there UNIMPLEMENTED."""
    for method, data, expected in (
        ("GetOperation", b"\n" * 100_000, grpc.StatusCode.RESOURCE_EXHAUSTED),
        ("StartOperation", b"", grpc.StatusCode.UNIMPLEMENTED),
    ):
        with pytest.raises(grpc.RpcError) as raised:
            target.channel.unary_unary(SERVICE + method)(data, timeout=30)
        found: Any = raised.value
        assert found.code() == expected
