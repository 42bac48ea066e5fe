"""Worker processes that start in no time: forked from one that has imported everything (``python -m tests.spawning MODULE``).

Every test that kills workers starts several; importing Temporal's SDK and ours takes longer than what they do.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]


class Spawner:
    """Forks processes that run the ``main`` of a module."""

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        """Use :func:`spawner` instead."""
        self._popen = popen

    def spawn(self, *args: str) -> int:
        """Start ``main(*args)`` in a process of its own; give its id."""
        assert self._popen.stdin is not None and self._popen.stdout is not None
        self._popen.stdin.write(json.dumps(args) + "\n")
        self._popen.stdin.flush()
        return int(self._popen.stdout.readline())


@contextmanager
def spawner(module: str) -> Iterator[Spawner]:
    """Make a spawner; whatever it started ends with it."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("TEMPORAL_")}
    command = [sys.executable, "-m", "tests.spawning", module]
    with subprocess.Popen(
        command, cwd=ROOT, env=clean, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as popen:
        try:
            yield Spawner(popen)
        finally:
            for left in psutil.Process(popen.pid).children(recursive=True):
                kill(left.pid)
            popen.kill()


def alive(pid: int) -> bool:
    """Whether a spawned process lives."""
    return psutil.pid_exists(pid)


def kill(pid: int) -> None:
    """Kill a spawned process as `kill -9` does, if it lives."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def main(name: str) -> None:
    """Fork for each line of arguments, and say the process's id."""
    module = importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.dup2(os.open(os.devnull, os.O_RDWR), 0)
            os.dup2(2, 1)
            running = module.main(*json.loads(line))
            if inspect.iscoroutine(running):
                asyncio.run(running)
            os._exit(0)
        print(pid, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
