"""Waiting for our own flows: told of their end, not polled; bounded history; a lost worker is made good."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHandle

from flows import _wait_services, operation_name, start
from tests.conftest import Serve
from tests.longrunning.waiting import Fails, Naps, Waiter, Waits, a, b, took
from tests.support import World, causes, events_of, failure_of, new_id

HOUR = timedelta(hours=1)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every look at one of our own flows."""
    seen: list[str] = []
    own = _wait_services._own

    async def look(client: Client, name: str, *, errors: bool) -> _wait_services.Look:
        seen.append(name)
        return await own(client, name, errors=errors)

    monkeypatch.setattr(_wait_services, "_own", look)
    return seen


async def _wait_for(client: Client, queue: str, *ids: str, **waits: Any) -> WorkflowHandle[Any, str]:
    names = [operation_name(id) for id in ids]
    return await start(
        client, Waiter, Waits(operations=names, service=None, **waits), id=new_id(), task_queue=queue
    )


async def _looked(looks: list[str], count: int) -> None:
    while len(looks) < count:
        await asyncio.sleep(0.02)


async def test_told_of_the_end(
    serve: Serve, world: World, task_queue: str, cache: int, looks: list[str]
) -> None:
    """A wait for two flows ends when both have, though the next look would be an hour later; in few events."""
    async with serve(a, Waiter, Naps, cache=cache) as client:
        naps = [
            await start(client, Naps, timedelta(seconds=s), id=new_id("nap / ä"), task_queue=task_queue)
            for s in (0, 3)
        ]
        handle = await _wait_for(client, task_queue, *(n.id for n in naps), poll=HOUR, timeout=2 * HOUR)
        assert await asyncio.wait_for(handle.result(), 60) == "waited"
        events = await events_of(handle)
    assert len(looks) <= 4 and len(set(looks)) == 2
    assert len(events) < 35
    assert events.count("WORKFLOW_EXECUTION_SIGNALED") == 1


async def test_errors_of_our_own(serve: Serve, world: World, task_queue: str) -> None:
    """LRO-28: one that failed has ended; with `raise_errors` its failure is raised, its causes with it."""
    world.switch("fail-b")
    async with serve(a, b, Waiter, Fails) as client:
        bad = await start(client, Fails, timedelta(0), id=new_id("bad"), task_queue=task_queue)
        assert await (await _wait_for(client, task_queue, bad.id, poll=HOUR)).result() == "waited"
        handle = await _wait_for(client, task_queue, bad.id, poll=HOUR, more={"raise_errors": True})
        found = causes(await failure_of(handle))
    assert [kind for kind, _ in found] == ["RolledBack", "RolledBack", "OperationFailed", "RuntimeError"]
    assert found[1][1].startswith(f"operations/{bad.id} ended with an error: fails@1.0.0 rolled back: step b")


async def test_ends_without_our_code(serve: Serve, task_queue: str, looks: list[str]) -> None:
    """One that is terminated tells of its end too; its error has a code."""
    async with serve(a, Waiter, Naps) as client:
        nap = await start(client, Naps, HOUR, id=new_id("nap"), task_queue=task_queue)
        handle = await _wait_for(client, task_queue, nap.id, poll=HOUR, more={"raise_errors": True})
        await _looked(looks, 1)
        await nap.terminate()
        found = causes(await failure_of(handle))
    assert found[1][0] == "ABORTED"


async def test_one_that_is_not_there(serve: Serve, task_queue: str) -> None:
    """LRO-29: none of that name: told of once the other one has ended."""
    async with serve(a, Waiter, Naps) as client:
        nap = await start(client, Naps, timedelta(seconds=1), id=new_id("nap"), task_queue=task_queue)
        handle = await _wait_for(client, task_queue, "none", nap.id, poll=HOUR)
        found = causes(await failure_of(handle))
    assert found[1] == ("OperationNotFound", "operations/none does not exist")


async def test_no_flow_waits_for_itself(serve: Serve, task_queue: str) -> None:
    """Waiting for one's own end is refused."""
    id = new_id()
    async with serve(a, Waiter) as client:
        waits = Waits(operations=[operation_name(id)], service=None)
        handle = await start(client, Waiter, waits, id=id, task_queue=task_queue)
        found = causes(await failure_of(handle))
    assert found[1] == (
        "DefinitionError",
        f"wait: operations/{id} is the operation that would wait for itself",
    )


async def test_the_worker_that_watched_is_lost(
    serve: Serve, task_queue: str, looks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker that would tell of the end goes away, and the flow ends meanwhile: the next rare look finds it."""
    monkeypatch.setattr(_wait_services, "_RARE", timedelta(seconds=1))
    async with serve(a, Waiter, Naps) as client:
        nap = await start(client, Naps, HOUR, id=new_id("nap"), task_queue=task_queue)
        handle = await _wait_for(client, task_queue, nap.id, timeout=HOUR, poll=timedelta(seconds=0.2))
        await _looked(looks, 2)
    async with serve(a, Waiter, Naps):
        monkeypatch.setattr(_wait_services.Watches, "keep", lambda *_: None)
        await nap.terminate()
        assert await asyncio.wait_for(handle.result(), 60) == "waited"


async def test_deadline_of_our_own(
    skipping: Serve, world: World, task_queue: str, cache: int, looks: list[str]
) -> None:
    """LRO-26: a flow that takes an hour, with the default timeout: late after 420 s, looked at rarely."""
    async with skipping(a, Waiter, Naps, cache=cache) as client:
        nap = await start(client, Naps, HOUR, id=new_id("nap"), task_queue=task_queue)
        handle = await _wait_for(client, task_queue, nap.id)
        found = causes(await failure_of(handle, 60))
        assert 420 <= await took(client, handle) < 430
    assert found[1] == ("WaitDeadlineExceeded", f"operations/{nap.id} was not done within 420 seconds")
    assert len(looks) < 25
