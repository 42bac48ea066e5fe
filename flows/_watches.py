"""Telling flows that what they wait for has ended: this worker has Temporal tell it, instead of asking again and again."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

from temporalio.client import Client
from temporalio.service import RPCError

from flows._operation_name import workflow_id_of
from flows._waiting import TOLD

_LOGGER = logging.getLogger(__name__)


class Watches:
    """What this worker is to tell of: for each wait, that all operations it waits for have ended."""

    def __init__(self) -> None:
        """Begin with none."""
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._until: dict[tuple[str, str], float] = {}

    def keep(self, client: Client, waiting: str, token: str, names: list[str], delay: timedelta) -> None:
        """Watch, until some time after the next look should have come."""
        key, now = (waiting, token), asyncio.get_running_loop().time()
        self._until[key] = now + delay.total_seconds() + 60
        if key not in self._tasks:
            ids = [id for name in names if (id := workflow_id_of(name))]
            task = self._tasks[key] = asyncio.create_task(self._watch(client, key, ids))
            task.add_done_callback(lambda _: (self._tasks.pop(key, None), self._until.pop(key, None)))

    def close(self) -> None:
        """End all of them."""
        for task in list(self._tasks.values()):
            task.cancel()

    async def _watch(self, client: Client, key: tuple[str, str], ids: list[str]) -> None:
        """Tell of the end; what goes wrong is made good by the next look."""
        ended = asyncio.gather(*(_closed(client, id) for id in ids))
        try:
            while not ended.done() and (left := self._until[key] - asyncio.get_running_loop().time()) > 0:
                await asyncio.wait([ended], timeout=left)
            if ended.done():
                ended.result()
                await client.get_workflow_handle(key[0]).signal(TOLD, key[1])
        except RPCError:
            _LOGGER.debug("couldn't watch what %s waits for", key[0], exc_info=True)
        finally:
            ended.cancel()


async def _closed(client: Client, id: str) -> None:
    """Wait, without asking again and again, until a flow has ended, whatever its result."""
    try:
        await client.get_workflow_handle(id).result()
    except RPCError:
        raise
    except Exception:
        return
