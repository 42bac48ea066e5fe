"""What flows record beside their steps, read back as JSON: a saga's plan, and what a run hands to the next."""

from __future__ import annotations

from base64 import b64decode
from zlib import decompress
from zlib import error as ZlibError  # noqa: N812

import pydantic_core

from activities._json import Json

CARRIED = "$counterstep"
"""The only key of the input that a run gets from the run before it."""

ROOT = "counterstep.root"
"""Memo of a child flow that names the flow it is a part of: a memo stays when a run goes on as new, or is reset."""

PACKED = "zlib:"
"""Begins a text that is compressed."""


def unpack(text: str) -> str:
    """Read a text back that may be compressed."""
    return decompress(b64decode(text[len(PACKED) :])).decode() if text.startswith(PACKED) else text


def carried_text(value: Json) -> bytes | None:
    """Give what one run handed to the next, as JSON text, if a start input is that; a user's own may look like it."""
    if not (isinstance(value, dict) and set(value) == {CARRIED}):
        return None
    try:
        return decompress(b64decode(value[CARRIED]))
    except (ValueError, TypeError, ZlibError):
        return None


def carried_json(value: Json) -> dict[str, Json] | None:
    """Give what one run handed to the next, if a start input is that."""
    text = carried_text(value)
    return None if text is None else pydantic_core.from_json(text)


def plan_json(resolved: Json, carried: dict[str, Json] | None) -> dict[str, Json] | None:
    """Give a saga's plan, as it was recorded by its first run or handed on to a later one."""
    text = carried.get("plan", "") if carried else unpack((resolved or {}).get("plan") or "")
    return pydantic_core.from_json(text) if text else None
