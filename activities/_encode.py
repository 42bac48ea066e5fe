"""What an activity records of an ended step: a result and what goes beside it, or a failure and a verdict."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pydantic_core
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from activities._attempt import Attempt
from activities._errors import NotSerializable, ResultTooLarge
from activities._failure import on_wire
from activities._json import LOCAL_LIMIT, PAYLOAD_LIMIT, Json, size
from activities._schema import Schema
from activities._wire import AGAIN, BESIDE, HEADER, StepHeader, Verdict, json_payload

LOST = "counterstep.Lost"
"""Failure type of an execution that its worker gave up."""

ELSEWHERE = "counterstep.ScheduledElsewhere"
"""Failure type of an execution that a reset's server dispatched by itself: the handler wasn't called."""

CANCELLED = "counterstep.Cancelled"
"""Failure type of a handler that the run cancelled."""

INFRASTRUCTURE = frozenset(
    {LOST, ELSEWHERE, CANCELLED, "WorkerShutdown", "ActivityReset", "ActivityPause", "NotFoundError"}
)
"""Failure types that aren't the handler's own, unless our entry says that they are."""


def output_json(schema: Schema[Any], value: Any, who: str) -> Json:
    """Turn what a handler returned into JSON.

    Raises:
        NotSerializable: when it doesn't fit the declared type, or JSON.
    """
    try:
        return schema.dump(value, f"{who}: output")
    except ApplicationError as error:
        raise NotSerializable(error.message) from None


async def result(attempt: Attempt, raw_input: bytes, output: Json, skipped: str | None) -> RawValue:
    """Record a step that ended well.

    Raises:
        ResultTooLarge: when Temporal wouldn't take it.
    """
    beside = _beside(attempt.noted, skipped)
    if attempt.info.is_local:
        made = {"output": output, **beside}
        _small_enough_here(attempt, size(made))
        payload = json_payload({**made, **_envelope(attempt, raw_input)})
    else:
        payload = json_payload(output)
        if beside:
            payload.metadata[HEADER] = pydantic_core.to_json(beside)
    await _small_enough(attempt, payload)
    return RawValue(payload)


def failure(
    attempt: Attempt, error: BaseException, raw_input: bytes, *, final: bool = False, told: bool = False
) -> ApplicationError:
    """Record a step that failed, with the verdict so far where it says anything.

    Args:
        attempt: that failed.
        error: with what.
        raw_input: of the step.
        final: whether it must not be retried.
        told: whether the flow has to know first, and then dispatches the step again itself.
    """
    about = attempt.noted.to_json() | ({AGAIN: True} if told else {})
    if attempt.info.is_local:
        about |= _envelope(attempt, raw_input)
    wired = on_wire(error, final=final)
    if about == {"failures": 1} and wired.type not in INFRASTRUCTURE:
        return wired
    return on_wire(error, {HEADER: about}, final=final or told)


def infrastructure(kind: str, attempt: Attempt, message: str, raw_input: bytes) -> ApplicationError:
    """Record an execution that didn't end by itself."""
    about = {**attempt.noted.to_json(), "kind": kind}
    if attempt.info.is_local:
        about |= _envelope(attempt, raw_input)
    return ApplicationError(message, {HEADER: about}, type=kind, non_retryable=True)


def _envelope(attempt: Attempt, raw_input: bytes) -> dict[str, Json]:
    """Give what the marker of a local step lacks: input, times, header."""
    return {
        **sent(pydantic_core.from_json(raw_input), attempt.header),
        "started": attempt.began.isoformat(),
        "finished": datetime.now(tz=UTC).isoformat(),
    }


def sent(input: Json, header: StepHeader) -> dict[str, Json]:
    """Give what a local step was sent with."""
    told = header.model_dump(mode="json", exclude_defaults=True, exclude={"run", "attempt"})
    return {"input": input, **({"header": told} if told else {})}


def _beside(verdict: Verdict, skipped: str | None) -> dict[str, Json]:
    kept = {k: v for k, v in verdict.to_json().items() if k in BESIDE}
    return kept | ({} if skipped is None else {"skipped": skipped})


def _small_enough_here(attempt: Attempt, made: int) -> None:
    if made > LOCAL_LIMIT:
        raise ResultTooLarge(
            f"{attempt.step}: the output has {made} bytes, {LOCAL_LIMIT} can be recorded of a local operation; "
            "return a reference to where it is kept, or make the operation remote"
        )


async def _small_enough(attempt: Attempt, payload: Payload) -> None:
    codec = attempt.client.data_converter.payload_codec
    encoded = (await codec.encode([payload]))[0] if codec else payload
    if encoded.ByteSize() > PAYLOAD_LIMIT:
        raise ResultTooLarge(
            f"{attempt.step}: the output has {encoded.ByteSize()} bytes, {PAYLOAD_LIMIT} can be recorded; "
            "return a reference to where it is kept"
        )
