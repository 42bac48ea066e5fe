"""The states in which an operation may be: words of ``docs/endings.md``, and those of Temporal's own ends."""

from __future__ import annotations

OPEN = ("running", "held", "parked")
"""States of an operation that isn't done."""

CLOSED = (
    "completed",
    "rolled_back",
    "stuck",
    "kept",
    "cancelled",
    "refused",
    "failed",
    "terminated",
    "timed_out",
)
STATES = (*OPEN, *CLOSED)
