"""Temporal's own programs: where they are, and how a server for one machine is tuned. Nothing is downloaded."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

TUNED = (
    "--dynamic-config-value",
    "history.transferProcessorMaxPollRPS=10000",
    "--dynamic-config-value",
    'history.timerProcessorMaxTimeShift="10ms"',
)
"""Options of a dev server: as it comes, it adds up to 50 ms to every dispatch."""


def program(name: str) -> str | None:
    """Find a program, beside this Python or on the path; none if it isn't installed."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else shutil.which(name)
