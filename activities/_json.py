"""JSON values: canonical form, digest, size."""

from __future__ import annotations

import json
import math
from hashlib import sha256
from typing import Any

import pydantic_core

from activities._errors import NotSerializable

Json = Any
"""``None``, ``bool``, ``int``, ``float``, ``str``, and lists and string-keyed dicts of them."""

PAYLOAD_LIMIT = 2 * 1024 * 1024 - 64 * 1024
"""Bytes that one recorded value may have: Temporal's 2 MiB, less room for what lies around it."""


LOCAL_LIMIT = 64 * 1024
"""Bytes that a local step may leave beside its input: many local steps are recorded with one workflow task."""


def canonical(value: Json) -> bytes:
    """Write JSON so that equal values give equal bytes.

    Keys are sorted, array order is kept, numbers compare by value and with all digits (RFC 8785 in spirit;
    that one rounds integers to doubles).
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest(*parts: Json) -> str:
    """Give the sha256 of the canonical JSON of the parts, in hex."""
    return sha256(canonical(list(parts))).hexdigest()


def size(value: Json) -> int:
    """Count the bytes of a JSON value as it is recorded."""
    return len(pydantic_core.to_json(value))


def finite(value: Json, path: str = "") -> None:
    """Refuse what JSON has no number for.

    Raises:
        NotSerializable: naming the place.
    """
    kind = value.__class__  # Temporal's sandbox makes builtin functions such as isinstance slow
    if kind is float and not math.isfinite(value):
        raise NotSerializable(f"{path or 'value'} is {value}, which JSON can't hold")
    if kind is dict:
        for key, item in value.items():
            finite(item, f"{path}.{key}" if path else str(key))
    elif kind is list or kind is tuple:
        for index, item in enumerate(value):
            finite(item, f"{path}.{index}" if path else str(index))


def _plain(value: Json) -> Json:
    kind = value.__class__
    if kind is float and value.is_integer():
        return int(value)
    if kind is dict:
        return {key: _plain(item) for key, item in value.items()}
    if kind is list or kind is tuple:
        return [_plain(item) for item in value]
    return value
