"""What a sweep has shown: a table of step × mode, as text, JSON and HTML."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

from flows.testing._modes import OWN, Mode

Status = Literal["held", "broken", "not applicable", "missing"]
_MARKS: Mapping[str, str] = {"held": "✓", "broken": "✗", "not applicable": "·", "missing": "?"}


@dataclass(frozen=True)
class Cell:
    """What became of a step in a mode.

    Attributes:
        status: ``held``: every fault was reached and everything was as it must be; ``broken``; ``not applicable``;
            ``missing``.
        runs: how many tried it.
        why: what is wrong, or why it doesn't apply, a line each.
        reached: whether all that was injected happened; if it didn't, a failure elsewhere went otherwise.
        crowded: whether a later step was undone in its runs, though its mode isn't about that.
    """

    status: Status
    runs: int = 0
    why: tuple[str, ...] = ()
    reached: bool = True
    crowded: bool = False


_MISSING = Cell("missing", why=("no run tried it, and nothing says why",))


@dataclass(frozen=True)
class Coverage:
    """The table that a sweep fills.

    Attributes:
        flow: ``id@version``.
        steps: in the order in which they began.
        modes: that were asked for.
        cells: by step and mode.
        problems: of the flow as a whole.
        runs: how many there were.
        seconds: that it took.
    """

    flow: str
    steps: Sequence[str]
    modes: Sequence[Mode]
    cells: Mapping[tuple[str, Mode], Cell]
    problems: Sequence[str] = ()
    runs: int = 0
    seconds: float = 0.0

    def cell(self, step: str, mode: Mode) -> Cell:
        """Give a cell; one that nobody filled is ``missing``."""
        return self.cells.get((step, mode), _MISSING)

    @property
    def holds(self) -> bool:
        """Whether every cell holds, or doesn't apply."""
        return not self.problems and not self.found

    @property
    def found(self) -> list[tuple[str, Mode, Cell]]:
        """The cells that are broken or missing, those first that tell most about their own step.

        First come the modes in which nothing but the step, or one before it, can be to blame, the first step first; then
        the same where a later step was undone, too; then the others, in which later steps are undone, or are met by a
        cancel, and after them the one in which two undos fail. Those whose faults weren't reached come last, since another
        step's failure went otherwise than it must.
        """
        cells = [(step, mode, self.cell(step, mode)) for step in self.steps for mode in self.modes]
        wrong = [found for found in cells if found[2].status in ("broken", "missing")]
        return sorted(wrong, key=lambda found: (not found[2].reached, _others(found[1], found[2])))

    def count(self, status: Status) -> int:
        """Count the cells of a status."""
        return sum(self.cell(step, mode).status == status for step in self.steps for mode in self.modes)

    @property
    def summary(self) -> str:
        """One line: how many cells hold, are broken, don't apply, are missing."""
        counts = ", ".join(f"{self.count(status)} {status}" for status in _ORDER)
        size = f"{len(self.steps)} steps × {len(self.modes)} modes"
        return f"{self.flow}: {size}: {counts}; {self.runs} runs in {self.seconds:.0f} s"

    def text(self) -> str:
        """Write the table as text: a row for each mode, a column for each step."""
        numbers = [str(number) for number in range(1, len(self.steps) + 1)]
        wide = max((len(mode) for mode in self.modes), default=0)
        head = " " * wide + " ".join(f"{number:>3}" for number in numbers)
        rows = [
            mode.ljust(wide) + " ".join(f"{self._mark(s, mode):>3}" for s in self.steps)
            for mode in self.modes
        ]
        names = [f"{number:>3} {step}" for number, step in zip(numbers, self.steps, strict=True)]
        marks = "  ".join(f"{mark} {status}" for status, mark in _MARKS.items())
        return "\n".join(
            [self.summary, "", *names, "", head, *rows, "", marks, *self.complaints(), *self._reasons()]
        )

    def complaints(self) -> list[str]:
        """Give what is wrong, a paragraph each; the step that it shows at first comes first."""
        found = [one for one in self.found if not self.problems or one[2].status == "broken"]
        cells = [f"{s} × {mode}: {line}" for s, mode, cell in found for line in cell.why]
        return ["", *self.problems, *cells] if self.problems or cells else []

    def to_json(self) -> dict[str, Any]:
        """Give it as JSON."""
        cells = [(s, mode, self.cell(s, mode)) for s in self.steps for mode in self.modes]
        return {
            "flow": self.flow,
            "holds": self.holds,
            "runs": self.runs,
            "seconds": round(self.seconds, 3),
            "problems": list(self.problems),
            "steps": list(self.steps),
            "modes": [mode.value for mode in self.modes],
            "cells": [
                {"step": s, "mode": m.value, "status": c.status, "runs": c.runs, "why": list(c.why)}
                for s, m, c in cells
            ],
        }

    def json(self) -> str:
        """Write it as JSON."""
        return json.dumps(self.to_json(), indent=1, ensure_ascii=False)

    def html(self) -> str:
        """Write it as one self-contained HTML page."""
        heads = "".join(f"<th scope=col><span>{escape(mode)}</span></th>" for mode in self.modes)
        rows = "\n".join(self._row(step) for step in self.steps)
        wrong = "".join(f"<li><pre>{escape(line)}</pre></li>" for line in self.complaints() if line)
        table = f"<table><thead><tr><th>step</th>{heads}</tr></thead><tbody>\n{rows}\n</tbody></table>"
        return _PAGE.format(title=escape(self.flow), summary=escape(self.summary), table=table, wrong=wrong)

    def _row(self, step: str) -> str:
        return f"<tr><th scope=row>{escape(step)}</th>{''.join(self._data(step, m) for m in self.modes)}</tr>"

    def _data(self, step: str, mode: Mode) -> str:
        cell = self.cell(step, mode)
        told = escape("\n".join((f"{step} × {mode}: {cell.status}, {cell.runs} runs", *cell.why)), quote=True)
        return f'<td class="{cell.status.split()[0]}" title="{told}" aria-label="{told}">{_MARKS[cell.status]}</td>'

    def _mark(self, step: str, mode: Mode) -> str:
        return _MARKS[self.cell(step, mode).status]

    def _reasons(self) -> list[str]:
        """Say why cells don't apply, each reason once."""
        found: dict[str, list[str]] = {}
        for number, step in enumerate(self.steps, start=1):
            for mode in self.modes:
                cell = self.cell(step, mode)
                if cell.status == "not applicable":
                    found.setdefault(f"{mode}: {' '.join(cell.why)}", []).append(str(number))
        return ["", *(f"· {why} ({', '.join(numbers)})" for why, numbers in found.items())] if found else []


