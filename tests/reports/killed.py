"""A worker that exports spans, to be killed; forked by :mod:`tests.spawning`."""

from __future__ import annotations

import json
import os

from flows import spans_asked
from tests.dying import serve
from tests.sagas.crashing import SAGAS, risky


async def main(address: str, queue: str, folder: str, env: str) -> None:
    """Serve until killed."""
    os.environ.update(json.loads(env))
    await serve(address, queue, folder, risky, *SAGAS, spans=spans_asked())
