"""Starting flows: looked up and checked here, with the module's own models, before anything starts."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from uuid import uuid4

import pydantic_core
from google.rpc import code_pb2
from pydantic import ValidationError
from temporalio.api.common.v1 import Payload

from activities import CounterstepError, InvalidInput, NotSerializable, Operation, OperationNotFound, Registry
from activities._failure import LOC_LIMIT, cut, reason_of
from activities._json import PAYLOAD_LIMIT, Json, canonical, finite
from activities._wire import json_payload
from counterstep.gateway._errors import GatewayError, invalid
from counterstep.gateway._start_request import Start, already_there
from counterstep.gateway._temporal import Temporal
from flows import InvalidPlan, Saga
from flows._in_time import in_thread
from flows._operation_name import operation_name
from flows._plan_read import checked_plan
from flows._resolved import PLAN

REQUEST_ID_LIMIT = 128
CHECKS = 500
"""Starts that are checked at once, each in a thread of its own; more are RESOURCE_EXHAUSTED."""

_MEMO = "counterstep.request"
_FIELD_LIMIT = 20


@dataclass(frozen=True)
class _Checked:
    """A flow that may start: its exact type, its input as its model writes it."""

    type: str
    input: Json


class Starting:
    """Starts flows."""

    def __init__(self, temporal: Temporal, registry: Registry | None, queue: str) -> None:
        """Take what it works with.

        Args:
            temporal: where flows are started.
            registry: of the modules; without one nothing can be checked, so nothing is started.
            queue: that their workers serve.
        """
        self._temporal = temporal
        self._registry = registry
        self._queue = queue
        self._checking = 0

    async def start(self, definition: str, body: bytes, request_id: str, trace: str | None = None) -> str:
        """Start a flow, unless the same request did already; give its operation's name.

        Args:
            definition: ``id@1.0.0``, ``id@^1``, ``id``, or ``saga`` with a plan as its input.
            body: the input's JSON.
            request_id: the same for every try of one request; may be empty.
            trace: the caller's ``traceparent``.

        Raises:
            GatewayError: INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, UNIMPLEMENTED; nothing is started then.
        """
        if len(request_id) > REQUEST_ID_LIMIT or not request_id.isprintable():
            raise invalid("request_id", f"is at most {REQUEST_ID_LIMIT} printable characters")
        value = _json(body)
        checked = await self._in_time(definition, value)
        digest = sha256(definition.encode() + b"\n" + canonical(value)).hexdigest()
        payload = json_payload(checked.input)
        if len(payload.data) > PAYLOAD_LIMIT:
            raise invalid(
                "input", f"has {len(payload.data)} bytes, {PAYLOAD_LIMIT} can be recorded", "INVALID_INPUT"
            )
        start = Start(
            checked.type,
            _workflow_id(checked.type, request_id),
            self._queue,
            input=await self._encoded(payload),
            memo={_MEMO: json_payload(digest)} if request_id else {},
            once=bool(request_id),
            header={"_tracer-data": json_payload({"traceparent": trace})} if trace else {},
        )
        try:
            await self._temporal.start(start)
        except GatewayError as error:
            if not already_there(error):
                raise
            await self._same(start.id, digest, request_id)
        return operation_name(start.id)

    async def _same(self, workflow_id: str, digest: str, request_id: str) -> None:
        """Make sure that what runs under a request's id is what it asked for (AIP-155)."""
        run = await self._temporal.describe(workflow_id)
        known = run.memo.fields[_MEMO].data if run and _MEMO in run.memo.fields else b""
        if known != pydantic_core.to_json(digest):
            raise GatewayError(
                code_pb2.ALREADY_EXISTS,
                "REQUEST_ID_REUSED",
                "request_id: another flow, or one with another input, was started with it",
                {"request_id": request_id},
            )

    async def _encoded(self, payload: Payload) -> Payload:
        codec = self._temporal.client.data_converter.payload_codec
        return (await codec.encode([payload]))[0] if codec else payload

    async def _in_time(self, definition: str, value: Json) -> _Checked:
        """Check a start where a builder or a model that never comes back holds up nobody else."""
        if self._checking >= CHECKS:
            said = f"{CHECKS} starts are being checked; try again later"
            raise GatewayError(code_pb2.RESOURCE_EXHAUSTED, "TOO_MANY_STARTS", said)
        self._checking += 1
        try:
            return await in_thread(lambda: self._checked(definition, value), definition[:300], _as_it_is)
        except InvalidPlan as error:
            raise _refused(definition[:300], error) from None
        finally:
            self._checking -= 1

    def _checked(self, definition: str, value: Json) -> _Checked:
        if self._registry is None:
            raise GatewayError(
                code_pb2.UNIMPLEMENTED,
                "STARTING_IS_OFF",
                "this gateway knows no flows, so it can't check an input: start it with --module",
            )
        if definition == PLAN:
            return _Checked(PLAN, _plan(value, self._registry))
        flow = _flow(definition, self._registry)
        typed, dumped = _input(flow, value)
        if isinstance(flow, Saga):
            _buildable(flow, typed, self._registry)
        return _Checked(str(flow.definition), dumped)


