"""JSON on its way through a local activity's result: packed where it is large."""

from __future__ import annotations

from base64 import b64decode, b64encode
from zlib import compress, decompress

PACKED_FROM = 256 * 1024
PACKED = "zlib:"

LIMIT = int(1.8 * 1024 * 1024)
"""Bytes that a plan, or what one run hands to the next, may have packed: Temporal's 2 MiB, less some room."""


def pack(text: str) -> str:
    """Write a text for the record, compressed where that is worth it."""
    if len(text) <= PACKED_FROM:
        return text
    return PACKED + b64encode(compress(text.encode())).decode()


def unpack(text: str) -> str:
    """Read it back."""
    return decompress(b64decode(text[len(PACKED) :])).decode() if text.startswith(PACKED) else text
