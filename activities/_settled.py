"""The one place where the end of an execution is classified: done, failed, skipped or unknown.

Flows ask it about activities that just ended, reports about events of a history; both get the same answer.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum
from typing import Any

import pydantic_core
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure as FailureProto
from temporalio.converter import DataConverter
from temporalio.exceptions import ActivityError, ApplicationError, CancelledError, TimeoutError, TimeoutType

from activities._encode import CANCELLED, INFRASTRUCTURE
from activities._failure import Failure
from activities._json import Json
from activities._outcome import Status
from activities._wire import AGAIN, BESIDE, HEADER, Verdict, mark_of


class Again(Enum):
    """Why a step may be dispatched again."""

    FAILURE = "the handler failed and may be retried"
    LOSS = "the execution was lost"
    ABSENT = "no worker knew the operation"


@dataclass(frozen=True)
class Settled:
    """How a step stands after an execution.

    Attributes:
        status: as it would be if nothing more happened.
        verdict: of all executions so far.
        output: JSON, in a tuple of one; empty where there is none.
        error: the exception, for the cause of what is raised.
        skipped: the reason of a skip.
        again: why it may be dispatched again; ``None`` when it may not.
        delay: what the handler asked to wait before that.
        envelope: of a local execution: its input, ISO start and end, header.
    """

    status: Status
    verdict: Verdict = Verdict()
    output: tuple[Json, ...] = ()
    error: BaseException | None = None
    skipped: str | None = None
    again: Again | None = None
    delay: timedelta | None = None
    envelope: dict[str, Json] | None = None

    @property
    def failure(self) -> Failure | None:
        """The error as a value."""
        return None if self.error is None else Failure.of(self.error)


def ended_well(payload: Payload, carried: Verdict, *, local: bool) -> Settled:
    """Classify a result."""
    value: Json = pydantic_core.from_json(payload.data) if payload.data else None
    beside: dict[str, Json]
    if local:
        beside, output = dict(value), value["output"]
    else:
        beside = pydantic_core.from_json(payload.metadata[HEADER]) if HEADER in payload.metadata else {}
        output = value
    verdict = Verdict.from_json({**carried.to_json(), **_only_verdict(beside), "called": True})
    skipped = beside.get("skipped")
    given = () if skipped is not None and output is None else (output,)
    return Settled(
        Status.DONE if skipped is None else Status.SKIPPED,
        verdict,
        given,
        skipped=skipped,
        envelope=value if local else None,
    )


def ended_badly(
    error: BaseException, carried: Verdict, *, retried: bool = False, local: bool = False
) -> Settled:
    """Classify a failure, as it reaches a workflow or stands in a history.

    Args:
        error: the failure.
        carried: what is known of earlier dispatches.
        local: whether it is of a local activity: where a worker didn't answer a cancel, another one, or the same before it
            forgot the run, may have done it.
        retried: whether the server may have called the handler before: a cancel between two attempts says
            nothing of the first.
    """
    cause = (error.cause or error) if isinstance(error, ActivityError) else error
    if isinstance(cause, TimeoutError):
        return _timed_out(cause, carried)
    if isinstance(cause, ApplicationError):
        return _application(cause, carried)
    if _is_cancel(cause) and local:
        return _final(cause, replace(carried, unknown=True, called=True))
    if _is_cancel(cause):
        return _final(cause, replace(carried, called=retried or carried.was_called))
    return _final(cause, carried.failed(unknown=True))


def never_settled(carried: Verdict) -> Settled:
    """Classify an execution that has no end in the history: its effect may be there."""
    return Settled(Status.UNKNOWN, replace(carried, unknown=True, called=True))


def _timed_out(error: TimeoutError, carried: Verdict) -> Settled:
    verdict = Verdict.from_json({**carried.to_json(), **mark_of(error.last_heartbeat_details)})
    if error.type == TimeoutType.SCHEDULE_TO_START:
        return _final(error, replace(verdict, called=verdict.was_called))
    if error.type == TimeoutType.HEARTBEAT:
        return Settled(Status.UNKNOWN, verdict.lost(), error=error, again=Again.LOSS)
    return Settled(Status.UNKNOWN, verdict.failed(unknown=True), error=error, again=Again.FAILURE)


def _application(error: ApplicationError, carried: Verdict) -> Settled:
    entry = _entry(error)
    verdict = Verdict.from_json({**carried.to_json(), "called": True, **entry}) if entry else carried
    envelope = entry if entry and "started" in entry else None
    if error.type in INFRASTRUCTURE and (entry is None or "kind" in entry):
        return replace(_infrastructure(error, verdict), envelope=envelope)
    verdict = verdict if entry else carried.failed()
    again = None if error.non_retryable and not (entry and AGAIN in entry) else Again.FAILURE
    settled = _final(_without_entry(error, entry) if entry else error, verdict)
    return replace(settled, again=again, delay=error.next_retry_delay, envelope=envelope)


def _infrastructure(error: ApplicationError, verdict: Verdict) -> Settled:
    if error.type == "NotFoundError":
        absent = replace(verdict, losses=verdict.losses + 1, called=verdict.was_called)
        return replace(_final(error, absent), again=Again.ABSENT)
    if error.type == CANCELLED:
        return _final(error, replace(verdict, unknown=True, called=True))
    return Settled(Status.UNKNOWN, verdict.lost(), error=error, again=Again.LOSS)


def _final(error: BaseException, verdict: Verdict) -> Settled:
    return Settled(Status.UNKNOWN if verdict.unknown else Status.FAILED, verdict, error=error)


def _entry(error: ApplicationError) -> dict[str, Any] | None:
    last = error.details[-1] if error.details else None
    return last[HEADER] if isinstance(last, dict) and HEADER in last else None


def _without_entry(error: ApplicationError, entry: dict[str, Any]) -> BaseException:
    """Give the error as the handler raised it: what a run records as its cause holds nothing of ours."""
    if error.failure is None:
        return error
    proto = FailureProto()
    proto.CopyFrom(error.failure)
    info = proto.application_failure_info
    info.non_retryable = info.non_retryable and AGAIN not in entry
    del info.details.payloads[-1]
    return DataConverter.default.failure_converter.from_failure(
        proto, DataConverter.default.payload_converter
    )


def _only_verdict(data: dict[str, Json]) -> dict[str, Json]:
    return {k: v for k, v in data.items() if k in BESIDE}


def _is_cancel(error: BaseException) -> bool:
    return isinstance(error, (CancelledError, asyncio.CancelledError))