def _as_it_is(error: BaseException) -> BaseException:
    return error


def _workflow_id(type_: str, request_id: str) -> str:
    if request_id:
        return f"request-{sha256(request_id.encode()).hexdigest()[:32]}"
    return f"{type_.partition('@')[0]}-{uuid4().hex}"


def _json(body: bytes) -> Json:
    try:
        value: Json = pydantic_core.from_json(body or b"{}", allow_inf_nan=False)
    except ValueError as error:
        raise invalid("input", f"isn't JSON: {error}", "INVALID_INPUT") from None
    try:
        finite(value, "input")
    except NotSerializable as error:
        place, _, said = error.message.rpartition(" is ")
        raise invalid(cut(place, LOC_LIMIT), f"is {said}", "INVALID_INPUT") from None
    return value


def _flow(definition: str, registry: Registry) -> Any:
    try:
        flow = registry.retrieve(definition)
    except OperationNotFound as error:
        raise _unknown(definition, error.message) from None
    if isinstance(flow, Operation):
        raise _unknown(definition, f"{flow.definition} is an operation, no flow")
    return flow


def _unknown(definition: str, said: str) -> GatewayError:
    return GatewayError(code_pb2.NOT_FOUND, "FLOW_NOT_FOUND", said, {"definition": definition[:300]})


def _input(flow: Any, value: Json) -> tuple[Any, Json]:
    """Check an input against the flow's model, both ways; what is said of it holds none of its values."""
    what = f"{flow.definition}: input"
    try:
        typed = flow.input.load_value(value, what)
        return typed, flow.input.dump(typed, what)
    except (InvalidInput, NotSerializable) as error:
        fields = tuple(_fields(flow, value)) or (("input", "doesn't fit"),)
        raise GatewayError(
            code_pb2.INVALID_ARGUMENT,
            "INVALID_INPUT",
            cut(error.message, 2000),
            {"flow": str(flow.definition), "field": fields[0][0]},
            fields,
        ) from None


def _fields(flow: Any, value: Json) -> list[tuple[str, str]]:
    try:
        flow.input.adapter.validate_json(pydantic_core.to_json(value))
    except ValidationError as error:
        rows = error.errors(include_url=False, include_context=False)[:_FIELD_LIMIT]
        return [(_path(row["loc"]), reason_of(row)) for row in rows]
    except Exception:
        return []
    return []


def _path(loc: tuple[int | str, ...]) -> str:
    return cut(".".join(["input", *map(str, loc)]), LOC_LIMIT)


def _buildable(flow: Saga[Any, Any], typed: Any, registry: Registry) -> None:
    """Build a saga's plan, as the worker will."""
    try:
        flow.plan(typed, registry)
    except CounterstepError as error:
        raise _refused(str(flow.definition), error) from None


def _plan(value: Json, registry: Registry) -> Json:
    try:
        checked_plan(value, registry)
    except InvalidPlan as error:
        raise _refused(PLAN, error) from None
    return value


def _refused(flow: str, error: CounterstepError) -> GatewayError:
    said = cut(error.message, 4000)
    return GatewayError(
        code_pb2.INVALID_ARGUMENT, "INVALID_PLAN", said, {"flow": flow}, (("input", cut(said, 1000)),)
    )
