"""A worker that is killed loses no span for good: `export` gives those that there would have been."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.client import Client

from activities import EmptyInput
from activities._spans import flow_span, step_spot
from activities._wire import Identity, StepHeader
from counterstep.reports import fetch_report, spans_of
from flows import start
from tests.reports.tracing import Received, check, decoded, http_receiver
from tests.sagas.crashing import risky_line
from tests.spawning import Spawner, kill, spawner
from tests.support import World, eventually, failure_of, new_id


@pytest.fixture(scope="module")
def workers() -> Iterator[Spawner]:
    """Start workers that export spans."""
    with spawner("tests.reports.killed") as made:
        yield made


@pytest.fixture
def receiver() -> Iterator[Received]:
    with http_receiver() as made:
        yield made


def expected(workflow_id: str, origin: str) -> dict[str, bytes]:
    """Give the ids of all spans by name, as they follow from what the run is."""
    own = ("default", workflow_id, origin)
    ids = {"risky-line@1.0.0": flow_span(*own), "started": flow_span(*own, kind="started")}
    for step in "abc":
        identity = Identity(namespace="default", workflow=workflow_id, origin=origin, step=step)
        header = StepHeader(run=origin)
        ids[step] = step_spot(identity, header, undo=False).span
        ids[f"undo {step}"] = step_spot(identity, header, undo=True).span
    return {name: bytes.fromhex(id) for name, id in ids.items()}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("moments", [3, pytest.param(20, marks=pytest.mark.nightly)])
async def test_a_worker_killed_at_any_moment(
    workers: Spawner, receiver: Received, tmp_path: Path, dev_address: str, moments: int
) -> None:
    """Point 4: whenever the worker is killed, the same span ids as without, from the worker no other ones."""
    client = await Client.connect(dev_address)
    chance = random.Random(moments)

    async def run(after: float | None) -> float:
        world, queue = World(tmp_path / new_id()), new_id("killed")
        world.switch("unknown-c")
        args = (dev_address, queue, str(world.folder), json.dumps(receiver.env))
        worker, began = workers.spawn(*args), time.monotonic()
        handle = await start(
            client, risky_line, EmptyInput(), id=new_id(), task_queue=queue, task_timeout=timedelta(seconds=1)
        )
        result = asyncio.ensure_future(failure_of(handle, 300))
        if after is not None:
            await asyncio.wait([result], timeout=after)
            kill(worker)
            worker = workers.spawn(*args)
        assert type(await result).__name__ == "ApplicationError"
        took = time.monotonic() - began
        report = await fetch_report(client, handle.id)
        assert report.run is not None
        wanted = expected(handle.id, report.run.origin)
        if after is None:
            await eventually(
                lambda: {span.span_id for span in receiver.of(handle.id)} == set(wanted.values())
            )
        kill(worker)
        spans = check(decoded(spans_of(report)))
        assert {span.name: span.span_id for span in spans.values()} == wanted
        assert {span.span_id for span in receiver.of(handle.id)} <= set(wanted.values())
        return took

    whole = await run(None)
    for number in range(0, moments, 4):
        await asyncio.gather(*(run(chance.random() * whole) for _ in range(min(4, moments - number))))
