"""``python -m bench.sweeping``: how long a sweep of a ten-step saga takes, without and with restarts and resets."""

from __future__ import annotations

import argparse
import asyncio
import logging
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter

from activities import Context, EmptyInput, Outcome, Retry, operation
from bench.lines import Line, Target, on_two_cores, show
from flows import Dag, saga
from flows.testing import ALL, QUICK, Coverage, Temporal, dev_server, sweep
from worker import leave

STEPS = 10
TARGETS = {"without restart and reset": Target(60), "with them": Target(300)}


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


def _line(name: str, coverage: Coverage) -> Line:
    told = f"{coverage.runs} runs; {coverage.count('held')} cells held, {coverage.count('not applicable')} don't apply"
    return Line(f"{name}, s", coverage.seconds, TARGETS[name], f"{coverage.seconds:.0f}", more=told)


async def main(*, whole: bool) -> int:
    """Print a table; give 1 when a target isn't met."""
    where = on_two_cores()
    with dev_server() as dev:
        lines = [_line("without restart and reset", await swept(dev, whole=False))]
        if whole:
            lines.append(_line("with them", await swept(dev, whole=True)))
    show(f"sweep of a ten-step saga, on {where}", lines)
    return int(any(line.met is False for line in lines))


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    # A sweep breaks hundreds of runs on purpose, and the SDK's core would tell of each.
    quiet = LoggingConfig(TelemetryFilter(core_level="ERROR", other_level="ERROR"))
    Runtime.set_default(Runtime(telemetry=TelemetryConfig(logging=quiet)))
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="without restarts and resets")
    given = parser.parse_args()
    leave(asyncio.run(main(whole=not given.quick)))
