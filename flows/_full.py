"""When a saga's history is so long that it goes on as new."""

from __future__ import annotations

from temporalio import workflow

CONTINUE_AT = 9_000
"""Events after which a saga goes on as new, once its activities in flight have settled."""

BYTES_AT = 24 * 1024 * 1024


class Full(Exception):
    """The run's history is full: it goes on as new. Never leaves the flow."""


def full() -> bool:
    """Whether the history is so long that the run should go on as new."""
    info = workflow.info()
    return info.get_current_history_length() >= CONTINUE_AT or info.get_current_history_size() >= BYTES_AT
