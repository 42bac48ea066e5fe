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
from temporalio.service import RPCError

from tests.chaos.proxy import Proxy
from tests.chaos.work import APPROVAL, Draw
from tests.serving import Server
from tests.spawning import Spawner, alive, kill

EVERY = 45
"""Seconds between two kills of the server."""


@dataclass
class Storm:
    """Keeps so many sagas open, and everything around them unwell.

    Attributes:
        done: what it did, counted.
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
        """Start sagas until so many are open, again and again."""
        while time.monotonic() < end:
            with contextlib.suppress(RPCError, RuntimeError):
                await self._look()
                while len(self.open) < sagas and time.monotonic() < end:
                    await self._start()
            await asyncio.sleep(1)

    async def _start(self) -> None:
        id = f"chaos-{len(self.runs)}"
        options: dict[str, Any] = {"id": id, "task_queue": self.queue}
        await (await self._connected()).start_workflow("chaotic", Draw(seed=len(self.runs)), **options)
        self.runs.append(id)
        self.open.add(id)

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
        what = self.chosen.choice(
            ["worker", "cut", "cancel", "pause", "unpause", "approve", "approve", "stop"]
        )
        if what == "worker" and self._pids:
            kill(self.chosen.choice(self._pids))
            self.done["worker killed"] += 1
        elif what == "cut":
            self.proxy.cut()
            self.done["all connections cut"] += 1
        elif self.open:
            await self._to(self.chosen.choice(sorted(self.open)), what)

    async def _to(self, id: str, what: str) -> None:
        if what == "cancel":
            with contextlib.suppress(RPCError):
                await (await self._connected()).get_workflow_handle(id).cancel()
                self.done["cancel"] += 1
        else:
            await self._ask(id, what, {"name": APPROVAL} if what == "approve" else None)

    async def _ask(self, id: str, update: str, input: Any = None) -> None:
        """Send an update; one that is refused, or comes too late, changes nothing."""
        handle = (await self._connected()).get_workflow_handle(id)
        asked = handle.execute_update(update, input) if input else handle.execute_update(update)
        with contextlib.suppress(
            RPCError, WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError, TimeoutError
        ):
            await asyncio.wait_for(asked, 5)
            self.done[update] += 1
