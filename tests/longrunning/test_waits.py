"""Waiting for foreign operations, and for nothing but time, on a server that skips it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.testing import ActivityEnvironment

from activities._run import Host
from flows import start
from flows._wait_services import WaitServices
from flows._waiting import Awaited
from tests.conftest import Serve
from tests.longrunning.waiting import Blocking, Foreign, Waiter, Waits, a, took
from tests.support import World, causes, events_of, failure_of, new_id

SECONDS, MINUTES, HOURS = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


@dataclass(frozen=True)
class Running:
    """Starts waits on one worker."""

    client: Client
    task_queue: str
    world: World

    async def start(self, **waits: Any) -> WorkflowHandle[Any, str]:
        return await start(self.client, Waiter, Waits(**waits), id=new_id(), task_queue=self.task_queue)

    async def __call__(self, **waits: Any) -> str:
        return await (await self.start(**waits)).result()

    async def fails(self, **waits: Any) -> tuple[list[tuple[str, str]], WorkflowHandle[Any, str]]:
        handle = await self.start(**waits)
        return causes(await failure_of(handle, 60)), handle

    @property
    def looks(self) -> list[str]:
        return self.world.lines("looks")


Waiting = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def waiting(skipping: Serve, world: World, task_queue: str) -> Waiting:
    """Serve the flow that waits, with two services that know foreign operations."""

    @asynccontextmanager
    async def serving(cache: int = 1000) -> AsyncIterator[Running]:
        deps = {World: world, Foreign: Foreign(world), "blocking": Blocking(world)}
        async with skipping(a, Waiter, deps=deps, cache=cache) as client:
            yield Running(client, task_queue, world)

    return serving


async def test_the_seeds_seven_minutes(waiting: Waiting, cache: int) -> None:
    """LRO-21, LRO-26, LRO-27: never done, with the defaults: fails after about 422 s and 141 looks, in few events; unwound."""
    async with waiting(cache) as run:
        found, handle = await run.fails(operations=["operations/never"])
        seconds, events = await took(run.client, handle), await events_of(handle)
    late = "operations/never was not done within 420 seconds"
    assert found == [
        ("RolledBack", f"waiter@1.0.0 rolled back: WaitDeadlineExceeded: {late}"),
        ("WaitDeadlineExceeded", late),
    ]
    assert 420 <= seconds < 430
    assert 135 <= len(run.looks) <= 142
    assert len(events) < 35 and events.count("ACTIVITY_TASK_SCHEDULED") == 3
    assert run.world.calls == [("a", 1), ("undo a", 1, "done", 2)]


async def test_one_look_always_happens(waiting: Waiting) -> None:
    """LRO-25: after a sleep that is longer than the timeout there is one look: done is fine, not done is too late."""
    long: dict[str, Any] = {"sleep": 10 * MINUTES, "timeout": 7 * MINUTES}
    async with waiting() as run:
        assert await run(operations=["operations/done"], **long) == "waited"
        found, handle = await run.fails(operations=["operations/never"], **long)
        assert 600 <= await took(run.client, handle) < 605
    assert found[1] == ("WaitDeadlineExceeded", "operations/never was not done within 420 seconds")
    assert run.looks == ["operations/done", "operations/never"]


async def test_nothing_to_wait_for(waiting: Waiting) -> None:
    """LRO-23: a bare wait returns at once, without a timer or an activity."""
    async with waiting() as run:
        handle = await run.start()
        assert await handle.result() == "waited"
        events = await events_of(handle)
    assert "TIMER_STARTED" not in events and events.count("ACTIVITY_TASK_SCHEDULED") == 1


async def test_a_day_of_sleep(waiting: Waiting, cache: int) -> None:
    """A sleep of 24 hours is one timer, whatever the timeout is; then the next leg is entered."""
    async with waiting(cache) as run:
        handle = await run.start(sleep=24 * HOURS, resume_point="tomorrow")
        assert await handle.result() == "resumed at tomorrow"
        assert 86_400 <= await took(run.client, handle) < 86_420


async def test_an_error_counts_as_done(waiting: Waiting) -> None:
    """LRO-28: an operation that ended with an error has ended; with `raise_errors` its error is raised, with its code."""
    async with waiting() as run:
        assert await run(operations=["operations/failed"]) == "waited"
        found, _ = await run.fails(operations=["operations/failed"], more={"raise_errors": True})
    message = "operations/failed ended with an error: no room"
    assert found == [
        ("RolledBack", f"waiter@1.0.0 rolled back: FAILED_PRECONDITION: {message}"),
        ("FAILED_PRECONDITION", message),
    ]


async def test_a_missing_one_is_told_of_last(waiting: Waiting) -> None:
    """LRO-29: one unknown, one done after 30 s: the error comes at 30 s and names the unknown one; the done one is left alone."""
    async with waiting() as run:
        found, handle = await run.fails(
            operations=["operations/missing", "operations/after-10", "operations/done"]
        )
        assert 30 <= await took(run.client, handle) < 35
    assert found[1] == ("OperationNotFound", "operations/missing does not exist")
    assert run.looks.count("operations/after-10") == 11
    assert run.looks.count("operations/done") == 1


async def test_looks_that_fail(waiting: Waiting) -> None:
    """A look that fails is a look: the next one may succeed; if none does, the deadline's error says why."""
    async with waiting() as run:
        assert await run(operations=["operations/shaky"]) == "waited"
        found, _ = await run.fails(operations=["operations/broken"], poll=MINUTES, timeout=2 * MINUTES)
    assert found[1] == (
        "WaitDeadlineExceeded",
        "operations/broken was not done within 120 seconds; the last look failed: ConnectionError: the line is dead",
    )
    assert run.looks.count("operations/broken") == 3


