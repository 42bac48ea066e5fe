"""Waiting for operations: one long poll for each flow that somebody waits for, shared by all who do."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from google.rpc import code_pb2

from counterstep.gateway._errors import GatewayError
from counterstep.gateway._temporal import Temporal


@dataclass
class _Watch:
    """A flow that somebody waits for."""

    ended: asyncio.Task[None]
    waiting: int = 0


class Waits:
    """The waits that are open.

    Attributes:
        open: how many there are.
    """

    def __init__(self, temporal: Temporal, limit: int) -> None:
        """Begin with none.

        Args:
            temporal: says when a flow has ended.
            limit: how many may be open at once.
        """
        self.open = 0
        self._temporal = temporal
        self._limit = limit
        self._watches: dict[str, _Watch] = {}
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """Let every wait answer with the latest state, now and from now on."""
        self._stopped.set()

    async def until_done(self, workflow_id: str, seconds: float) -> None:
        """Wait until a flow has ended, or the time is over, or the gateway stops.

        Raises:
            GatewayError: RESOURCE_EXHAUSTED when too many wait; what Temporal refuses meanwhile.
        """
        if self.open >= self._limit:
            said = f"{self._limit} waits are open; try again later, or poll"
            raise GatewayError(code_pb2.RESOURCE_EXHAUSTED, "TOO_MANY_WAITS", said)
        self.open += 1
        watch = self._watch(workflow_id)
        watch.waiting += 1
        try:
            await self._first(watch.ended, seconds)
        finally:
            self.open -= 1
            watch.waiting -= 1
            if not watch.waiting:
                watch.ended.cancel()
                self._forget(workflow_id, watch)

    async def _first(self, ended: asyncio.Task[None], seconds: float) -> None:
        stopped = asyncio.ensure_future(self._stopped.wait())
        try:
            await asyncio.wait([ended, stopped], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
        if ended.done():
            ended.result()

    def _watch(self, workflow_id: str) -> _Watch:
        watch = self._watches.get(workflow_id)
        if watch is None or watch.ended.done():
            watch = _Watch(asyncio.ensure_future(self._until_ended(workflow_id)))
            self._watches[workflow_id] = watch
        return watch

    def _forget(self, workflow_id: str, watch: _Watch) -> None:
        if self._watches.get(workflow_id) is watch:
            del self._watches[workflow_id]

    async def _until_ended(self, workflow_id: str) -> None:
        """Follow a flow through its runs; Temporal holds each question until the run closes, for about 20 s."""
        run = await self._temporal.describe(workflow_id)
        while run is not None and run.open:
            await self._temporal.closing(run, wait=True)
            run = await self._temporal.describe(workflow_id)
