"""A worker that exports spans, to be killed; forked by :mod:`tests.spawning`."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import timedelta
from pathlib import Path

from temporalio.client import Client
from temporalio.worker import Worker

from activities import Registry
from flows import CounterstepPlugin, spans_asked
from tests.sagas.crashing import SAGAS, risky
from tests.support import World


async def main(address: str, queue: str, folder: str, env: str) -> None:
    """Serve until killed."""
    os.environ.update(json.loads(env))
    plugin = CounterstepPlugin(
        Registry(risky, *SAGAS),
        deps=World(Path(folder)),
        heartbeat_timeout=timedelta(seconds=1),
        spans=spans_asked(),
    )
    client = await Client.connect(address, plugins=[plugin])
    soon = timedelta(seconds=0.2)
    async with Worker(client, task_queue=queue, sticky_queue_schedule_to_start_timeout=soon):
        await asyncio.Event().wait()
