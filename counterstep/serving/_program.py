"""Temporal's own programs: where they are, and how a server for one machine is tuned. Nothing is downloaded."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

TUNED = (
    "--dynamic-config-value",
    "history.transferProcessorMaxPollRPS=10000",
    "--dynamic-config-value",
    'history.timerProcessorMaxTimeShift="10ms"',
    "--dynamic-config-value",
    "history.timerProcessorMaxPollRPS=10000",
)
"""Options of a dev server: as it comes, it adds up to 50 ms to every dispatch and a second to every timer.

It also looks for timers 20 times a second at most, whoever they belong to: while a saga of 10,000 steps was running, that
held a timer of a millisecond up for half a minute.
"""
_DIE_WITH_PARENT = """
import os, signal, sys
parent, *command = sys.argv[1:]
try:
    import ctypes
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
except (ImportError, OSError, AttributeError):
    pass
if os.getppid() == int(parent):
    os.execv(command[0], command)
"""


def program(name: str) -> str | None:
    """Find a program, beside this Python or on the path; none if it isn't installed."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else shutil.which(name)


def dies_with_us() -> tuple[str, ...]:
    """Give what a command begins with, so that a process that is killed takes it along; only Linux can.

    A program of its own says so: what runs between fork and exec of a process with threads can't be Python. The
    thread that starts it counts as the process: it is the one that the event loop is in.
    """
    if sys.platform != "linux":
        return ()
    return (sys.executable, "-IS", "-c", _DIE_WITH_PARENT, str(os.getpid()))
