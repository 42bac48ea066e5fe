"""What a measurement prints: a figure, its target, and whether it is met. None of them ever decides a test."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

CORES = 2


@dataclass(frozen=True)
class Target:
    """A limit.

    Attributes:
        limit: that the figure should keep.
        least: whether it should be no less; no more otherwise.
        said: in words, where the figure is a difference.
    """

    limit: float
    least: bool = False
    said: str = ""

    def __str__(self) -> str:
        """Give it as text."""
        return self.said or f"{'≥' if self.least else '≤'} {self.limit:,g}"

    def met(self, figure: float) -> bool:
        """Whether a figure keeps it."""
        return figure >= self.limit if self.least else figure <= self.limit


@dataclass(frozen=True)
class Line:
    """One measurement.

    Attributes:
        what: was measured, and in which unit.
        figure: that its target is about.
        target: if it has one.
        ours: as it is shown; the figure unless given.
        by_hand: the same, written by hand on the SDK.
        ratio: of the two.
        more: that is known of it.
    """

    what: str
    figure: float
    target: Target | None = None
    ours: str = ""
    by_hand: str = ""
    ratio: str = ""
    more: str = ""

    @property
    def met(self) -> bool | None:
        """Whether it keeps its target, if it has one."""
        return None if self.target is None else self.target.met(self.figure)

    def to_json(self) -> dict[str, Any]:
        """Give it for a file."""
        return {**asdict(self), "target": str(self.target) if self.target else None, "met": self.met}


def show(title: str, lines: Iterable[Line]) -> None:
    """Print a table, without columns that would be empty."""
    rows = [_row(line) for line in lines]
    kept = [name for name in rows[0] if any(row[name] for row in rows)]
    table = Table(*(name.strip() for name in kept), title=title)
    for row in rows:
        table.add_row(*(row[name] for name in kept))
    Console().print(table)


def _row(line: Line) -> dict[str, str]:
    return {
        "what": line.what,
        "ours": line.ours or ("" if line.ratio else f"{line.figure:,g}"),
        "by hand": line.by_hand,
        "ours / by hand": line.ratio,
        "target": str(line.target) if line.target else "",
        "met": {None: "", True: "yes", False: "NO"}[line.met],
        " ": line.more,
    }


def on_two_cores() -> str:
    """Keep this process, and those that it starts, to two cores, where that can be said; say on how many it is."""
    if not hasattr(os, "sched_setaffinity"):
        return f"{os.cpu_count()} cores: this system keeps no process to fewer"
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    count = len(os.sched_getaffinity(0))
    return f"{count} core{'s' if count > 1 else ''}"
