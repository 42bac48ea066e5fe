"""A flow's start input: the user's own JSON, nothing around it."""

from __future__ import annotations

from temporalio import workflow
from temporalio.common import RawValue

from activities import InvalidInput
from activities._wire import json_bytes, json_payload


def start_json(raw: RawValue | InvalidInput, who: str) -> bytes:
    """Give the input as JSON.

    Raises:
        InvalidInput: when its encoding isn't known to this worker, or it isn't one.
    """
    if isinstance(raw, InvalidInput):
        raise raw
    encoding = raw.payload.metadata.get("encoding", b"").decode(errors="replace")
    if encoding in ("json/plain", "binary/null"):
        return json_bytes(raw)
    try:
        value = workflow.payload_converter().from_payload(raw.payload)
        return json_payload(value).data
    except Exception:
        raise InvalidInput(
            f"{who}: input has the encoding {encoding[:100]!r}, which isn't known here; send json/plain"
        ) from None
