"""How an operation failed: Temporal's closing event as ``google.rpc.Status``.

Mostly the end of the run decides: rolled back is ABORTED, and so on. An operation may say more: a ``google.rpc.Status`` in the
details of what it raised arrives whole, and an ``ApplicationError`` whose type is the name of a code has that code. Only
``Stuck`` outranks both, since something is left in the world that somebody must look at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pydantic_core
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from google.rpc import code_pb2
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent

from activities._failure import cut
from counterstep.gateway._errors import DOMAIN
from counterstep.gateway._packing import any_of, pack

CODES: dict[str, int] = {
    "RolledBack": code_pb2.ABORTED,
    "Kept": code_pb2.FAILED_PRECONDITION,
    "Stuck": code_pb2.INTERNAL,
    "InvalidInput": code_pb2.INVALID_ARGUMENT,
    "InvalidPlan": code_pb2.INVALID_ARGUMENT,
    "UnknownFlow": code_pb2.NOT_FOUND,
    "ResetAfterUndo": code_pb2.FAILED_PRECONDITION,
    "DeadlineExceeded": code_pb2.DEADLINE_EXCEEDED,
    "WaitDeadlineExceeded": code_pb2.DEADLINE_EXCEEDED,
}
"""Codes of the ends, by the failure's type; the table of ``docs/gateway.md``."""

STATES = {
    "RolledBack": "rolled_back",
    "Kept": "kept",
    "Stuck": "stuck",
    "InvalidInput": "refused",
    "InvalidPlan": "refused",
    "UnknownFlow": "refused",
    "ResetAfterUndo": "refused",
}
"""States of the ends, by the failure's type."""

_ENDS = ("RolledBack", "Kept")
_DEADLINES = ("DeadlineExceeded", "WaitDeadlineExceeded")
_NAMED = {name: code for name, code in code_pb2.Code.items() if code != code_pb2.OK}
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def closed_state(event: HistoryEvent, digest: Any = None) -> str:
    """Name the state of a run by the event that closed it.

    Args:
        event: that closed it.
        digest: its memo: a run may complete although an inner flow left something that isn't undone.
    """
    kind = EventType.Name(event.event_type).removeprefix("EVENT_TYPE_WORKFLOW_EXECUTION_")
    if kind == "FAILED":
        return STATES.get(_type(event.workflow_execution_failed_event_attributes.failure), "failed")
    if kind == "COMPLETED" and isinstance(digest, dict) and digest.get("state") == "stuck":
        return "stuck"
    return {"CANCELED": "cancelled"}.get(kind, kind.lower())


def error_of(event: HistoryEvent, flow: str) -> Status:
    """Say why a run ended without a result.

    Args:
        event: that closed it; of a failure, with its codec undone.
        flow: its workflow type.
    """
    if event.HasField("workflow_execution_failed_event_attributes"):
        return _failed(event.workflow_execution_failed_event_attributes.failure, flow)
    if event.HasField("workflow_execution_canceled_event_attributes"):
        return _status(code_pb2.CANCELLED, f"{flow} was cancelled", "CANCELLED", flow)
    if event.HasField("workflow_execution_terminated_event_attributes"):
        why = event.workflow_execution_terminated_event_attributes.reason
        return _status(
            code_pb2.ABORTED, f"{flow} was terminated{f': {why}' if why else ''}", "TERMINATED", flow
        )
    return _status(code_pb2.DEADLINE_EXCEEDED, f"{flow} took longer than it was given", "TIMED_OUT", flow)


def chain(failure: Failure) -> Iterator[Failure]:
    """Walk from a failure to its root."""
    yield failure
    while failure.HasField("cause"):
        failure = failure.cause
        yield failure


def _failed(failure: Failure, flow: str) -> Status:
    kind, causes = _type(failure), list(chain(failure))
    raised = None if kind == "Stuck" else next(filter(None, map(_raised, causes)), None)
    if raised is not None:
        return raised
    return _status(_code(kind, causes), failure.message, _WORD.sub("_", kind or "Failed").upper(), flow)


def _code(kind: str, causes: list[Failure]) -> int:
    if kind == "Stuck":
        return CODES[kind]
    named = next((_NAMED[_type(cause)] for cause in causes if _type(cause) in _NAMED), None)
    if named is not None:
        return named
    if kind in _ENDS and len(causes) > 1 and _type(causes[1]) in _DEADLINES:
        return code_pb2.DEADLINE_EXCEEDED
    return CODES.get(kind, code_pb2.UNKNOWN)


def _type(failure: Failure) -> str:
    return failure.application_failure_info.type


def _raised(failure: Failure) -> Status | None:
    """Give the ``google.rpc.Status`` that somebody raised, if it is the first of the failure's details."""
    payloads = failure.application_failure_info.details.payloads
    if not payloads or payloads[0].metadata.get("messageType") != b"google.rpc.Status":
        return None
    status = _read(payloads[0])
    if status is not None and status.code not in code_pb2.Code.values():
        status.code = code_pb2.UNKNOWN
    if status is not None and status.code == code_pb2.OK:
        status.code = code_pb2.UNKNOWN  # an error is never OK
    return status


def _read(payload: Payload) -> Status | None:
    if payload.metadata.get("encoding") == b"binary/protobuf":
        try:
            return Status.FromString(payload.data)
        except DecodeError:
            return None
    try:
        return _from_json(pydantic_core.from_json(payload.data))
    except (ValueError, AttributeError, TypeError, json_format.ParseError):
        return None


def _from_json(value: dict[str, Any]) -> Status:
    """Read it detail by detail: one of a type that isn't known here doesn't take the others along."""
    details = value.pop("details", [])
    status = json_format.ParseDict(value, Status())
    for detail in details:
        packed = any_of(detail)
        if packed is not None:
            status.details.append(packed)
    return status


def _status(code: int, message: str, reason: str, flow: str) -> Status:
    info = ErrorInfo(reason=re.sub(r"[^A-Z0-9_]", "_", reason)[:63], domain=DOMAIN, metadata={"flow": flow})
    return Status(code=code, message=cut(message), details=[pack(info)])
