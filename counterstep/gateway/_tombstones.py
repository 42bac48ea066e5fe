"""Deleted operations. The gateway has no store, so each is a workflow that nobody runs: it stands for "hidden".

The record of a closed workflow stays for Temporal's retention. So a tombstone that closes no earlier than its flow is there
for as long as the flow's own record; that of a closed flow ends by itself at once, that of an open one is ended once the flow
has closed. Deleting never touches the flow: its history, its report and its ``undo`` are as before.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from hashlib import sha256

import pydantic_core

from activities._wire import json_payload
from counterstep.gateway._errors import GatewayError, not_found
from counterstep.gateway._names import ID_LIMIT
from counterstep.gateway._start_request import Start, already_there
from counterstep.gateway._temporal import Run, Temporal
from counterstep.reports import INTERNAL, TOMBSTONE

QUEUE = "counterstep-nobody"
SWEEP = timedelta(minutes=5)
_MEMO = "counterstep.deleted"
_BATCH = 500

_log = logging.getLogger("counterstep.gateway")


def internal_type(workflow_type: str) -> bool:
    """Whether runs of a type are no operations: ours, and Temporal's own."""
    return workflow_type in INTERNAL or workflow_type.startswith("temporal-sys-")


def tombstone_id(workflow_id: str) -> str:
    """Give the workflow id of a flow's tombstone."""
    found = f"{TOMBSTONE}:{workflow_id}"
    if len(found.encode()) <= ID_LIMIT:
        return found
    return f"{TOMBSTONE}:{sha256(workflow_id.encode()).hexdigest()}"


class Tombstones:
    """Marks of deleted operations."""

    def __init__(self, temporal: Temporal) -> None:
        """Take where they are kept."""
        self._temporal = temporal

    async def of(self, workflow_id: str) -> Run | None:
        """Find a flow's tombstone, if it has one; an earlier flow of the same id may have left it."""
        return await self._temporal.describe(tombstone_id(workflow_id))

    def hides(self, tombstone: Run | None, run: Run) -> bool:
        """Whether a tombstone is that of a run's own flow."""
        if tombstone is None or tombstone.type != TOMBSTONE:
            return False
        return _said(tombstone).get("first_run_id") == run.first_run_id

    async def put(self, run: Run, name: str) -> None:
        """Hide a flow.

        Raises:
            GatewayError: NOT_FOUND, when somebody else was faster.
        """
        start = Start(
            TOMBSTONE,
            tombstone_id(run.workflow_id),
            QUEUE,
            memo={_MEMO: json_payload({"workflow_id": run.workflow_id, "first_run_id": run.first_run_id})},
            timeout=None if run.open else timedelta(seconds=1),
        )
        try:
            await self._temporal.start(start)
        except GatewayError as error:
            if not already_there(error):
                raise
            if self.hides(await self.of(run.workflow_id), run):
                raise not_found(name) from None
            await self._temporal.start(start, replace=True)

    async def sweep(self) -> int:
        """End the tombstones of flows that have closed; give how many there were."""
        query = f"WorkflowType = '{TOMBSTONE}' AND ExecutionStatus = 'Running'"
        ended, token, more = 0, b"", True
        while more:
            standing, token = await self._temporal.runs(query, _BATCH, token)
            ended += sum([await self._ended(tombstone) for tombstone in standing])
            more = bool(token)
        return ended

    async def _ended(self, tombstone: Run) -> bool:
        """End a tombstone, if its flow has closed."""
        said = _said(tombstone)
        hidden = await self._temporal.describe(said.get("workflow_id", tombstone.workflow_id))
        if hidden is not None and hidden.open and hidden.first_run_id == said.get("first_run_id"):
            return False
        await self._temporal.terminate(tombstone)
        return True

    async def keep_sweeping(self) -> None:
        """Sweep now and then, for as long as the gateway stands."""
        while True:
            await asyncio.sleep(SWEEP.total_seconds())
            try:
                await self.sweep()
            except GatewayError as error:
                _log.warning("tombstones weren't swept: %s", error.message)


def _said(tombstone: Run) -> dict[str, str]:
    """Read which flow a tombstone hides; it is written without the module's codec."""
    try:
        said = pydantic_core.from_json(tombstone.memo.fields[_MEMO].data)
    except (KeyError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}
