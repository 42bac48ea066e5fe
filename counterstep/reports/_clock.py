"""Whose clock a time is of: local steps tell that of their worker, everything else Temporal's."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol


class Timed(Protocol):
    """A local step whose times are to be set; those of :class:`counterstep.reports._steps._Step`."""

    scheduled: datetime
    asked: datetime
    started: datetime | None
    finished: datetime | None


@dataclass
class Row:
    """Local steps that ended in one workflow task: by Temporal's clock within it, and in the order that their worker tells.

    Attributes:
        began: when the task did, if that is known.
    """

    began: datetime | None = None
    _times: list[tuple[datetime, datetime]] = field(default_factory=list)
    _steps: list[tuple[Timed, datetime, datetime, bool]] = field(default_factory=list)

    def add(
        self, step: Timed, times: tuple[datetime, datetime], recorded: datetime, *, again: bool = False
    ) -> None:
        """Take another one, and set the times of all.

        Args:
            step: that ended.
            times: when it began and ended, by its worker's clock.
            recorded: when Temporal was told.
            again: whether it was tried before.
        """
        self._times.append(times)
        self._steps = [*(other for other in self._steps if other[0] is not step), (step, *times, again)]
        by, earliest = self._moved(recorded), None
        for each, began, finished, tried in sorted(self._steps, key=lambda one: one[1]):
            within = min(max(finished + by, self.began or finished), recorded)
            kept = within - (finished - began)
            earliest = each.asked = each.started = kept if earliest is None else max(kept, earliest)
            each.finished = within
            if not tried:
                each.scheduled = each.asked

    def _moved(self, recorded: datetime) -> timedelta:
        """Say how far the worker's clock is behind, as far as the task's beginning and end tell.

        One that ended before the task began can't have; then none of them began before it. Else they may have, in a task
        that only told that they were still at work.
        """
        begins, ends = [began for began, _ in self._times], [ended for _, ended in self._times]
        latest = recorded - max(ends)
        if self.began and min(ends) < self.began:
            return min(self.began - min(begins), latest)
        return min(latest, timedelta(0))
