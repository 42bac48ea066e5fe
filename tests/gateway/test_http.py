"""JSON over HTTP: shapes, paths, browsers, and what stands beside the operations."""

from __future__ import annotations

import re
from typing import Any

import pytest

from counterstep.gateway._openapi import document
from flows._operation_name import operation_name
from tests.gateway.conftest import Gate
from tests.support import World, new_id


async def test_an_error_has_the_shape_of_aip_193(unworked: Gate) -> None:
    """P23: `{"error": {code, status, message, details}}`, with one ErrorInfo; also where there is no such path or method."""
    async with unworked() as served:
        answer = await served.http.get("/v1/operations/none")
        assert answer.json() == {
            "error": {
                "code": 404,
                "status": "NOT_FOUND",
                "message": "there is no operation operations/none; it may have expired",
                "details": [
                    {
                        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                        "reason": "OPERATION_NOT_FOUND",
                        "domain": "counterstep",
                        "metadata": {"operation": "operations/none"},
                    }
                ],
            }
        }
        for method, path in (
            ("GET", "/v2/x"),
            ("PUT", "/v1/operations/x"),
            ("POST", "/v1/operations/x:stop"),
        ):
            answer = await served.http.request(method, path)
            assert (answer.status_code, answer.json()["error"]["status"]) == (404, "NOT_FOUND")


async def test_cancel_takes_an_empty_body(gate: Gate, world: World) -> None:
    """P27: Content type JSON and no body, as Google's client sends it: OK, twice; the flow unwinds."""
    async with gate() as served:
        world.switch("hold-a")
        id = new_id()
        await served.start("book@1.0.0", {"flight": "LH1"}, id)
        await world.until("a", 1)
        name = operation_name(id)
        for _ in range(2):
            answer = await served.http.post(
                f"/v1/{name}:cancel", headers={"content-type": "application/json"}
            )
            assert (answer.status_code, answer.json()) == (200, {})
        done = (await served.http.post(f"/v1/{name}:wait", content=b"")).json()
        assert (done["done"], done["error"]["code"], done["error"]["message"]) == (
            True,
            1,
            "book@1.0.0 was cancelled",
        )
        again = await served.http.post(f"/v1/{name}:cancel", content=b"{}")
        assert again.status_code == 200
        assert (await served.http.get(f"/v1/{name}")).json() == done


async def test_lists_have_parents_and_parameters_in_both_spellings(unworked: Gate) -> None:
    """`pageSize` and `page_size`; under a parent names carry it; what isn't known is refused."""
    async with unworked() as served:
        kind = new_id("kind")
        ids = [new_id() for _ in range(2)]
        for id in ids:
            await served.start(kind, 1, id)
        ask: dict[str, Any] = {"filter": f"definition={kind}", "pageSize": 1, "$alt": "json"}
        while not (page := (await served.http.get("/v1/operations", params=ask)).json())["operations"]:
            pass
        while len(page["operations"]) + ("nextPageToken" in page) != 2:
            page = (await served.http.get("/v1/operations", params=ask)).json()
        assert [one["name"] for one in page["operations"]] == [operation_name(ids[1])]
        ask = {"filter": f"definition={kind}", "page_size": 5}
        page = (await served.http.get("/v1/projects/p/operations", params=ask)).json()
        assert [one["name"] for one in page["operations"]] == [
            f"projects/p/{operation_name(id)}" for id in reversed(ids)
        ]
        for query in ("fliter=done", "pageSize=x", "pageSize=-1", "pageToken=x", "filter=colour=red"):
            answer = await served.http.get(f"/v1/operations?{query}")
            assert (query, answer.status_code) == (query, 400)


async def test_an_operation_may_be_called_operations(unworked: Gate) -> None:
    """The path of the operation `operations` isn't taken for a list."""
    async with unworked() as served:
        assert (await served.http.get("/v1/operations/operations")).status_code in (200, 404)
        await served.start("book@1.0.0", {}, "operations")
        found = (await served.http.get("/v1/operations/operations")).json()
        assert found["name"] == "operations/operations"
        await served.client.get_workflow_handle("operations").terminate()


async def test_web_pages_elsewhere_are_refused(unworked: Gate) -> None:
    """Without tokens: another origin, or another name for this host, is PERMISSION_DENIED; our own is fine."""
    async with unworked() as served:
        port = served.url.rpartition(":")[2]
        cases = [
            ({"origin": "http://evil.example"}, 403),
            ({"origin": "null"}, 403),
            ({"host": f"evil.example:{port}", "origin": f"http://evil.example:{port}"}, 403),
            ({"origin": served.url}, 404),
            ({"host": f"localhost:{port}"}, 404),
        ]
        found = [
            ((await served.http.get("/v1/operations/none", headers=headers)).status_code)
            for headers, _ in cases
        ]
        assert found == [expected for _, expected in cases]


async def test_health_metrics_and_openapi_are_there(unworked: Gate) -> None:
    """/healthz says SERVING; /metrics counts calls by method and code; /openapi.json names every path."""
    async with unworked() as served:
        assert (await served.http.get("/healthz")).json() == {"status": "SERVING"}
        await served.http.get("/v1/operations/none")
        text = (await served.http.get("/metrics")).text
        line = 'counterstep_gateway_calls_total{code="NOT_FOUND",method="get",transport="http"} 1.0'
        assert line in text.splitlines()
        assert (await served.http.get("/openapi.json")).json() == document()


def test_the_openapi_document_is_whole() -> None:
    """Every reference in it is there, every path parameter is declared, every operation id is its own."""
    found = document()
    schemas = found["components"]["schemas"]
    references = re.findall(r"#/components/schemas/(\w+)", str(found))
    assert set(references) <= set(schemas)
    methods = [(path, method) for path, item in found["paths"].items() for method in item.values()]
    for path, method in methods:
        declared = {one["name"] for one in method.get("parameters", []) if one["in"] == "path"}
        assert declared == set(re.findall(r"{(\w+)}", path))
    ids = [method["operationId"] for _, method in methods]
    assert len(ids) == len(set(ids)) == 9


@pytest.mark.parametrize("path", ["/v1/operations", "/v1/operations/none", "/v1/operations/none:wait"])
def test_the_openapi_document_has_what_is_served(path: str) -> None:
    """Its paths are those of docs/gateway.md."""
    assert path.replace("none", "{operation}") in document()["paths"]
