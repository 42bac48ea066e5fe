"""The command ``counterstep``, run in a process that is forked by :mod:`tests.spawning`: no import for each call."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess

from counterstep import cli
from tests.spawning import Spawner, alive, spawner
from tests.support import new_id


def main(folder: str, name: str, *args: str) -> None:
    """Run the command in a folder; leave what it wrote, and its exit code, in files beside it."""
    for number, stream in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{name}.{stream}", os.O_WRONLY | os.O_CREAT), number)
    os.chdir(folder)
    sys.argv = ["counterstep", *args]
    code: object = 0
    try:
        cli.app()
    except SystemExit as error:
        code = error.code or 0
    except BaseException:  # as in a process of its own; whoever waits must be told
        traceback.print_exc()
        code = TRACEBACK
    sys.stdout.flush()
    sys.stderr.flush()
    Path(f"{name}.part").write_text(str(code))
    Path(f"{name}.part").rename(f"{name}.code")


TRACEBACK = "traceback"
"""Instead of an exit code."""


class Commands:
    """Runs the command, as one would in a shell."""

    def __init__(self, workers: Spawner) -> None:
        """Use :func:`commands` instead."""
        self._workers = workers

    def run(self, folder: Path, *args: str, timeout: float = 300) -> CompletedProcess[str]:
        """Run it to its end in a folder.

        Raises:
            AssertionError: with what it wrote, when it ends in a traceback or is killed.
        """
        name = str(folder.parent / new_id("command"))
        pid = self._workers.spawn(str(folder), name, *args)
        deadline, ended = time.monotonic() + timeout, Path(f"{name}.code")
        while not ended.exists():
            assert alive(pid) or ended.exists(), f"counterstep {args} was killed\n{_written(name)}"
            assert time.monotonic() < deadline, f"counterstep {args} doesn't end\n{_written(name)}"
            time.sleep(0.01)
        assert ended.read_text() != TRACEBACK, f"counterstep {args} ends in a traceback\n{_written(name)}"
        out, err, code = (Path(f"{name}.{kind}").read_text() for kind in ("out", "err", "code"))
        return CompletedProcess(args, int(code), out, err)


def _written(name: str) -> str:
    """Give what a command wrote so far."""
    files = [Path(f"{name}.{kind}") for kind in ("out", "err")]
    return "\n".join(file.read_text() for file in files if file.exists())


@contextmanager
def commands() -> Iterator[Commands]:
    """Make what runs commands."""
    with spawner("tests.commands") as made:
        yield Commands(made)
