"""The saga that chaos is made of, its operations, and the worker that serves it; forked by :mod:`tests.spawning`."""

from __future__ import annotations

import asyncio
import random
import time
from datetime import timedelta
from pathlib import Path

from pydantic import BaseModel
from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Worker

from activities import Context, Outcome, Registry, Retry, operation
from flows import CounterstepPlugin, Dag, Step, saga
from tests.chaos.store import Store

PATIENT = Retry(max_attempts=0, initial=timedelta(milliseconds=50), maximum=timedelta(seconds=1))
APPROVAL = "go"


class Draw(BaseModel):
    """A saga's shape, and what goes wrong in it, follow from its seed."""

    seed: int


class Work(BaseModel):
    """How long a step takes, and whether it fails."""

    seconds: float
    fails: bool = False


@operation(id="change", version="1.0.0", timeout=timedelta(seconds=20), retry=Retry(max_attempts=3))
def change(ctx: Context[Store], input: Work) -> str:
    """Change something, take a while, perhaps fail before any of it."""
    with ctx.deps.called(ctx.workflow_id, ctx.step, "do", _attempt()):
        if input.fails:
            raise RuntimeError(f"{ctx.step} is down")
        ctx.deps.do(ctx.idempotency_key, ctx.workflow_id, ctx.step)
        time.sleep(input.seconds)
        return ctx.step


@change.undo(retry=PATIENT, timeout=timedelta(seconds=20))
def change_back(ctx: Context[Store], input: Work, outcome: Outcome[str]) -> None:
    with ctx.deps.called(ctx.workflow_id, ctx.step, "undo", _attempt()):
        ctx.deps.undo(ctx.idempotency_key, ctx.workflow_id, ctx.step)


def _attempt() -> str:
    """Name the attempt, as Temporal counts them: the number begins anew when a step is dispatched again."""
    info = activity.info()
    return f"{info.workflow_run_id} {info.activity_id} {info.attempt} {info.current_attempt_scheduled_time}"


@saga(id="chaotic", version="1.0.0")
def chaotic(dag: Dag, params: Draw) -> None:
    """Build a line of stages, with waits between them, and perhaps an approval and a failure."""
    chosen = random.Random(params.seed)
    count = chosen.randint(2, 5)
    failing = chosen.randrange(count) if chosen.random() < 0.4 else None
    for stage in range(count):
        _stage(dag, chosen, stage, fails=stage == failing)
        dag.wait(f"wait{stage}", timedelta(seconds=chosen.uniform(1, 20)))
        if stage == 1 and chosen.random() < 0.3:
            dag.approval(APPROVAL)


def _stage(dag: Dag, chosen: random.Random, stage: int, *, fails: bool) -> tuple[Step[str], ...]:
    beside = chosen.randint(1, 3)
    failing = chosen.randrange(beside) if fails else None
    return dag.append_parallel(
        *(
            dag.step(f"s{stage}-{n}", change, Work(seconds=chosen.uniform(0, 0.3), fails=n == failing))
            for n in range(beside)
        )
    )


async def main(address: str, queue: str, file: str) -> None:
    """Serve until killed."""
    plugin = CounterstepPlugin(
        Registry(change, chaotic), deps=Store(Path(file)), heartbeat_timeout=timedelta(seconds=3)
    )
    while True:
        try:
            client = await Client.connect(address, plugins=[plugin])
            break
        except RuntimeError:  # the server is down as well
            await asyncio.sleep(0.2)
    soon = timedelta(seconds=1)
    async with Worker(client, task_queue=queue, sticky_queue_schedule_to_start_timeout=soon):
        await asyncio.Event().wait()
