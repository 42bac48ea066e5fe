"""Starting flows over HTTP: checked before anything starts, and once however often it is asked for."""

from __future__ import annotations

import asyncio
import json
import threading
from datetime import timedelta
from typing import Any

import httpx
import pytest

from activities import Registry
from counterstep.gateway import _starting
from flows import Dag, _in_time, saga
from tests.gateway.conftest import Gate, Served, facing
from tests.gateway.flows import EVERYTHING, Lossy, pair
from tests.support import World, new_id


async def run(served: Served, definition: str, body: Any, **query: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": "application/json"}
    return await served.http.post(
        f"/v1/flows/{definition}:run", content=content, headers=headers, params=query
    )


def error_of(answer: httpx.Response) -> tuple[int, str, str]:
    """Give status, code and reason of an error."""
    error = answer.json()["error"]
    infos = [detail for detail in error["details"] if detail["@type"].endswith("google.rpc.ErrorInfo")]
    assert (len(infos), error["code"]) == (1, answer.status_code)
    return answer.status_code, error["status"], infos[0]["reason"]


async def test_a_started_flow_is_an_operation(gate: Gate, world: World) -> None:
    """By exact type, range, id; a saga, a plan: the answer is the operation, which ends with the flow's result."""
    async with gate() as served:
        plan = pair.plan(4).to_json()
        cases = [
            ("book@1.0.0", {"flight": "LH1"}, {"flight": "LH1", "seats": 1}),
            ("book@^1", {"flight": "LH2", "seats": 2}, {"flight": "LH2", "seats": 2}),
            ("plain", 3, [3, "1152921504606846976"]),
            ("pair", 4, 16),
            ("saga", plan, 16),
        ]
        for definition, body, expected in cases:
            answer = await run(served, definition, body)
            assert answer.status_code == 200, answer.text
            waited = await served.http.post(f"/v1/{answer.json()['name']}:wait", json={"timeout": "30s"})
            assert waited.json()["response"]["value"] == expected


async def test_one_request_starts_one_flow(gate: Gate, world: World) -> None:
    """Five at once with one request id, and one after the end: one name, one run; another input is ALREADY_EXISTS."""
    async with gate() as served:
        request = new_id("request")
        ask = {"flight": "LH1", "seats": 5}
        answers = await asyncio.gather(*(run(served, "book", ask, requestId=request) for _ in range(5)))
        assert [answer.status_code for answer in answers] == [200] * 5
        (name,) = {answer.json()["name"] for answer in answers}
        await served.http.post(f"/v1/{name}:wait", json={})
        again = await run(served, "book", {"seats": 5, "flight": "LH1"}, request_id=request)
        assert (again.json()["name"], again.json()["done"]) == (name, True)
        assert world.calls == [("a", 5)]
        for definition, body in (("book", {"flight": "LH2"}), ("plain", 1)):
            answer = await run(served, definition, body, requestId=request)
            assert error_of(answer) == (409, "ALREADY_EXISTS", "REQUEST_ID_REUSED")


@pytest.mark.parametrize(
    ("definition", "body", "expected", "field"),
    [
        ("book", {"seats": 1}, (400, "INVALID_ARGUMENT", "INVALID_INPUT"), "input.flight"),
        (
            "book",
            {"flight": "LH1", "seats": "two"},
            (400, "INVALID_ARGUMENT", "INVALID_INPUT"),
            "input.seats",
        ),
        ("book", b"", (400, "INVALID_ARGUMENT", "INVALID_INPUT"), "input.flight"),
        ("book", b"{nonsense", (400, "INVALID_ARGUMENT", "INVALID_INPUT"), "input"),
        ("book", b"\xff\xfe", (400, "INVALID_ARGUMENT", "INVALID_INPUT"), "input"),
        (
            "book",
            b'{"flight": "x", "seats": [1e400]}',
            (400, "INVALID_ARGUMENT", "INVALID_INPUT"),
            "input.seats.0",
        ),
        ("lossy", {}, (400, "INVALID_ARGUMENT", "INVALID_INPUT"), "input"),
        ("plain", b"NaN", (400, "INVALID_ARGUMENT", "INVALID_INPUT"), "input"),
        ("plain", "secret words", (400, "INVALID_ARGUMENT", "INVALID_INPUT"), "input"),
        ("book", {"flight": "x" * 2_050_000}, (400, "INVALID_ARGUMENT", "INVALID_INPUT"), "input"),
        ("plain", b"1" * (2**21 + 1), (400, "INVALID_ARGUMENT", "REQUEST_TOO_LARGE"), "body"),
        ("saga", {"id": "x", "steps": []}, (400, "INVALID_ARGUMENT", "INVALID_PLAN"), "input"),
        ("boko", {}, (404, "NOT_FOUND", "FLOW_NOT_FOUND"), None),
        ("book@^7", {}, (404, "NOT_FOUND", "FLOW_NOT_FOUND"), None),
        ("book@what", {}, (404, "NOT_FOUND", "FLOW_NOT_FOUND"), None),
        ("a", 1, (404, "NOT_FOUND", "FLOW_NOT_FOUND"), None),
    ],
    ids=lambda value: str(value)[:20],
)
async def test_what_can_t_start_is_refused_with_the_field(
    unworked: Gate, definition: str, body: Any, expected: tuple[int, str, str], field: str | None
) -> None:
    """P7: INVALID_ARGUMENT naming the field, NOT_FOUND naming near flows; no value is repeated, nothing is started."""
    async with (
        unworked() as known,
        facing(known.client, known.task_queue, Registry(*EVERYTHING, Lossy)) as served,
    ):
        request = new_id("request")
        answer = await run(served, definition, body, requestId=request)
        assert error_of(answer) == expected
        assert "secret" not in answer.text
        bad = [d for d in answer.json()["error"]["details"] if d["@type"].endswith("google.rpc.BadRequest")]
        assert [detail["fieldViolations"][0]["field"] for detail in bad] == ([field] if field else [])
        # nothing stands under the request's id: a good request can still have it
        assert (await run(served, "plain", 1, requestId=request)).status_code == 200


async def test_a_builder_that_never_comes_back_holds_up_nobody(
    unworked: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty starts of it wait for their limit; beside them others start at once, as many as are checked at once."""
    monkeypatch.setattr(_in_time, "LIMIT", timedelta(seconds=3))
    monkeypatch.setattr(_starting, "CHECKS", 41)
    free = threading.Event()

    @saga(id="endless", version="1.0.0")
    def endless(dag: Dag, params: int) -> None:
        free.wait(60)

    async with (
        unworked() as known,
        facing(known.client, known.task_queue, Registry(*EVERYTHING, endless)) as served,
    ):
        try:
            waiting = [asyncio.ensure_future(run(served, "endless", 1)) for _ in range(40)]
            await asyncio.sleep(0.5)
            beside = await asyncio.wait_for(run(served, "plain", 1), 2)
            waiting.append(asyncio.ensure_future(run(served, "endless", 1)))
            await asyncio.sleep(0.2)
            refused = await run(served, "plain", 1)
            answers = await asyncio.gather(*waiting)
        finally:
            free.set()
    assert (beside.status_code, error_of(refused)) == (200, (429, "RESOURCE_EXHAUSTED", "TOO_MANY_STARTS"))
    assert {error_of(answer) for answer in answers} == {(400, "INVALID_ARGUMENT", "INVALID_PLAN")}


async def test_without_a_module_starting_is_off(unworked: Gate, task_queue: str) -> None:
    """UNIMPLEMENTED, saying what to do."""
    async with unworked() as known, facing(known.client, task_queue) as served:
        answer = await run(served, "book", {"flight": "LH1"})
        assert error_of(answer) == (501, "UNIMPLEMENTED", "STARTING_IS_OFF")
        assert "start it with --module" in answer.json()["error"]["message"]


async def test_a_plan_whose_operations_are_unknown_is_refused(unworked: Gate, task_queue: str) -> None:
    """A saga that the module offers without one of its operations: INVALID_PLAN, naming step and operation."""
    async with unworked() as known, facing(known.client, task_queue, Registry(pair)) as served:
        answer = await run(served, "pair", 1)
        assert error_of(answer) == (400, "INVALID_ARGUMENT", "INVALID_PLAN")
        assert "a: operation: a@1.0.0 isn't registered" in answer.json()["error"]["message"]


async def test_the_caller_s_trace_is_handed_on(unworked: Gate) -> None:
    """A `traceparent` stands in the run's headers, where the Temporal CLI's `--headers` puts it; nonsense doesn't."""
    async with unworked() as served:
        parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        found = []
        for sent in (parent, "nonsense"):
            answer = await served.http.post(
                "/v1/flows/plain:run", content=b"1", headers={"traceparent": sent}
            )
            handle = served.client.get_workflow_handle(answer.json()["name"].removeprefix("operations/"))
            event = (await handle.fetch_history()).events[0].workflow_execution_started_event_attributes
            found.append({key: json.loads(value.data) for key, value in event.header.fields.items()})
        assert found == [{"_tracer-data": {"traceparent": parent}}, {}]
