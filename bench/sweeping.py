"""``python -m bench.sweeping``: how long a sweep of a ten-step saga takes, without and with restarts and resets."""

from __future__ import annotations

import argparse
import asyncio
import logging
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from activities import Context, EmptyInput, Outcome, Retry, operation
from flows import Dag, saga
from flows.testing import ALL, QUICK, Coverage, Temporal, dev_server, sweep
from worker import leave

STEPS = 10
TARGETS = {"without restart and reset": 60, "with them": 300}


@operation(id="put", version="1.0.0", retry=Retry(max_attempts=3))
async def put(ctx: Context[Path], input: EmptyInput) -> str:
    """Put a file there."""
    (ctx.deps / f"{ctx.step}-{ctx.idempotency_key}").touch()
    return ctx.step


@put.undo
async def take(ctx: Context[Path], input: EmptyInput, outcome: Outcome[str]) -> None:
    """Take it away."""
    (ctx.deps / f"{ctx.step}-{ctx.idempotency_key}").unlink(missing_ok=True)


@saga(id="ten-files", version="1.0.0")
def ten_files(dag: Dag, params: EmptyInput) -> None:
    """Ten files, one after another."""
    for number in range(STEPS):
        dag.append(f"s{number}", put, {})


@asynccontextmanager
async def folder() -> AsyncIterator[Path]:
    """A folder of its own."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def names(folder: Path) -> list[str]:
    """What lies in it, without keys."""
    return sorted(file.name.split("-")[0] for file in folder.iterdir())


async def swept(temporal: Temporal, *, whole: bool) -> Coverage:
    """Sweep it."""
    modes = ALL if whole else QUICK
    return await sweep(
        ten_files, EmptyInput(), world=names, lifespan=folder, serve=[put], temporal=temporal, modes=modes
    )


async def main(*, whole: bool) -> int:
    """Print a table; give 1 when a promise doesn't hold."""
    with dev_server() as dev:
        rows = {"without restart and reset": await swept(dev, whole=False)}
        if whole:
            rows["with them"] = await swept(dev, whole=True)
    table = Table("sweep of a ten-step saga", "cells", "runs", "seconds", "promise")
    for name, coverage in rows.items():
        held = f"{coverage.count('held')} held, {coverage.count('not applicable')} don't apply"
        table.add_row(name, held, str(coverage.runs), f"{coverage.seconds:.0f}", f"≤ {TARGETS[name]}")
    Console().print(table)
    return int(any(coverage.seconds > TARGETS[name] for name, coverage in rows.items()))


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="without restarts and resets")
    given = parser.parse_args()
    leave(asyncio.run(main(whole=not given.quick)))
