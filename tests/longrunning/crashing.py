"""A worker that kills itself around resume points: ``python -m tests.longrunning.crashing ADDRESS QUEUE FOLDER``."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta

from temporalio import workflow

from activities import EmptyInput
from flows import LongRunning
from worker import leave

with workflow.unsafe.imports_passed_through():
    from tests.dying import serve
    from tests.sagas.crashing import risky

LEGS = 4


class Crashes(LongRunning[EmptyInput, list[str], list[str], int], id="crashes", version="1.0.0"):
    """A step in each of four legs, with a state that grows."""

    async def run(self, input: EmptyInput) -> list[str]:
        number = len(self.state)
        report = await self.execute(risky, input, step=f"s{number}")
        self.state.append(report.output)
        self.metadata = number
        if len(self.state) == LEGS:
            return self.state
        return await self.wait(timedelta(milliseconds=50), resume_point=f"p{number + 1}")


def _say() -> None:
    print("Serving", flush=True)


async def main(address: str, queue: str, folder: str) -> None:
    """Serve until killed."""
    await serve(address, queue, folder, risky, Crashes, began=_say)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
    leave(0)
