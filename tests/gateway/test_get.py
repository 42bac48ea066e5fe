"""Get: every way to end, as google.longrunning.Operation shows it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from google.longrunning.operations_pb2 import GetOperationRequest, Operation
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.json_format import MessageToDict
from google.rpc import code_pb2
from google.rpc.error_details_pb2 import ErrorInfo

from flows._operation_name import operation_name
from tests.gateway.conftest import Gate, Served
from tests.support import World, new_id


def json_of(packed: AnyMessage) -> Any:
    """Give what is packed, as JSON, without its type."""
    return MessageToDict(packed).get("value", {})


def info_of(operation: Operation) -> ErrorInfo:
    """Give the one ErrorInfo of an operation's error."""
    found = [detail for detail in operation.error.details if detail.Is(ErrorInfo.DESCRIPTOR)]
    assert len(found) == 1
    info = ErrorInfo()
    found[0].Unpack(info)
    return info


async def get(served: Served, id: str) -> Operation:
    found: Operation = await served.stub.GetOperation(GetOperationRequest(name=operation_name(id)))
    return found


async def ended(served: Served, id: str) -> Operation:
    """Wait until an operation is done, and check that it says exactly one of response and error."""
    while not (operation := await get(served, id)).done:
        await asyncio.sleep(0.05)
    assert operation.HasField("response") != operation.HasField("error")
    assert operation.error.code != code_pb2.OK or operation.HasField("response")
    return operation


async def test_is_there_at_once_without_a_worker(unworked: Gate) -> None:
    """LRO-1: Right after the start, with no worker anywhere: the name, not done, no result, the state."""
    async with unworked() as served:
        id = new_id()
        await served.start("book@1.0.0", {"flight": "LH1"}, id)
        operation = await get(served, id)
        assert (operation.name, operation.done) == (f"operations/{id}", False)
        assert operation.WhichOneof("result") is None
        shown = json_of(operation.metadata)
        assert (shown["flow"], shown["state"]) == ("book@1.0.0", "running")
        assert "finished" not in shown


async def test_a_flow_that_completes_has_its_result_as_response(gate: Gate) -> None:
    """P6, LRO-14: An object is a Struct, nothing is Empty, other JSON a Value; what a double can't hold is text."""
    async with gate() as served:
        book, nothing, plain = new_id("book"), new_id("nothing"), new_id("plain")
        await served.start("book@1.0.0", {"flight": "LH1", "seats": 2}, book)
        await served.start("nothing-comes@1.0.0", 1, nothing)
        await served.start("plain", 7, plain)
        operation = await ended(served, book)
        assert operation.response.type_url == "type.googleapis.com/google.protobuf.Struct"
        assert json_of(operation.response) == {"flight": "LH1", "seats": 2}
        assert json_of(operation.metadata)["state"] == "completed"
        assert (await ended(served, nothing)).response.type_url == "type.googleapis.com/google.protobuf.Empty"
        operation = await ended(served, plain)
        assert operation.response.type_url == "type.googleapis.com/google.protobuf.Value"
        assert json_of(operation.response) == [7, "1152921504606846976"]
        assert json_of(operation.metadata)["flow"] == "plain@2.1.0"


ENDS: list[tuple[str, Any, str, str, str]] = [
    ("refused@1.0.0", "ValueError", "ABORTED", "ROLLED_BACK", "rolled_back"),
    ("refused@1.0.0", "NOT_FOUND", "NOT_FOUND", "ROLLED_BACK", "rolled_back"),
    ("refused@1.0.0", "OK", "ABORTED", "ROLLED_BACK", "rolled_back"),
    ("keeping@1.0.0", "ValueError", "FAILED_PRECONDITION", "KEPT", "kept"),
    ("leaving@1.0.0", 1, "INTERNAL", "STUCK", "stuck"),
    ("late@1.0.0", 1, "DEADLINE_EXCEEDED", "ROLLED_BACK", "rolled_back"),
    ("book@1.0.0", {"seats": 1}, "INVALID_ARGUMENT", "INVALID_INPUT", "refused"),
    ("saga", {"id": "x", "version": "1.0.0", "steps": []}, "INVALID_ARGUMENT", "INVALID_PLAN", "refused"),
    ("unheard-of", 1, "NOT_FOUND", "UNKNOWN_FLOW", "refused"),
]


async def test_a_flow_that_fails_has_the_code_of_its_end(gate: Gate) -> None:
    """P28: The table of docs/gateway.md, with one ErrorInfo each, and the failure's own message."""
    async with gate() as served:
        ids = [new_id(f"end-{number}") for number in range(len(ENDS))]
        for id, (flow, input, *_) in zip(ids, ENDS, strict=True):
            await served.start(flow, input, id)
        for id, (_, _, code, reason, state) in zip(ids, ENDS, strict=True):
            operation = await ended(served, id)
            info = info_of(operation)
            found = (code_pb2.Code.Name(operation.error.code), info.reason)
            assert (*found, json_of(operation.metadata)["state"]) == (code, reason, state)
            assert info.domain == "counterstep"
            assert "Traceback" not in operation.error.message


