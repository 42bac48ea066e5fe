"""The events that closed runs, kept for a while: they never change, and clients ask again for what is done."""

from __future__ import annotations

from collections import OrderedDict

from temporalio.api.history.v1 import HistoryEvent

from counterstep.gateway._temporal import Run, Temporal

BYTES = 32 * 1024 * 1024


class Closings:
    """Closing events by run, the least recently used of them dropped first."""

    def __init__(self, temporal: Temporal, room: int = BYTES) -> None:
        """Take where they come from, and how many bytes may be kept."""
        self._temporal = temporal
        self._left = room
        self._kept: OrderedDict[str, HistoryEvent] = OrderedDict()

    async def of(self, run: Run) -> HistoryEvent | None:
        """Give the event that closed a run; none if Temporal has forgotten it meanwhile."""
        kept = self._kept.get(run.run_id)
        if kept is not None:
            self._kept.move_to_end(run.run_id)
            return kept
        event = await self._temporal.closing(run)
        if event is not None and run.run_id not in self._kept:
            self._keep(run.run_id, event)
        return event

    def _keep(self, run_id: str, event: HistoryEvent) -> None:
        self._kept[run_id] = event
        self._left -= event.ByteSize()
        while self._left < 0:
            self._left += self._kept.popitem(last=False)[1].ByteSize()
