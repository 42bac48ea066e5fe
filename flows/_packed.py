"""JSON on its way through a local activity's result: packed where it is large."""

from __future__ import annotations

from base64 import b64encode
from zlib import compress

from counterstep.reports import PACKED, unpack

__all__ = ["PACKED", "pack", "unpack"]

PACKED_FROM = 256 * 1024

LIMIT = int(1.8 * 1024 * 1024)
"""Bytes that a plan, or what one run hands to the next, may have packed: Temporal's 2 MiB, less some room."""


def pack(text: str) -> str:
    """Write a text for the record, compressed where that is worth it."""
    if len(text) <= PACKED_FROM:
        return text
    return PACKED + b64encode(compress(text.encode())).decode()
