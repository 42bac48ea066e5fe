"""The OpenAPI document of the HTTP side."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

_STRING: Json = {"type": "string"}
_ANY: Json = {
    "type": "object",
    "description": "A protobuf message by its type: JSON objects are google.protobuf.Struct, other JSON is Value.",
    "properties": {"@type": _STRING},
    "required": ["@type"],
    "additionalProperties": True,
}


def document() -> Json:
    """Give it, for OpenAPI 3.1."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Counterstep gateway",
            "version": "1",
            "description": "Flows on Temporal as google.longrunning.Operations.",
        },
        "paths": _paths(),
        "components": {
            "schemas": {
                "Operation": _operation(),
                "Status": _object({"code": {"type": "integer"}, "message": _STRING, "details": _list(_ANY)}),
                "Operations": _object(
                    {"operations": _list(_ref("Operation")), "nextPageToken": _STRING}, "operations"
                ),
                "Health": _object({"status": {"enum": ["SERVING", "NOT_SERVING"]}}, "status"),
                "Error": _object({"error": _error()}, "error"),
            },
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"bearer": []}],
    }


def _paths() -> Json:
    """List the paths. Each with ``operations`` also takes a parent in front: ``/v1/projects/p/operations``."""
    one, operation = [_path("operation", "its ID: the workflow id, URL-safe")], _ref("Operation")
    return {
        "/v1/operations": {"get": _method("listOperations", _ref("Operations"), _list_query())},
        "/v1/operations/{operation}": {
            "get": _method("getOperation", operation, one),
            "delete": _method("deleteOperation", _object({}), one),
        },
        "/v1/operations/{operation}:wait": {
            "post": _method("waitOperation", operation, one, _object({"timeout": _STRING}))
        },
        "/v1/operations/{operation}:cancel": {"post": _method("cancelOperation", _object({}), one)},
        "/v1/flows/{definition}:run": {"post": _method("runFlow", operation, _run_query(), {})},
        "/healthz": {"get": _health()},
        "/metrics": {"get": _text("metrics", "text/plain")},
        "/openapi.json": {"get": _text("openApi", "application/json")},
    }


def _list_query() -> list[Json]:
    size = {"type": "integer", "minimum": 0}
    return [
        _query(
            "filter", _STRING, 'AIP-160: done, state, definition, e.g. done=false AND definition="book-trip"'
        ),
        _query("pageSize", size, "at most as many; 0 lets the gateway choose"),
        _query("pageToken", _STRING, "nextPageToken of the page before, with the same filter"),
    ]


def _run_query() -> list[Json]:
    definition = _path("definition", "id@1.0.0, id@^1, id, or saga with a plan as the body")
    request = _query("requestId", _STRING, "the same for every try of one request: it starts once (AIP-155)")
    return [definition, request]


def _operation() -> Json:
    properties: Json = {"name": _STRING, "metadata": _ANY, "done": {"type": "boolean"}}
    return _object(properties | {"response": _ANY, "error": _ref("Status")}, "name", "done")


def _error() -> Json:
    http = {"type": "integer", "description": "the HTTP status"}
    name = {"type": "string", "description": "name of the google.rpc.Code"}
    properties = {"code": http, "message": _STRING, "status": name, "details": _list(_ANY)}
    return _object(properties, "code", "message", "status", "details")


def _health() -> Json:
    answers = {"200": _answer("Temporal answers", _ref("Health"))}
    return {
        "operationId": "health",
        "responses": answers | {"503": _answer("Temporal doesn't", _ref("Health"))},
        "security": [{}],
    }


def _text(name: str, media: str) -> Json:
    return {
        "operationId": name,
        "responses": {"200": {"description": "OK", "content": {media: {}}}, "default": _failed()},
    }


def _method(name: str, answer: Json, parameters: list[Json], body: Json | None = None) -> Json:
    found: Json = {
        "operationId": name,
        "parameters": parameters,
        "responses": {"200": _answer("OK", answer), "default": _failed()},
    }
    if body is not None:
        found["requestBody"] = {"content": {"application/json": {"schema": body}}}
    return found


def _failed() -> Json:
    return _answer("refused: AIP-193", _ref("Error"))


def _answer(description: str, schema: Json) -> Json:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _path(name: str, description: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": _STRING, "description": description}


def _query(name: str, schema: Json, description: str) -> Json:
    return {"name": name, "in": "query", "schema": schema, "description": description}


def _object(properties: Json, *required: str) -> Json:
    return {"type": "object", "properties": properties} | ({"required": list(required)} if required else {})


def _list(items: Json) -> Json:
    return {"type": "array", "items": items}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}
