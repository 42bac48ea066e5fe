"""Several worker processes under one parent, which starts each again that dies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from counterstep.serving._ending import Ending
from counterstep.serving._errors import StartError
from counterstep.serving._health import Probe

FIRST_DELAY, LAST_DELAY = 0.5, 30.0
"""Seconds until a process that died is started again: doubled each time, until one lives longer than the last."""

SERVING, FAILED, READY = "serving", "failed", "ready"
_SPAWN = multiprocessing.get_context("spawn")  # a fork would take along what the user's modules started
_log = logging.getLogger("counterstep.worker")

Target = Callable[[int, Connection], None]


class Parent:
    """The parent, as one of its processes sees it."""

    def __init__(self, pipe: Connection) -> None:
        """Take the pipe to it."""
        self._pipe = pipe
        self._tasks: set[asyncio.Task[None]] = set()

    def say(self, kind: str, text: str = "") -> None:
        """Tell it something, if it is still there."""
        with contextlib.suppress(OSError):
            self._pipe.send((kind, text))

    def listen(self, ready: Probe, ending: Ending) -> None:
        """Answer whether this process is ready; end when the parent has gone."""
        self.say(SERVING)
        loop = asyncio.get_running_loop()

        def heard() -> None:
            try:
                self._pipe.recv()
            except (EOFError, OSError):
                loop.remove_reader(self._pipe.fileno())
                ending.asked.set()
                return
            task = loop.create_task(self._answer(ready))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        loop.add_reader(self._pipe.fileno(), heard)

    async def _answer(self, ready: Probe) -> None:
        self.say(READY, await ready())


@dataclass
class _Child:
    """A process, as its parent sees it.

    Attributes:
        process: the process.
        pipe: to it.
        serves: set once it serves, or has ended.
        ended: set once it has ended.
        failed: why it couldn't start, if it said so.
        asked: who waits for its answer whether it is ready.
    """

    process: SpawnProcess
    pipe: Connection
    serves: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    failed: str = ""
    asked: list[asyncio.Future[str]] = field(default_factory=list)

    def watch(self) -> None:
        """Listen to what it says, and to its end."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self.pipe.fileno(), self._heard)
        loop.add_reader(self.process.sentinel, self._gone)

    async def ready(self) -> str:
        """Ask it."""
        if self.ended.is_set():
            return "it has ended"
        if not self.serves.is_set():
            return "it is starting"
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.asked.append(answer)
        with contextlib.suppress(OSError):
            self.pipe.send(READY)
        return await answer

    def signal(self, number: int) -> None:
        """Send it a signal, if it is there."""
        if not self.ended.is_set() and self.process.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    def _heard(self) -> bool:
        """Take in one thing that it said; say whether there was one."""
        try:
            if not self.pipe.poll():
                return False
            kind, text = self.pipe.recv()
        except (EOFError, OSError):
            asyncio.get_running_loop().remove_reader(self.pipe.fileno())
            return False
        if kind == SERVING:
            self.serves.set()
        elif kind == FAILED:
            self.failed = text
        else:
            self._answered(text)
        return True

    def _gone(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self.process.sentinel)
        while self._heard():  # what it said last
            pass
        loop.remove_reader(self.pipe.fileno())
        self.process.join()
        self.pipe.close()
        self.ended.set()
        self.serves.set()
        self._answered("it has ended")

    def _answered(self, text: str) -> None:
        for answer in self.asked:
            if not answer.done():
                answer.set_result(text)
        self.asked.clear()


class Processes:
    """Keeps a number of processes running until it is asked to end."""

    def __init__(self, target: Target, count: int, ending: Ending) -> None:
        """Take what each process runs (it gets its number, from 0, and a pipe), and how many there are."""
        self._target, self._ending = target, ending
        self._children: list[_Child | None] = [None] * count
        ending.at_once.append(lambda: self._signal(signal.SIGKILL))

    async def begin(self) -> None:
        """Start the first process alone: what keeps it from serving would keep all of them.

        Raises:
            StartError: when it doesn't serve; with its words.
        """
        child = self._start(0)
        await self._until(child.serves)
        if child.ended.is_set() and not self._ending.asked.is_set():
            raise StartError(child.failed or f"the first worker process {_how(child)} before it served")

    async def run(self) -> None:
        """Start the others, and keep all of them running; end once they have ended."""
        try:
            await asyncio.gather(*(self._keep(number) for number in range(len(self._children))))
        finally:
            self._signal(signal.SIGTERM)
        for child in filter(None, self._children):
            await child.ended.wait()

    async def ready(self) -> str:
        """Say which processes aren't ready, and why; nothing when all are."""
        if self._ending.asked.is_set():
            return "it is stopping"
        answers = await asyncio.gather(*(self._ready(child) for child in self._children))
        return "; ".join(f"process {number + 1}: {why}" for number, why in enumerate(answers) if why)

    async def _ready(self, child: _Child | None) -> str:
        return "it isn't started yet" if child is None else await child.ready()

    def _start(self, number: int) -> _Child:
        ours, theirs = _SPAWN.Pipe()
        process = _SPAWN.Process(target=self._target, args=(number, theirs), name=f"worker-{number + 1}")
        with _deaf():
            process.start()
        theirs.close()
        child = self._children[number] = _Child(process, ours)
        child.watch()
        return child

    async def _keep(self, number: int) -> None:
        """Start a process again whenever it has ended, later each time that it dies early."""
        delay = FIRST_DELAY
        while not self._ending.asked.is_set():
            child, began = self._children[number] or self._start(number), time.monotonic()
            await self._until(child.ended)
            if self._ending.asked.is_set():
                return
            delay = FIRST_DELAY if time.monotonic() - began > LAST_DELAY else delay
            what = f"worker process {number + 1} {_how(child)}{child.failed and f': {child.failed}'}"
            _log.warning("%s; another one starts in %g seconds", what, delay)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.asked.wait(), delay)
            delay, self._children[number] = min(2 * delay, LAST_DELAY), None

    async def _until(self, event: asyncio.Event) -> None:
        """Wait for an event, or to be asked to end."""
        waits = [asyncio.create_task(one.wait()) for one in (event, self._ending.asked)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    def _signal(self, number: int) -> None:
        for child in filter(None, self._children):
            child.signal(number)


@contextlib.contextmanager
def _deaf() -> Any:
    """Let what is started ignore SIGINT from its first moment: a terminal sends it to every process."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _how(child: _Child) -> str:
    code = child.process.exitcode or 0
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
