"""Real worker processes, and the modules that they serve."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
WORKER = [sys.executable, str(ROOT / "worker.py")]

THINGS = '''
import os
from contextlib import asynccontextmanager
from pathlib import Path

from temporalio import workflow

from activities import Context, Outcome, operation
from flows import Sequence

with workflow.unsafe.imports_passed_through():
    from tests.support import World


@asynccontextmanager
async def lifespan():
    yield World(Path(os.environ["WORLD"]))


@operation(id="slow", version="1.0.0")
async def slow(ctx: Context[World], input: int) -> int:
    """Double, when the test lets it."""
    ctx.deps.record("slow", input, ctx.attempt, ctx.idempotency_key)
    if ctx.deps.is_on("hold"):
        await ctx.deps.wait("go")
    return input * 2


@operation(id="blocking", version="1.0.0")
def blocking(ctx: Context[World], input: int) -> int:
    """Double in a thread, when the test lets it."""
    import time

    ctx.deps.record("blocking", input, ctx.attempt, ctx.idempotency_key)
    while ctx.deps.is_on("hold") and not ctx.deps.is_on("go"):
        time.sleep(0.05)
    return input * 2


for declared in (slow, blocking):

    @declared.undo
    async def undo(ctx: Context[World], input: int, outcome: Outcome[int]) -> None:
        ctx.deps.record("undo", ctx.step)


class Doubled(Sequence[int, int], id="doubled", version="1.0.0"):
    """Double."""

    async def run(self, input: int) -> int:
        return (await self.execute(slow, input)).output


class Blocked(Sequence[int, int], id="blocked", version="1.0.0"):
    """Double in a thread."""

    async def run(self, input: int) -> int:
        return (await self.execute(blocking, input)).output


class Waiting(Sequence[int, int], id="waiting", version="1.0.0"):
    """Wait for an approval."""

    async def run(self, input: int) -> int:
        await self.approval("go")
        return input


del declared
'''


@dataclass(frozen=True)
class Process:
    """A process with its output in files."""

    popen: subprocess.Popen[bytes]
    out: Path
    err: Path

    @property
    def text(self) -> str:
        """What it wrote so far."""
        return self.out.read_text() + self.err.read_text()

    def until(self, words: str, timeout: float = 30) -> None:
        """Wait until it has written something."""
        deadline = time.monotonic() + timeout
        while words not in self.text:
            assert self.popen.poll() is None and time.monotonic() < deadline, self.text
            time.sleep(0.02)

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.popen.send_signal(number)

    def ends(self, timeout: float = 30) -> int:
        """Wait for its end; give the exit code."""
        return self.popen.wait(timeout)

    def kill(self) -> None:
        """Kill it as `kill -9` does."""
        self.popen.send_signal(signal.SIGKILL)
        self.popen.wait()


@contextmanager
def running(command: list[str], folder: Path, env: Mapping[str, str] = {}) -> Iterator[Process]:
    """Run a process in a folder, free of our own Temporal settings; whatever it started ends with it."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("TEMPORAL_")}
    clean |= {"TEMPORAL_CONFIG_FILE": str(folder / "temporal.toml"), "PYTHONUNBUFFERED": "1", **env}
    number = len(list(folder.glob("out-*")))
    out, err = folder / f"out-{number}", folder / f"err-{number}"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        popen = subprocess.Popen(
            command, cwd=folder, env=clean, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr
        )
    try:
        yield Process(popen, out, err)
    finally:
        for left in family(popen.pid):
            left.kill()
        popen.wait()


def family(pid: int) -> list[psutil.Process]:
    """Give a process, if it lives, and what it started."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def get(url: str) -> tuple[int, str]:
    """Ask an address; give status and body, 0 where nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode().strip()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode().strip()
    except OSError:
        return 0, ""
