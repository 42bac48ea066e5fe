"""Services as processes of their own: start, look, stop.

Whether a service runs is told by the lock that it holds on its folder (see `service.py`), never by its pid
alone: a pid may have passed to somebody else's process, and that one must not be killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from examples.release.layout import write

START_SECONDS = 15.0
STOP_SECONDS = 5.0


@dataclass(frozen=True)
class Launch:
    """How a service is started: kept in its folder, so that it can be started again.

    Attributes:
        release: The unpacked release's folder.
        port: Where the service listens.
    """

    release: str
    port: int


class NotStarted(Exception):
    """The service couldn't be started; the message says why. Nothing of it runs."""


class NotStopped(Exception):
    """The service goes on running, whatever it was sent."""


def prepare(home: Path, launch: Launch) -> None:
    """Make the service's folder and write down there how it is started."""
    home.mkdir(exist_ok=True)
    write(home / "launch.json", json.dumps(asdict(launch)))


def launched(home: Path) -> Launch:
    """How the service in this folder is started.

    Raises:
        NotStarted: There is no such service.
    """
    try:
        return Launch(**json.loads((home / "launch.json").read_text()))
    except FileNotFoundError:
        raise NotStarted(f"there is no service in {home}: it was never started, or is forgotten") from None


def start(home: Path) -> int:
    """Start the service as its folder says, unless it runs already.

    Returns:
        Its pid. It accepts connections.

    Raises:
        NotStarted: It couldn't be started.
    """
    launch = launched(home)
    if running(home):
        return pid(home)
    program = str(Path(launch.release) / "service.py")
    command = [sys.executable, "-I", program, "--home", str(home), "--port", str(launch.port)]
    done = subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=START_SECONDS
    )
    if done.returncode != 0:
        raise NotStarted(
            done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"see {home}/service.log"
        )
    return pid(home)


def running(home: Path) -> bool:
    """Whether the service of this folder runs."""
    try:
        file = (home / "lock").open()
    except FileNotFoundError:
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def pid(home: Path) -> int:
    """The pid of the service that runs from this folder.

    Raises:
        FileNotFoundError: None runs there.
    """
    file = home / "pid"
    while not file.exists() and running(home):  # it has its lock a moment before its pid
        time.sleep(0.02)
    return int(file.read_text())


def stop(home: Path) -> None:
    """End the service: asked first, then killed. Nothing happens when it doesn't run.

    Raises:
        NotStopped: It outlived both.
    """
    for request in (signal.SIGTERM, signal.SIGKILL):
        if not running(home):
            return
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            os.kill(pid(home), request)
        if _ended(home):
            return
    raise NotStopped(f"the service in {home} doesn't end; look at its process {pid(home)}")


def forget(home: Path) -> None:
    """Stop the service and remove its folder. Nothing happens when it was never there.

    The folder is moved away first: a process that is only about to begin finds none, and ends by itself.
    """
    stop(home)
    away = home.parent.with_name(f".forgotten-{home.name}")
    shutil.rmtree(away, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        home.rename(away)
        stop(away)
    shutil.rmtree(away, ignore_errors=True)


def _ended(home: Path) -> bool:
    deadline = time.monotonic() + STOP_SECONDS
    while running(home):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
