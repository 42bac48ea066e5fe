"""A rollout of a small HTTP service on this machine.

    RELEASE_ROOT=/tmp/site python worker.py --dev --module examples.release

serves it; `make demo` does that by itself, and rolls out a good and a broken release.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from temporalio import workflow

from examples.release.rollout import Rollout

with workflow.unsafe.imports_passed_through():
    from examples.release.layout import Site
    from examples.release.operations import (
        check_health,
        reserve_port,
        start_service,
        stop_service,
        switch_traffic,
        unpack_release,
    )

__all__ = [
    # operations
    "check_health",
    "reserve_port",
    "start_service",
    "stop_service",
    "switch_traffic",
    "unpack_release",
    # sequences
    "Rollout",
    # what they work on
    "lifespan",
]


@asynccontextmanager
async def lifespan() -> AsyncIterator[Site]:
    """The machine that releases go to: the folder that the environment variable `RELEASE_ROOT` names.

    Raises:
        RuntimeError: `RELEASE_ROOT` isn't set.
    """
    root = os.environ.get("RELEASE_ROOT")
    if not root:
        raise RuntimeError("RELEASE_ROOT isn't set: name the folder that releases go to")
    yield Site(Path(root).absolute())
