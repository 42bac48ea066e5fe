"""Time for large plans: what would take a workflow task too long is done in several."""

from __future__ import annotations

import asyncio

from temporalio import workflow

from flows._control import Control
from flows._step import wait_for

MANY = 1000
"""So many steps may be read in one workflow task; Temporal fails one that computes for two seconds."""


async def breathe(control: Control, steps: int) -> None:
    """Let the workflow task end, if there were many steps to read; a cancel meanwhile counts afterwards."""
    if steps <= MANY:
        return
    pause = asyncio.create_task(workflow.sleep(0.001, summary="many steps: next workflow task"))
    if await wait_for([pause]):
        control.cancel()
