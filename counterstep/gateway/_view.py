"""A run as a ``google.longrunning.Operation``: what Temporal knows of it without a worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pydantic_core
from google.longrunning.operations_pb2 import Operation
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.empty_pb2 import Empty
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent

from counterstep.gateway._errors import internal
from counterstep.gateway._failures import chain, closed_state, error_of
from counterstep.gateway._filter import Facts
from counterstep.gateway._names import full_name
from counterstep.gateway._packing import pack, pack_json, pack_payload
from counterstep.gateway._states import OPEN
from counterstep.gateway._temporal import Run, Temporal
from flows._metadata import METADATA, PROGRESS, FlowMetadata
from flows._status import MEMO

UNREADABLE = "the failure can't be read here: the gateway lacks its codec (--module)"
_FROM_MEMO = ("reason", "not_undone")


@dataclass(frozen=True)
class View:
    """An operation, and what filters look at."""

    operation: Operation
    facts: Facts


async def view(temporal: Temporal, run: Run, closing: HistoryEvent | None, parent: str = "") -> View:
    """Show a run as an operation.

    Args:
        temporal: undoes the module's codec.
        run: as it was described.
        closing: the event that closed it; none while it is open.
        parent: what stands before its name.
    """
    digest = await _memo(temporal, run, MEMO)
    state = closed_state(closing, digest) if closing is not None else _open_state(digest)
    operation = Operation(name=full_name(run.workflow_id, parent), done=closing is not None)
    operation.metadata.CopyFrom(await _metadata(temporal, run, state, digest))
    if closing is not None:
        await _end(temporal, operation, closing, run.type)
    return View(operation, Facts(closing is not None, state, run.type))


def unreadable(run: Run, parent: str = "") -> View:
    """Show of a run what needs no reading: its name, and how Temporal says that it ended."""
    operation = Operation(name=full_name(run.workflow_id, parent), done=not run.open)
    if operation.done:
        operation.error.CopyFrom(internal().status())
    return View(operation, Facts(operation.done, OPEN[0] if run.open else run.end, run.type))


async def _end(temporal: Temporal, operation: Operation, closing: HistoryEvent, flow: str) -> None:
    """Fill in the response, or the error: exactly one of them."""
    if closing.HasField("workflow_execution_completed_event_attributes"):
        operation.response.CopyFrom(await _response(temporal, closing))
        return
    if closing.HasField("workflow_execution_failed_event_attributes"):
        closing = await _readable(temporal, closing)
    operation.error.CopyFrom(error_of(closing, flow))


async def _response(temporal: Temporal, closing: HistoryEvent) -> AnyMessage:
    payloads = closing.workflow_execution_completed_event_attributes.result.payloads
    return pack_payload(await temporal.decoded(payloads[0])) if payloads else pack(Empty())


async def _readable(temporal: Temporal, closing: HistoryEvent) -> HistoryEvent:
    """Undo the codec in a failure, and put messages that it encoded back in their place."""
    event = HistoryEvent()
    event.CopyFrom(closing)
    for failure in chain(event.workflow_execution_failed_event_attributes.failure):
        await _decode(temporal, failure)
    return event


async def _decode(temporal: Temporal, failure: Failure) -> None:
    details = failure.application_failure_info.details.payloads
    for index, payload in enumerate(details):
        details[index].CopyFrom(await temporal.decoded(payload))
    if failure.HasField("encoded_attributes"):
        encoded = await temporal.decoded(failure.encoded_attributes)
        hidden = _json(encoded)
        failure.message = (
            str(hidden["message"]) if isinstance(hidden, dict) and "message" in hidden else UNREADABLE
        )


def _open_state(digest: Any) -> str:
    state = digest.get("state") if isinstance(digest, dict) else None
    return state if state in OPEN else OPEN[0]


async def _metadata(temporal: Temporal, run: Run, state: str, digest: Any) -> AnyMessage:
    """Give what the operation itself set as its metadata, or what is known of every flow."""
    if METADATA in run.memo.fields:
        return pack_payload(await temporal.decoded(run.memo.fields[METADATA]))
    memo = {MEMO: digest, PROGRESS: await _memo(temporal, run, PROGRESS)}
    known = FlowMetadata.of_memo(run.type, state, memo, run.pending).model_dump(
        mode="json", exclude_none=True
    )
    shown = known | {"state": state, "run_id": run.run_id, "started": run.started.ToJsonString()}
    if run.closed is not None:
        shown["finished"] = run.closed.ToJsonString()
    if isinstance(digest, dict):
        shown |= {key: digest[key] for key in _FROM_MEMO if key in digest}
    return pack_json(shown)


async def _memo(temporal: Temporal, run: Run, key: str) -> Any:
    if key not in run.memo.fields:
        return None
    return _json(await temporal.decoded(run.memo.fields[key]))


def _json(payload: Payload) -> Any:
    try:
        return pydantic_core.from_json(payload.data)
    except ValueError:
        return None
