"""When a saga's history is so long that it goes on as new."""

from __future__ import annotations

from temporalio import workflow

CONTINUE_AT = 9_000
"""Events after which a saga goes on as new, once its activities in flight have settled."""

BYTES_AT = 24 * 1024 * 1024

_MORE_BYTES = 4 * 1024 * 1024


class Full(Exception):
    """The run's history is full: it goes on as new. Never leaves the flow."""


def full(refused: int = 0) -> bool:
    """Whether the history is so long that the run should go on as new.

    Args:
        refused: how often that couldn't be, since too much was to be carried; each time it is tried later.
    """
    info = workflow.info()
    events, size = info.get_current_history_length(), info.get_current_history_size()
    return events >= CONTINUE_AT * (refused + 1) or size >= BYTES_AT + _MORE_BYTES * refused
