"""Answers over HTTP: the JSON of protobuf messages, and errors in the shape of AIP-193."""

from __future__ import annotations

from typing import Any

from google.longrunning.operations_pb2 import ListOperationsResponse, Operation
from google.rpc import code_pb2
from google.rpc.status_pb2 import Status

from counterstep.gateway._errors import HTTP_STATUS, GatewayError
from counterstep.gateway._packing import as_json


def operation_json(operation: Operation) -> dict[str, Any]:
    """Give an operation as JSON, whatever messages are packed in it."""
    found: dict[str, Any] = {"name": operation.name, "metadata": as_json(operation.metadata)}
    found["done"] = operation.done
    if operation.HasField("response"):
        found["response"] = as_json(operation.response)
    if operation.HasField("error"):
        found["error"] = _status_json(operation.error)
    return found


def list_json(page: ListOperationsResponse) -> dict[str, Any]:
    """Give a page as JSON."""
    found: dict[str, Any] = {"operations": [operation_json(operation) for operation in page.operations]}
    return found | ({"nextPageToken": page.next_page_token} if page.next_page_token else {})


def error_json(error: GatewayError) -> tuple[int, dict[str, Any]]:
    """Give an error's HTTP status and body."""
    status, http = error.status(), int(HTTP_STATUS[error.code])
    body = _status_json(status) | {"code": http, "status": code_pb2.Code.Name(status.code)}
    return http, {"error": body}


def _status_json(status: Status) -> dict[str, Any]:
    return {
        "code": status.code,
        "message": status.message,
        "details": [as_json(detail) for detail in status.details],
    }
