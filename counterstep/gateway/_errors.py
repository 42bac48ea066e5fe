"""What the gateway refuses, and how it says so: one ``google.rpc.Status`` with one ``ErrorInfo`` (AIP-193)."""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus

from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import code_pb2
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status

from counterstep.serving import StartError

DOMAIN = "counterstep"
SHOWN = 300
"""Characters of a caller's own text that an error repeats."""

HTTP_STATUS: dict[int, HTTPStatus | int] = {
    code_pb2.CANCELLED: 499,
    code_pb2.UNKNOWN: HTTPStatus.INTERNAL_SERVER_ERROR,
    code_pb2.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    code_pb2.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
    code_pb2.NOT_FOUND: HTTPStatus.NOT_FOUND,
    code_pb2.ALREADY_EXISTS: HTTPStatus.CONFLICT,
    code_pb2.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    code_pb2.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    code_pb2.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    code_pb2.FAILED_PRECONDITION: HTTPStatus.BAD_REQUEST,
    code_pb2.ABORTED: HTTPStatus.CONFLICT,
    code_pb2.OUT_OF_RANGE: HTTPStatus.BAD_REQUEST,
    code_pb2.UNIMPLEMENTED: HTTPStatus.NOT_IMPLEMENTED,
    code_pb2.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
    code_pb2.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    code_pb2.DATA_LOSS: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""The HTTP status of each code, as in google/rpc/code.proto."""


class GatewayStartError(StartError):
    """The gateway can't start; the message says why, in words for the person who started it."""


@dataclass(eq=False)
class GatewayError(Exception):
    """A refusal.

    Attributes:
        code: of ``google.rpc.Code``.
        reason: for machines, upper snake case.
        message: for people; it holds nothing of Temporal's own wording.
        metadata: what the message names, for machines.
        fields: of a bad request: path, and what is wrong there.
    """

    code: int
    reason: str
    message: str
    metadata: dict[str, str] = field(default_factory=dict)
    fields: tuple[tuple[str, str], ...] = ()

    def status(self) -> Status:
        """Give it as it goes over the wire."""
        details = [ErrorInfo(reason=self.reason, domain=DOMAIN, metadata=self.metadata)]
        found = Status(code=self.code, message=self.message, details=[packed(info) for info in details])
        if self.fields:
            violations = [
                BadRequest.FieldViolation(field=path, description=said) for path, said in self.fields
            ]
            found.details.append(packed(BadRequest(field_violations=violations)))
        return found


def packed(message: ErrorInfo | BadRequest) -> AnyMessage:
    """Put a detail into an ``Any``."""
    found = AnyMessage()
    found.Pack(message)
    return found


def invalid(field_name: str, said: str, reason: str = "INVALID_FIELD") -> GatewayError:
    """Refuse a request for one of its fields."""
    return GatewayError(
        code_pb2.INVALID_ARGUMENT,
        reason,
        f"{field_name}: {said}",
        {"field": field_name},
        ((field_name, said),),
    )


def not_found(name: str) -> GatewayError:
    """Say that there is no such operation; one that was deleted, or has expired, isn't told from that."""
    shown = name if len(name) <= SHOWN else f"{name[:SHOWN]}…"  # gRPC takes 8 KB of trailers, all in all
    said = f"there is no operation {shown}; it may have expired"
    return GatewayError(code_pb2.NOT_FOUND, "OPERATION_NOT_FOUND", said, {"operation": shown})


def unavailable() -> GatewayError:
    """Say that Temporal doesn't answer; clients may try again."""
    return GatewayError(code_pb2.UNAVAILABLE, "TEMPORAL_UNAVAILABLE", "Temporal doesn't answer; try again")


def gone() -> GatewayError:
    """Say, if only to the metrics, that the caller went away."""
    return GatewayError(code_pb2.CANCELLED, "CLIENT_GONE", "the caller went away")


def internal() -> GatewayError:
    """Say that something broke; what it was stands in the gateway's log."""
    return GatewayError(code_pb2.INTERNAL, "INTERNAL", "the gateway failed; its log says how")
