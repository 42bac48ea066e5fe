r"""Simulations on this machine: a world, its robots and a recorder, each a process, with their files.

Launching one is an action of fifteen jobs. Whatever goes wrong, processes are ended, files removed, the slot given back.

    SIMULATION_ROOT=/tmp/simulations python worker.py --dev --module examples.simulation

In a second terminal:

    temporal workflow execute --type simulations/launch --task-queue counterstep --workflow-id launch-1 \
        --input '{"name": "maze", "robots": ["ada", "bob"]}'
    temporal workflow query --workflow-id launch-1 --type deployment
    tail -f /tmp/simulations/simulations/maze/nodes/recorder/record.jsonl

`counterstep undo launch-1` ends it again. A robot whose name begins with `faulty` doesn't start, one that begins with `tired`
doesn't move, and a world of size 0 has no room: try them, and look at what is left. The same name twice is refused, and
the first one isn't touched.

`launch_nodes`, `wait` and `set_status` are generic jobs, which hooks fit to one purpose: see `jobs.py`. Greeting visitors
fails, since there is no folder for that, and is ignored: the error is in the deployment.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from examples.simulation.actions import launch_simulation, service
from examples.simulation.site import Site

__all__ = ["launch_simulation", "lifespan", "service"]


@asynccontextmanager
async def lifespan() -> AsyncIterator[Site]:
    """The machine: the folder that the environment variable `SIMULATION_ROOT` names.

    Raises:
        RuntimeError: `SIMULATION_ROOT` isn't set.
    """
    root = os.environ.get("SIMULATION_ROOT")
    if not root:
        raise RuntimeError("SIMULATION_ROOT isn't set: name the folder that simulations live in")
    yield Site(Path(root).absolute())
