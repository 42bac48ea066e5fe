"""What happens to the sagas: kills, cuts, cancels, pauses, approvals, at random."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from tests.chaos.proxy import Proxy
from tests.chaos.work import APPROVAL, Draw
from tests.serving import Server
from tests.spawning import Spawner, alive, kill

STRIKES = ("worker", "cut", "cancel", "pause", "unpause", "approve", "approve", "stop")
KINDS = ("server killed", "worker killed", "connections cut", "cancel", "pause", "unpause", "approve", "stop")
"""What a storm does, by the names under which it is counted."""
EVERY = 45
"""Seconds between two kills of the server."""


@dataclass
class Storm:
    """Keeps so many sagas open, and everything around them unwell.

    Attributes:
        done: what it did while it raged, counted: what was refused, or came too late, is not.
        runs: ids of all runs that were started.
        open: of those that may still be open.
    """

    server: Server
    proxy: Proxy
    spawner: Spawner
    address: str
    queue: str
    store: str
    workers: int
    chosen: random.Random
    done: Counter[str] = field(default_factory=Counter)
    runs: list[str] = field(default_factory=list)
    open: set[str] = field(default_factory=set)
    _pids: list[int] = field(default_factory=list)
    _paused: set[str] = field(default_factory=set)
    _next: list[str] = field(default_factory=list)

    async def rage(self, sagas: int, seconds: float) -> None:
        """Do it for so long."""
        end, next_kill = time.monotonic() + seconds, time.monotonic() + EVERY
        keeping = asyncio.create_task(self._keep(sagas, end))
        while time.monotonic() < end:
            self._staff()
            if time.monotonic() > next_kill:
                next_kill += EVERY
                await self._kill_server()
            await self._strike()
            await asyncio.sleep(self.chosen.uniform(0.1, 0.6))
        await keeping

    async def calm(self, seconds: float) -> None:
        """Let everything come to its end: nothing is killed any more, what is held back goes on."""
        end = time.monotonic() + seconds
        while self.open and time.monotonic() < end:
            self._staff()
            for id in list(self.open):
                await self._ask(id, "unpause")
                await self._ask(id, "approve", {"name": APPROVAL})
            await self._look()
            await asyncio.sleep(1)
        for pid in self._pids:
            kill(pid)

    async def _client(self) -> Client:
        return await Client.connect(self.server.address)

    async def _keep(self, sagas: int, end: float) -> None:
        """Start sagas whenever fewer are open, by the server's count; some more, since others end meanwhile."""
        wanted = sagas + max(2, sagas // 20)
        while time.monotonic() < end:
            with contextlib.suppress(RPCError, RuntimeError):
                running = await (await self._connected()).count_workflows("ExecutionStatus = 'Running'")
                if running.count < sagas:
                    await asyncio.gather(*(self._start() for _ in range(min(50, wanted - running.count))))
                    continue
                await self._look()
            await asyncio.sleep(1)

    async def _start(self) -> None:
        """Start a saga; the server may be down, or go down before it has said that it did."""
        number = len(self.runs)
        self.runs.append(f"chaos-{number}")
        options: dict[str, Any] = {"id": self.runs[number], "task_queue": self.queue}
        while True:
            try:
                await (await self._connected()).start_workflow("chaotic", Draw(seed=number), **options)
            except (RPCError, RuntimeError):
                await asyncio.sleep(0.2)
                continue
            except WorkflowAlreadyStartedError:
                pass
            self.open.add(self.runs[number])
            return

    async def _connected(self) -> Client:
        if not hasattr(self, "_known"):
            self._known = await self._client()
        return self._known

    async def _look(self) -> None:
        """Take note of runs that are closed."""
        client = await self._connected()
        for id in list(self.open):
            with contextlib.suppress(RPCError):
                described = await client.get_workflow_handle(id).describe()
                if described.status is not WorkflowExecutionStatus.RUNNING:
                    self.open.discard(id)

    def _staff(self) -> None:
        """Have as many workers as there should be."""
        self._pids = [pid for pid in self._pids if alive(pid)]
        while len(self._pids) < self.workers:
            self._pids.append(self.spawner.spawn(self.address, self.queue, self.store))

    async def _kill_server(self) -> None:
        self.done["server killed"] += 1
        self.server.kill()
        await asyncio.sleep(self.chosen.uniform(0, 3))
        await self.server.up()

    async def _strike(self) -> None:
        """Do one thing; each kind comes up as often, in any order."""
        self._next = self._next or self.chosen.sample(STRIKES, len(STRIKES))
        what = self._next.pop()
        if what == "worker" and self._pids:
            kill(self.chosen.choice(self._pids))
            self.done["worker killed"] += 1
        elif what == "cut":
            before = self.proxy.cut_count
            self.proxy.cut()
            self.done["connections cut"] += self.proxy.cut_count - before
        elif self.open:
            await self._some(what)

    async def _some(self, what: str) -> None:
        """Do it to one of the open runs: to the first of a few that takes it."""
        among = sorted(self.open & self._paused) if what == "unpause" else sorted(self.open)
        for id in self.chosen.sample(among, min(len(among), 20)):
            if await self._to(id, what):
                self.done[what] += 1
                (self._paused.add if what == "pause" else self._paused.discard)(id)
                return

    async def _to(self, id: str, what: str) -> bool:
        if what != "cancel":
            return await self._ask(id, what, {"name": APPROVAL} if what == "approve" else None)
        with contextlib.suppress(RPCError):
            handle = (await self._connected()).get_workflow_handle(id)
            if (await handle.describe()).status is WorkflowExecutionStatus.RUNNING:
                await handle.cancel()
                return True
        return False

    async def _ask(self, id: str, update: str, input: Any = None) -> bool:
        """Send an update; one that is refused, or comes too late, changes nothing."""
        handle = (await self._connected()).get_workflow_handle(id)
        asked = handle.execute_update(update, input) if input else handle.execute_update(update)
        with contextlib.suppress(
            RPCError, WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError, TimeoutError
        ):
            await asyncio.wait_for(asked, 5)
            return True
        return False