_ORDER: tuple[Status, ...] = ("held", "broken", "not applicable", "missing")

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
:root {{ color-scheme: light dark; font-family: system-ui, sans-serif; }}
table {{ border-collapse: collapse; }} td, th {{ padding: .2rem .5rem; text-align: center; }}
th[scope=row] {{ text-align: left; }} th[scope=col] span {{ writing-mode: vertical-rl; transform: rotate(180deg); }}
td {{ border: 1px solid color-mix(in srgb, currentColor 25%, transparent); }}
.held {{ background: color-mix(in srgb, green 30%, transparent); }}
.broken, .missing {{ background: color-mix(in srgb, red 40%, transparent); }}
pre {{ white-space: pre-wrap; }}
</style></head><body><h1>{title}</h1><p>{summary}</p>
{table}
<ul>{wrong}</ul></body></html>
"""


def _others(mode: Mode, cell: Cell) -> int:
    """Say how much else than its step may be to blame for a cell."""
    if mode in OWN:
        return 1 if cell.crowded else 0
    return 3 if mode is Mode.UNDOS_FAIL else 2


class NotHeld(AssertionError):
    """A sweep found something; the message names the step and the mode where it shows first.

    Attributes:
        coverage: the whole table.
    """

    def __init__(self, coverage: Coverage) -> None:
        """Tell what was found, and show the table."""
        super().__init__("\n".join([*coverage.complaints()[1:41], "", coverage.text()]))
        self.coverage = coverage
