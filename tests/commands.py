"""The command ``counterstep``, run in a process that is forked by :mod:`tests.spawning`: no import for each call."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess

from counterstep import cli
from tests.spawning import Spawner, spawner
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
    sys.stdout.flush()
    sys.stderr.flush()
    Path(f"{name}.part").write_text(str(code))
    Path(f"{name}.part").rename(f"{name}.code")


class Commands:
    """Runs the command, as one would in a shell."""

    def __init__(self, workers: Spawner) -> None:
        """Use :func:`commands` instead."""
        self._workers = workers

    def run(self, folder: Path, *args: str, timeout: float = 300) -> CompletedProcess[str]:
        """Run it to its end in a folder."""
        name = str(folder.parent / new_id("command"))
        self._workers.spawn(str(folder), name, *args)
        deadline = time.monotonic() + timeout
        while not Path(f"{name}.code").exists():
            assert time.monotonic() < deadline, f"counterstep {args} doesn't end"
            time.sleep(0.01)
        out, err, code = (Path(f"{name}.{kind}").read_text() for kind in ("out", "err", "code"))
        return CompletedProcess(args, int(code), out, err)


@contextmanager
def commands() -> Iterator[Commands]:
    """Make what runs commands."""
    with spawner("tests.commands") as made:
        yield Commands(made)
