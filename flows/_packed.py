"""JSON on its way through a local activity's result: packed where it is large."""

from __future__ import annotations

from base64 import b64encode
from zlib import compress

from counterstep.reports import PACKED, unpack

__all__ = ["PACKED", "pack", "unpack"]

PACKED_FROM = 256 * 1024


def pack(text: str) -> str:
    """Write a text for the record, compressed where that is worth it."""
    if len(text) <= PACKED_FROM:
        return text
    return PACKED + b64encode(compress(text.encode())).decode()
