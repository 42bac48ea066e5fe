"""``google.longrunning.Operations``, whatever the transport: get, list, wait, cancel, delete."""

from __future__ import annotations

import asyncio
import logging
import math
import time

from google.longrunning.operations_pb2 import ListOperationsRequest, ListOperationsResponse, Operation
from google.rpc import code_pb2

from counterstep.gateway._closings import Closings
from counterstep.gateway._errors import GatewayError, not_found
from counterstep.gateway._listing import Listing
from counterstep.gateway._names import parse_name
from counterstep.gateway._temporal import Run, Temporal
from counterstep.gateway._tombstones import Tombstones, internal_type
from counterstep.gateway._view import View, unreadable, view
from counterstep.gateway._waits import Waits

_log = logging.getLogger("counterstep.gateway")


class Operations:
    """The five methods. All state is Temporal's, so any number of these may stand side by side."""

    def __init__(self, temporal: Temporal, waits: Waits, tombstones: Tombstones, page_limit: int) -> None:
        """Take what they work with."""
        self._temporal = temporal
        self._closings = Closings(temporal)
        self._waits = waits
        self._tombstones = tombstones
        self._listing = Listing(temporal, self._listed, page_limit)

    async def get(self, name: str) -> Operation:
        """Give the latest state; no worker is asked."""
        parent, workflow_id = parse_name(name)
        found = await self._look(workflow_id, parent)
        if found is None:
            raise not_found(name)
        return found[1].operation

    async def wait(self, name: str, seconds: float, within: float = math.inf) -> Operation:
        """Give the operation when it is done, or its latest state when the time is over.

        Args:
            name: of the operation.
            seconds: how long to wait at most.
            within: seconds from now in which to answer, whatever Temporal takes to say the latest state.
        """
        began = time.monotonic()
        operation = await self.get(name)
        took = time.monotonic() - began
        seconds = min(seconds, within - 2 * took)  # the second look may take as long as the first
        if operation.done or seconds <= 0:
            return operation
        await self._waits.until_done(parse_name(name)[1], seconds)
        try:
            async with asyncio.timeout(began + within - time.monotonic()):
                return await self.get(name)
        except TimeoutError:
            return operation

    async def cancel(self, name: str) -> None:
        """Begin unwinding; one that is done stays as it is."""
        run = await self._run(name)
        if run.open:
            await self._temporal.cancel(run)

    async def delete(self, name: str) -> None:
        """Hide it; the flow goes on, and its history stays."""
        await self._tombstones.put(await self._run(name), name)

    async def list(self, request: ListOperationsRequest) -> ListOperationsResponse:
        """Give a page, newest first."""
        return await self._listing.page(request)

    async def _run(self, name: str) -> Run:
        run = await self._visible(parse_name(name)[1])
        if run is None:
            raise not_found(name)
        return run

    async def _visible(self, workflow_id: str) -> Run | None:
        """Find the newest run, unless it is hidden, or no operation."""
        run, tombstone = await asyncio.gather(
            self._temporal.describe(workflow_id), self._tombstones.of(workflow_id)
        )
        if run is None or internal_type(run.type) or self._tombstones.hides(tombstone, run):
            return None
        return run

    async def _look(self, workflow_id: str, parent: str) -> tuple[Run, View] | None:
        """Find the newest run and show it; none if it expires meanwhile."""
        run = await self._visible(workflow_id)
        return None if run is None else await self._shown(run, parent)

    async def _listed(self, workflow_id: str, parent: str) -> tuple[Run, View] | None:
        """Find and show it as :meth:`_look`; what can't be shown doesn't take the rest of a list along."""
        run = await self._visible(workflow_id)
        if run is None:
            return None
        try:
            return await self._shown(run, parent)
        except Exception as error:
            if isinstance(error, GatewayError) and error.code != code_pb2.INTERNAL:
                raise
            _log.exception("%s is listed by its name alone", run.workflow_id)
            return run, unreadable(run, parent)

    async def _shown(self, run: Run, parent: str) -> tuple[Run, View] | None:
        closing = None if run.open else await self._closings.of(run)
        if closing is None and not run.open:
            return None
        return run, await view(self._temporal, run, closing, parent)