async def test_a_raised_status_arrives_whole(gate: Gate) -> None:
    """LRO-15: A google.rpc.Status in what an operation raised: the same code, message and details; never code 0."""
    async with gate() as served:
        whole, zero = new_id("whole"), new_id("zero")
        await served.start("refused@1.0.0", "status", whole)
        await served.start("refused@1.0.0", "zero", zero)
        operation = await ended(served, whole)
        assert (operation.error.code, operation.error.message) == (
            code_pb2.FAILED_PRECONDITION,
            "no seats left",
        )
        assert [detail.type_url.rpartition(".")[2] for detail in operation.error.details] == [
            "ErrorInfo",
            "RetryInfo",
        ]
        assert info_of(operation).domain == "trips"
        error = (await ended(served, zero)).error
        assert (error.code, error.message) == (code_pb2.UNKNOWN, "all is well")


async def test_what_temporal_itself_ended_has_a_code_too(unworked: Gate) -> None:
    """Terminated is ABORTED with the reason, timed out DEADLINE_EXCEEDED; both without a worker."""
    async with unworked() as served:
        terminated, late = new_id(), new_id()
        await served.start("book@1.0.0", {}, late, execution_timeout=timedelta(seconds=1))
        handle = await served.start("book@1.0.0", {}, terminated)
        await handle.terminate(reason="wrong flight")
        operation = await ended(served, terminated)
        assert (operation.error.code, info_of(operation).reason) == (code_pb2.ABORTED, "TERMINATED")
        assert operation.error.message == "book@1.0.0 was terminated: wrong flight"
        operation = await ended(served, late)
        assert (operation.error.code, info_of(operation).reason) == (code_pb2.DEADLINE_EXCEEDED, "TIMED_OUT")
        assert json_of(operation.metadata)["state"] == "timed_out"


async def test_shows_what_the_memo_shows(gate: Gate) -> None:
    """A held step shows in the metadata: state and reason, without asking a worker."""
    async with gate() as served:
        id = new_id()
        handle = await served.start("holding@1.0.0", "ValueError", id)
        shown = await until_state(served, id, "held")
        assert shown["reason"].startswith("refusing: ")
        await handle.cancel()
        operation = await ended(served, id)
        assert (operation.error.code, info_of(operation).reason) == (code_pb2.CANCELLED, "CANCELLED")


async def until_state(served: Served, id: str, state: str) -> Any:
    """Wait until an operation's metadata shows a state."""
    while (shown := json_of((await get(served, id)).metadata))["state"] != state:
        await asyncio.sleep(0.05)
    return shown


async def test_a_flow_s_own_metadata_stands_alone(unworked: Gate) -> None:
    """What a long-running operation set under its memo key is its metadata, also as the JSON of a message."""
    async with unworked() as served:
        own, typed, progress = new_id(), new_id(), new_id()
        message = {"@type": "type.googleapis.com/google.protobuf.Duration", "value": "3s"}
        memo: dict[str, Any] = {
            "counterstep.metadata": {"done": 3},
            "counterstep.progress": {"steps_done": 1},
        }
        await served.start("book@1.0.0", {}, own, memo=memo)
        await served.start("book@1.0.0", {}, typed, memo={"counterstep.metadata": message})
        memo = {"counterstep.progress": {"steps_done": 7, "resume_point": "x", "other": 1}}
        await served.start("book@1.0.0", {}, progress, memo=memo)
        assert json_of((await get(served, own)).metadata) == {"done": 3}
        assert MessageToDict((await get(served, typed)).metadata) == message
        shown = json_of((await get(served, progress)).metadata)
        assert (shown["steps_done"], shown["resume_point"], "other" in shown) == (7, "x", False)


async def test_shows_which_steps_are_at_work(gate: Gate, world: World) -> None:
    """The steps that Temporal shows as pending are `current`; when it is done none is."""
    async with gate() as served:
        world.switch("hold-a")
        id = new_id()
        await served.start("book@1.0.0", {"flight": "LH1"}, id)
        await world.until("a", 1)
        assert json_of((await get(served, id)).metadata)["current"] == ["a"]
        world.switch("go-a")
        assert json_of((await ended(served, id)).metadata)["current"] == []


async def test_names_with_any_character_come_back(unworked: Gate) -> None:
    """A workflow id with slashes, colons and umlauts has a name that works, over gRPC and HTTP, under any parent."""
    async with unworked() as served:
        id = new_id("a/b:cancel ü~%20.")
        await served.start("book@1.0.0", {}, id)
        name = operation_name(id)
        assert name.startswith("operations/a%2Fb%3Acancel%20%C3%BC~%2520.")
        for asked in (name, f"projects/p/locations/l/{name}"):
            found = await served.stub.GetOperation(GetOperationRequest(name=asked))
            assert found.name == asked
            assert (await served.http.get(f"/v1/{asked}")).json()["name"] == asked
        loose = f"operations/{name.removeprefix('operations/').replace('%3A', ':')}"
        assert (await served.stub.GetOperation(GetOperationRequest(name=loose))).name == name


async def test_an_encoded_verb_is_no_verb(unworked: Gate) -> None:
    """Posting to the operation `x:cancel` doesn't cancel `x`."""
    async with unworked() as served:
        id = new_id()
        await served.start("book@1.0.0", {}, id)
        for name, status in ((f"{id}:cancel", 404), (id, 200)):
            answer = await served.http.post(f"/v1/{operation_name(name)}:cancel")
            assert answer.status_code == status
        assert (await served.http.post(f"/v1/{operation_name(f'{id}:cancel')}")).status_code == 404
