"""Equal calls: what succeeded answers, what is in flight is shared."""

from __future__ import annotations

import asyncio
from typing import Any

from activities import Status
from activities._json import Json, digest
from counterstep.reports import Report

AnyReport = Report[Any, Any]


def call_digest(kind: str, definition: str, input: Json, key: str | None) -> str:
    """Give what makes two calls equal: kind, id and version, canonical input, and the call's own key."""
    return digest(kind, definition, input, key or None)


class Calls:
    """What a run has called, by digest."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._successes: dict[str, list[AnyReport]] = {}
        self.in_flight: dict[str, asyncio.Future[AnyReport]] = {}

    def add(self, digest: str, report: AnyReport) -> None:
        """Remember a success; the newest answers."""
        if report.outcome in (Status.DONE, Status.SKIPPED):
            self._successes.setdefault(digest, []).append(report)

    def answer(self, digest: str) -> AnyReport | None:
        """Give the newest success."""
        found = self._successes.get(digest)
        return found[-1] if found else None

    def series(self, digest: str, series: str) -> dict[int, AnyReport]:
        """Give the successes of one series, by order."""
        members = ((r.execution_series, r) for r in self._successes.get(digest, ()))
        return {s.order: r for s, r in members if s is not None and s.id == series}

    def forget(self, report_id: str) -> None:
        """Drop what was undone, and every flow that it is part of."""
        for reports in self._successes.values():
            reports[:] = [r for r in reports if all(part.id != report_id for part in r.walk())]
