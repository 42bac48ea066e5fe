"""Runs in windows of start time, newest first."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from counterstep.gateway._page_token import Place
from counterstep.gateway._temporal import Run, Temporal

_SECOND = 1_000_000
_DAY = 86_400 * _SECOND
_LEAST = 1000
"""Microseconds below which a window isn't made narrower."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(micros: int) -> str:
    """Write a time as Temporal's queries take it."""
    return (_EPOCH + timedelta(microseconds=micros)).isoformat()


@dataclass(frozen=True)
class Window:
    """Runs that started in a stretch of time, newest first.

    Attributes:
        runs: all of them.
        width: of the stretch, in microseconds.
        more: whether there may be older ones.
    """

    runs: list[Run]
    width: int
    more: bool


class Windows:
    """Reads windows that hold about as many runs as are wanted, whatever lies between them."""

    def __init__(self, temporal: Temporal, query: str, wanted: int) -> None:
        """Take what to read with, which runs, and about how many at once."""
        self._temporal = temporal
        self._query = query
        self._least, self._most = wanted, max(4 * wanted, 64)

    async def below(self, place: Place | None) -> AsyncIterator[Window]:
        """Give window after window, from a place on."""
        now = time.time_ns() // 1000
        if place is None:
            yield Window(await self._read(now, now + _DAY), 0, True)  # another machine's clock may be ahead
        top, width = (place.start, place.width) if place else (now, 0)
        while top > 0:
            low = await self._low(top, width)
            runs = await self._read(low, top)
            if place is not None:
                runs = [run for run in runs if _key(run) < (place.start, place.run_id)]
            width = top - low if low else 0
            yield Window(runs, width, low > 0)
            top = low

    async def _low(self, top: int, width: int) -> int:
        """Choose where the window that ends at ``top`` begins; 0 takes all that is left."""
        if not width and await self._count(0, top) <= self._most:
            return 0
        width = width or _SECOND
        count = await self._count(max(top - width, 0), top)
        while count < self._least and width < top:
            width *= 8
            count = await self._count(max(top - width, 0), top)
        while count > self._most and width > _LEAST:
            width //= 2
            count = await self._count(max(top - width, 0), top)
        return max(top - width, 0)

    async def _count(self, low: int, top: int) -> int:
        return await self._temporal.count(self._between(low, top))

    async def _read(self, low: int, top: int) -> list[Run]:
        """Read a window whole. A run that closes meanwhile comes twice, and counts once."""
        found: dict[str, Run] = {}
        token = b""
        while True:
            runs, token = await self._temporal.runs(self._between(low, top), 1000, token)
            found |= {run.run_id: run for run in runs}
            if not token:
                return sorted(found.values(), key=_key, reverse=True)

    def _between(self, low: int, top: int) -> str:
        return f"{self._query} AND StartTime > '{moment(low)}' AND StartTime <= '{moment(top)}'"


def _key(run: Run) -> tuple[int, str]:
    return run.start, run.run_id
