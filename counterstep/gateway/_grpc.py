"""``google.longrunning.Operations`` over gRPC, with health and reflection."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any, cast

import grpc
from google.longrunning import operations_pb2
from google.longrunning.operations_pb2 import (
    CancelOperationRequest,
    DeleteOperationRequest,
    GetOperationRequest,
    ListOperationsRequest,
    WaitOperationRequest,
)
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError, Message
from google.rpc.code_pb2 import Code
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from counterstep.gateway._access import Caller, Permission
from counterstep.gateway._calls import Calls
from counterstep.gateway._errors import GatewayError, invalid
from counterstep.gateway._operations import Operations

SERVICE = operations_pb2.DESCRIPTOR.services_by_name["Operations"].full_name
REQUEST_LIMIT = 64 * 1024
"""Bytes of a request; the longest legal one has a fifth of it."""

OTHER_CALLS = 1000
"""Calls at once beside the open waits; more are RESOURCE_EXHAUSTED."""

ANSWER_LIMIT = 16 * 1024 * 1024
MARGIN = 0.25
"""Seconds before the caller's deadline at which a wait answers."""

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_OPTIONS = [
    ("grpc.max_receive_message_length", REQUEST_LIMIT),
    ("grpc.max_send_message_length", ANSWER_LIMIT),
    ("grpc.so_reuseport", 0),  # a port that somebody has is an error, not shared
]

Context = grpc.aio.ServicerContext[Any, Any]


class OperationsService:
    """The service's five methods."""

    def __init__(self, operations: Operations, calls: Calls, wait_limit: float) -> None:
        """Take what does the work.

        Args:
            operations: the methods themselves.
            calls: permission, metrics, errors.
            wait_limit: seconds that a wait may take.
        """
        self._operations = operations
        self._calls = calls
        self._wait_limit = wait_limit

    def handler(self) -> grpc.GenericRpcHandler:
        """Give it for a server."""
        read, cancel = Permission.READ, Permission.CANCEL
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "GetOperation": self._method(GetOperationRequest, read, self._get),
                "WaitOperation": self._method(WaitOperationRequest, read, self._wait),
                "ListOperations": self._method(ListOperationsRequest, read, self._list),
                "CancelOperation": self._method(CancelOperationRequest, cancel, self._cancel),
                "DeleteOperation": self._method(DeleteOperationRequest, cancel, self._delete),
            },
        )

    async def _get(self, request: GetOperationRequest, context: Context) -> Message:
        return await self._operations.get(request.name)

    async def _wait(self, request: WaitOperationRequest, context: Context) -> Message:
        remaining = cast("float | None", context.time_remaining())  # none without a deadline
        within = math.inf if remaining is None else remaining - MARGIN
        limit = min(self._wait_limit, seconds_of(request))
        return await self._operations.wait(request.name, limit, within)

    async def _list(self, request: ListOperationsRequest, context: Context) -> Message:
        return await self._operations.list(request)

    async def _cancel(self, request: CancelOperationRequest, context: Context) -> Message:
        await self._operations.cancel(request.name)
        return Empty()

    async def _delete(self, request: DeleteOperationRequest, context: Context) -> Message:
        await self._operations.delete(request.name)
        return Empty()

    def _method(
        self, kind: type[Any], needed: Permission, work: Callable[[Any, Context], Awaitable[Message]]
    ) -> grpc.RpcMethodHandler[Any, Any]:
        name = work.__name__.removeprefix("_")

        async def call(data: bytes, context: Context) -> Message:
            try:
                return await self._calls.run(
                    name, needed, _caller(context), lambda: work(_request(kind, data), context)
                )
            except GatewayError as error:
                return await _abort(context, error)

        # requests are read in the call, so that one that can't be read is refused like any other
        return grpc.unary_unary_rpc_method_handler(call, response_serializer=_dumped)


def _caller(context: Context) -> Caller:
    authorization = dict(context.invocation_metadata() or ()).get("authorization")
    names = list(context.auth_context().get("x509_common_name", ()))
    return Caller(_text(authorization), names[0].decode(errors="replace") if names else None)


def seconds_of(request: WaitOperationRequest) -> float:
    """Give how long a caller wants to wait; for ever, if it doesn't say.

    Raises:
        GatewayError: INVALID_ARGUMENT, when it is negative.
    """
    if not request.HasField("timeout"):
        return float("inf")
    if request.timeout.seconds < 0 or request.timeout.nanos < 0:
        raise invalid("timeout", "must not be negative")
    return float(request.timeout.seconds) + float(request.timeout.nanos) / 1e9


def make_server(
    service: OperationsService, open_waits: int
) -> tuple[grpc.aio.Server, health.aio.HealthServicer]:
    """Make a server with the service, health and reflection; give its health, to be kept up to date."""
    server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=open_waits + OTHER_CALLS)
    server.add_generic_rpc_handlers((service.handler(),))
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    return server, servicer


async def set_health(servicer: health.aio.HealthServicer, *, serving: bool) -> None:
    """Say whether the service can do its work."""
    word = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
    for name in ("", SERVICE):
        await servicer.set(name, word)


def _request(kind: type[Any], data: bytes) -> Any:
    try:
        return kind.FromString(data)
    except DecodeError:
        raise invalid("request", f"isn't a {kind.__name__}", "INVALID_REQUEST") from None


def _dumped(message: Message) -> bytes:
    return message.SerializeToString()


def _text(value: str | bytes | None) -> str | None:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


async def _abort(context: Context, error: GatewayError) -> Message:
    status = error.status()
    details = (("grpc-status-details-bin", status.SerializeToString()),)
    await context.abort(_CODES[error.code], error.message, details)
    raise AssertionError(Code.Name(error.code))  # abort has raised