async def test_services_by_name(waiting: Waiting) -> None:
    """A service is found by its key, may block, and may give objects; one that isn't there is named."""
    async with waiting() as run:
        assert await run(operations=["projects/p/operations/1"], service="blocking") == "waited"
        found, _ = await run.fails(operations=["operations/1"], service="elsewhere")
    assert found[1] == (
        "DefinitionError",
        "wait: the dependencies hold no elsewhere with get_operation; let lifespan yield it",
    )


@pytest.mark.parametrize(
    ("waits", "message"),
    [
        ({"poll": timedelta(0)}, "wait: poll must be longer than nothing, not 0:00:00"),
        ({"timeout": -SECONDS}, "wait: timeout must not be negative, as -1 day, 23:59:59 is"),
        ({"sleep": -SECONDS}, "wait: sleep must not be negative, as -1 day, 23:59:59 is"),
        (
            {"operations": ["x"], "service": None},
            "wait: 'x' names no operation of ours; write operations/ID, or give a service",
        ),
    ],
)
async def test_refused_arguments(serve: Serve, task_queue: str, waits: dict[str, Any], message: str) -> None:
    """LRO-31: a poll of zero, times before now, and names that can't be are refused, naming the argument."""
    async with serve(a, Waiter) as client:
        handle = await start(client, Waiter, Waits(**waits), id=new_id(), task_queue=task_queue)
        assert causes(await failure_of(handle))[1] == ("DefinitionError", message)


async def test_cancelled_between_two_looks(waiting: Waiting, cache: int) -> None:
    """LRO-31: cancelled while it waits for its next look: it unwinds at once, and looks no more."""
    async with waiting(cache) as run:
        handle = await run.start(operations=["operations/never"], poll=HOURS, timeout=24 * HOURS)
        while not run.looks:
            await run.client.get_workflow_handle(handle.id).describe()
        await handle.cancel()
        await failure_of(handle)
        assert (await handle.describe()).status == WorkflowExecutionStatus.CANCELED
        assert await took(run.client, handle) < 60
    assert run.looks == ["operations/never"]
    assert run.world.calls == [("a", 1), ("undo a", 1, "done", 2)]


async def test_then_the_next_leg(waiting: Waiting, cache: int) -> None:
    """An operation is done after three polls: then, and not before, `run` is entered at the resume point."""
    async with waiting(cache) as run:
        handle = await run.start(operations=["operations/after-3"], resume_point="there", poll=MINUTES)
        assert await handle.result() == "resumed at there"
        assert 180 <= await took(run.client, handle) < 190
    assert len(run.looks) == 4


@pytest.mark.nightly
@pytest.mark.timeout(1800)
async def test_a_day_of_polling(waiting: Waiting) -> None:
    """A day of polling every 3 s, 28,800 looks, is less than 200 events."""
    async with waiting() as run:
        handle = await run.start(operations=["operations/never"], timeout=24 * HOURS)
        await failure_of(handle, 1700)
        assert len(await events_of(handle)) < 200
        assert 86_400 <= await took(run.client, handle) < 86_800
    assert len(run.looks) > 28_000


class Never:
    """A service whose operations never end."""

    async def get_operation(self, name: str) -> Any:
        return {"done": False}


async def test_a_look_that_finds_it_open_is_no_failure() -> None:
    """To be called again is benign: no line in the log, nothing in the metric of failed activities."""
    services = WaitServices(lambda: Host({"never": Never()}, None, None))  # type: ignore[arg-type]
    awaited = Awaited(operations=("x",), service="never", poll=SECONDS, timeout=HOURS)
    with pytest.raises(ApplicationError, match="StillOpen: still open: x") as raised:
        await ActivityEnvironment().run(services.wait, awaited)
    assert (raised.value.category, raised.value.next_retry_delay) == (
        ApplicationErrorCategory.BENIGN,
        SECONDS,
    )
