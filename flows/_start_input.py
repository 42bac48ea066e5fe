"""A flow's start input: the user's own JSON, nothing around it."""

from __future__ import annotations

import pydantic_core
from temporalio import workflow
from temporalio.common import RawValue

from activities import InvalidInput
from activities._json import Json
from activities._wire import json_bytes, json_payload

DEEPEST = 100
"""Levels that an input may have. Parsers stop at about 200, and plans put a few around it."""


def start_value(raw: RawValue | InvalidInput, who: str) -> Json:
    """Give the input as a value.

    Raises:
        InvalidInput: when its encoding isn't known to this worker, it is no JSON, or too deep.
    """
    try:
        value = pydantic_core.from_json(start_json(raw, who))
    except ValueError as error:
        raise InvalidInput(f"{who}: input is no JSON: {error}") from None
    if _depth(value) > DEEPEST:
        raise InvalidInput(f"{who}: input is nested more than {DEEPEST} levels deep; make it flatter")
    return value


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


def _depth(value: Json) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inner), default=0)
