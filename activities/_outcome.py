"""What became of a step."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

from activities._failure import Failure

Out = TypeVar("Out")


class Status(StrEnum):
    """How a step ended. ``UNKNOWN`` means that its effect may or may not be there."""

    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Outcome(Generic[Out]):
    """What an undo is told of the step it undoes.

    Attributes:
        status: how the step ended.
        output: what it returned, where that is known.
        error: its failure, if it has one.
        saved: what the handler kept with ``ctx.save``, the last of it.
        cause: why the flow unwinds, for an undo that asks for it with ``cause=True``; ``None`` where that isn't known.
    """

    status: Status | str
    output: Out | None = None
    error: Failure | None = None
    saved: Any = None
    cause: Failure | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "status", Status(self.status))
