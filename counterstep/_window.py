"""What ``counterstep export --query … --follow`` asks Temporal for: all that matches, and from then on what is new."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from temporalio.client import WorkflowExecution

LAG = timedelta(minutes=2)
"""How far back each look goes: Temporal lists a run somewhat later than it begins or ends."""

DEEP, DEEP_EVERY = timedelta(hours=1), timedelta(minutes=5)
"""How far back a look goes now and then, for what Temporal's index learned of much later; and how often."""


@dataclass
class Window:
    """Which runs the next look asks for: at first all that match, then those that began or ended since.

    It goes by the times of the runs alone. By this machine's clock, one that is fast would leave runs out for ever.

    Attributes:
        query: what is to match.
        newest: the newest beginning or end of all runs that were come upon, by looks that got through.
    """

    query: str
    newest: datetime | None = None
    _seen: datetime | None = None
    _deep: float = field(default_factory=time.monotonic)
    _is_deep: bool = False

    def begin(self) -> str:
        """Begin a look; give its query."""
        self._seen = self.newest
        if self.newest is None:
            return self.query
        self._is_deep = time.monotonic() - self._deep >= DEEP_EVERY.total_seconds()
        since = (self.newest - (DEEP if self._is_deep else LAG)).isoformat()
        new = f"(StartTime >= '{since}' OR CloseTime >= '{since}')"
        return f"({self.query}) AND {new}" if self.query.strip() else new

    def see(self, run: WorkflowExecution) -> None:
        """Come upon a run."""
        moments = (self._seen, run.start_time, run.close_time)
        self._seen = max(moment for moment in moments if moment is not None)

    def end(self) -> datetime | None:
        """End a look that got through; give since when the next ones can come upon a run again."""
        self.newest = self._seen
        self._deep = time.monotonic() if self._is_deep else self._deep
        return self.newest and self.newest - DEEP
