"""A cancel never loses a result, and never interrupts unwinding (the recipe in TEMPORAL.md, section 2)."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.worker import Replayer, Worker
from temporalio.worker._workflow_instance import _WorkflowLogicFlag

from activities import Context, Operation, Outcome, OutcomeUnknown, Registry, Retry, Status, operation
from counterstep.reports import fetch_report
from flows import CounterstepPlugin, OperationFailed, Policy, Sequence, start
from tests.conftest import Serve
from tests.sample import FAST
from tests.support import World, causes, eventually, failure_of, new_id

ACTIVITIES = "cancel-activities"
_BATCH = _WorkflowLogicFlag.PROCESS_WORKFLOW_ACTIVATION_JOBS_AS_SINGLE_BATCH


def _gated(name: str, **options: Any) -> Operation[int, int]:
    """Make an operation that waits for ``go-NAME``, on a task queue whose worker always runs."""

    @operation(id=name, version="1.0.0", task_queue=ACTIVITIES, **options)
    async def gated(ctx: Context[World], input: int) -> int:
        ctx.deps.record(f"begin {name}")
        await ctx.deps.wait(f"go-{name}")
        if ctx.deps.is_on(f"fail-{name}"):
            raise RuntimeError(f"{name} down")
        ctx.deps.record(f"end {name}")
        return input * 2

    @gated.undo(retry=FAST)
    async def undo(ctx: Context[World], input: int, outcome: Outcome[int]) -> None:
        ctx.deps.record(f"undo {name}", str(outcome.status), outcome.output)
        if ctx.deps.is_on(f"hold-undo-{name}"):
            await ctx.deps.wait(f"go-undo-{name}")

    return gated


x, y, z = _gated("x"), _gated("y"), _gated("z")


@operation(id="local-wait", version="1.0.0", placement="local")
async def local_wait(ctx: Context[World], input: int) -> int:
    """Wait for the gate, locally."""
    ctx.deps.record("begin local")
    await ctx.deps.wait("go-local")
    return input


@local_wait.undo(retry=FAST)
async def undo_local_wait(ctx: Context[World], input: int, outcome: Outcome[int]) -> None:
    ctx.deps.record("undo local", str(outcome.status))


@operation(id="fails-slowly", version="1.0.0", retry=Retry(max_attempts=5, initial=timedelta(minutes=1)))
async def fails_slowly(ctx: Context[World], input: int) -> int:
    """Fail, with a long delay before the next attempt."""
    ctx.deps.record("fails")
    raise RuntimeError("down")


@fails_slowly.undo(retry=FAST)
async def undo_fails_slowly(ctx: Context[World], input: int, outcome: Outcome[int]) -> None:
    ctx.deps.record("undo fails", str(outcome.status))


@operation(id="never-sure", version="1.0.0", retry=Retry(max_attempts=5, initial=timedelta(minutes=1)))
async def never_sure(ctx: Context[World], input: int) -> int:
    """Leave something behind, perhaps, with a long delay before the next attempt."""
    ctx.deps.record("unsure", ctx.attempt)
    await ctx.save({"half": input})
    raise OutcomeUnknown("the answer got lost")


@never_sure.undo(retry=FAST)
async def undo_never_sure(ctx: Context[World], input: int, outcome: Outcome[int]) -> None:
    ctx.deps.record("undo unsure", str(outcome.status), outcome.saved)


@operation(
    id="unsure-once", version="1.0.0", retry=Retry(max_attempts=5, initial=timedelta(seconds=1), factor=60)
)
async def unsure_once(ctx: Context[World], input: int) -> int:
    """Leave something behind, perhaps, at the first attempt; the third one is far away."""
    ctx.deps.record("unsure", ctx.attempt)
    if ctx.attempt == 1:
        await ctx.save({"half": input})
        raise OutcomeUnknown("the answer got lost")
    raise RuntimeError(f"down, {ctx.saved}")


@unsure_once.undo(retry=FAST)
async def undo_unsure_once(ctx: Context[World], input: int, outcome: Outcome[int]) -> None:
    ctx.deps.record("undo unsure", str(outcome.status), outcome.saved)


@operation(id="sync-wait", version="1.0.0")
def sync_wait(ctx: Context[World], input: int) -> int:
    """Wait in a thread until the run asks to end."""
    ctx.deps.record("begin sync")
    while not ctx.cancelled():
        time.sleep(0.05)
    return input + 1


@sync_wait.undo(retry=FAST)
def undo_sync_wait(ctx: Context[World], input: int, outcome: Outcome[int]) -> None:
    ctx.deps.record("undo sync", str(outcome.status), outcome.output)


CHOSEN: dict[str, Operation[int, int]] = {
    "local": local_wait,
    "slow": fails_slowly,
    "unsure": never_sure,
    "unsure once": unsure_once,
    "sync": sync_wait,
}


class Others(Sequence[str, int], id="others", version="1.0.0"):
    """Run one of the other operations."""

    async def run(self, input: str) -> int:
        return (await self.execute(CHOSEN[input], 1)).output


class Always(Sequence[str, int], id="others-always", version="1.0.0", policy=Policy.actions()):
    """Run one of the other operations, and undo it whatever its outcome."""

    async def run(self, input: str) -> int:
        return (await self.execute(CHOSEN[input], 1)).output


class Line(Sequence[int, int], id="line", version="1.0.0"):
    """x, then y."""

    async def run(self, input: int) -> int:
        first = await self.execute(x, input)
        return (await self.execute(y, first.output)).output


class Kept(Sequence[int, int], id="line-kept", version="1.0.0", policy=Policy(on_failure="keep")):
    """x, then y; keeps on failure."""

    async def run(self, input: int) -> int:
        first = await self.execute(x, input)
        return (await self.execute(y, first.output)).output


class Parallel(Sequence[int, int], id="parallel", version="1.0.0"):
    """x beside y beside z, two at once."""

    async def run(self, input: int) -> int:
        reports = await self.gather(self.execute(x, 1), self.execute(y, 2), self.execute(z, 3), limit=2)
        return sum(report.output for report in reports)


class Stubborn(Sequence[int, int], id="stubborn", version="1.0.0"):
    """Catches the failure of x and goes on with y."""

    async def run(self, input: int) -> int:
        with contextlib.suppress(OperationFailed, asyncio.CancelledError):
            await self.execute(x, input)
        return (await self.execute(y, input)).output


class TimesOut(Sequence[int, str], id="times-out", version="1.0.0"):
    """Gives x half a second of its own accord."""

    async def run(self, input: int) -> str:
        try:
            await asyncio.wait_for(self.execute(x, input), 0.5)
        except TimeoutError:
            return "timed out"
        return "in time"


FLOWS: tuple[Any, ...] = (*CHOSEN.values(), Others, Always, Line, Kept, Parallel, Stubborn, TimesOut)


@asynccontextmanager
async def flow_worker(client: Client, task_queue: str, *, batch: bool) -> AsyncIterator[None]:
    """Run the flows' worker, every task replayed, with the SDK's coming way to apply jobs or without."""
    worker = Worker(client, task_queue=task_queue, max_cached_workflows=0)
    assert worker._workflow_worker is not None
    worker._workflow_worker._set_default_workflow_logic_flag(_BATCH, enabled=batch)
    async with worker:
        yield


@pytest.fixture(params=[False, True], ids=["jobs-in-groups", "jobs-as-a-batch"])
def batch(request: pytest.FixtureRequest) -> bool:
    """Whether the jobs of an activation are applied in one batch."""
    return bool(request.param)


@pytest.fixture
async def client(dev_address: str, world: World, serve: Serve) -> AsyncIterator[Client]:
    """Give a client, and a worker for activities that runs all the time."""
    async with serve():
        pass
    plugin = CounterstepPlugin(Registry(x, y, z, *FLOWS), deps=world)
    connected = await Client.connect(dev_address, plugins=[plugin])
    async with Worker(connected, task_queue=ACTIVITIES, no_remote_activities=False):
        yield connected


async def replays(client: Client, handle: Any) -> None:
    """Make sure that the run's history replays."""
    plugin = CounterstepPlugin(Registry(x, y, z, *FLOWS))
    await Replayer(workflows=[], plugins=[plugin]).replay_workflow(await handle.fetch_history())


@pytest.mark.parametrize("order", ["result first", "cancel first"])
async def test_result_and_cancel_in_one_task(
    client: Client, world: World, task_queue: str, batch: bool, order: str
) -> None:
    """x completes and the run is cancelled while no worker runs: x's undo gets its output; y never starts."""
    async with flow_worker(client, task_queue, batch=batch):
        handle = await start(client, Line, 5, id=new_id(), task_queue=task_queue)
        await world.until("begin x")
    if order == "cancel first":
        await handle.cancel()
    world.switch("go-x")
    await world.until("end x")
    await activity_ended(handle)
    if order == "result first":
        await handle.cancel()
    async with flow_worker(client, task_queue, batch=batch):
        await failure_of(handle)
    assert (await handle.describe()).status == WorkflowExecutionStatus.CANCELED
    assert world.calls == ["begin x", "end x", ("undo x", "done", 10)]
    await replays(client, handle)


async def test_result_after_the_cancel_was_seen(
    client: Client, world: World, task_queue: str, batch: bool
) -> None:
    """A cancel interrupts x in flight: unknown, undone without output, y never starts."""
    async with flow_worker(client, task_queue, batch=batch):
        handle = await start(client, Line, 5, id=new_id(), task_queue=task_queue)
        await world.until("begin x")
        await handle.cancel()
        world.switch("go-x", on=False)
        await failure_of(handle, 60)
    assert (await handle.describe()).status == WorkflowExecutionStatus.CANCELED
    assert world.calls == ["begin x", ("undo x", "unknown", None)]
    await replays(client, handle)


async def test_cancel_while_unwinding_changes_nothing(
    client: Client, world: World, task_queue: str, batch: bool
) -> None:
    """y fails, x is being undone, then two cancels: the undo ends in peace, once; the run is rolled back."""
    world.switch("go-x")
    world.switch("go-y")
    world.switch("fail-y")
    world.switch("hold-undo-x")
    async with flow_worker(client, task_queue, batch=batch):
        handle = await start(client, Line, 5, id=new_id(), task_queue=task_queue)
        await world.until("undo x", "done", 10)
        await handle.cancel()
        await handle.cancel()
        await asyncio.sleep(0.3)
        world.switch("go-undo-x")
        assert causes(await failure_of(handle))[0][0] == "RolledBack"
    assert world.calls == ["begin x", "end x", "begin y", ("undo x", "done", 10)]
    await replays(client, handle)


async def test_cancel_unwinds_under_keep(client: Client, world: World, task_queue: str, batch: bool) -> None:
    """Cancel always unwinds, also where failures keep."""
    world.switch("go-x")
    async with flow_worker(client, task_queue, batch=batch):
        handle = await start(client, Kept, 5, id=new_id(), task_queue=task_queue)
        await world.until("begin y")
        await handle.cancel()
        await failure_of(handle, 60)
    assert (await handle.describe()).status == WorkflowExecutionStatus.CANCELED
    assert world.calls == ["begin x", "end x", "begin y", ("undo y", "unknown", None), ("undo x", "done", 10)]


async def test_siblings_settle_before_unwinding(
    client: Client, world: World, task_queue: str, batch: bool
) -> None:
    """x fails while y runs: y ends and is undone; z, which waited for room, never starts."""
    world.switch("go-x")
    world.switch("fail-x")
    async with flow_worker(client, task_queue, batch=batch):
        handle = await start(client, Parallel, 0, id=new_id(), task_queue=task_queue)
        await world.until("begin y")
        await asyncio.sleep(0.5)
        world.switch("go-y")
        failure = await failure_of(handle)
    assert causes(failure)[-1] == ("RuntimeError", "x down")
    assert sorted(map(str, world.calls[:2])) == ["begin x", "begin y"]
    assert world.calls[2:] == ["end y", ("undo y", "done", 4)]
    await replays(client, handle)


async def test_cancel_with_siblings_in_flight(
    client: Client, world: World, task_queue: str, batch: bool
) -> None:
    """A cancel with x and y in flight: both are unknown and undone, newest first; z never starts."""
    async with flow_worker(client, task_queue, batch=batch):
        handle = await start(client, Parallel, 0, id=new_id(), task_queue=task_queue)
        await world.until("begin x")
        await world.until("begin y")
        await handle.cancel()
        await failure_of(handle, 60)
    assert (await handle.describe()).status == WorkflowExecutionStatus.CANCELED
    assert world.calls[2:] == [("undo y", "unknown", None), ("undo x", "unknown", None)]
    await replays(client, handle)


async def test_a_body_that_swallows_the_cancel_starts_nothing_more(
    client: Client, world: World, task_queue: str, batch: bool
) -> None:
    """The body catches CancelledError and calls y: y never starts, the run is cancelled and undone."""
    async with flow_worker(client, task_queue, batch=batch):
        handle = await start(client, Stubborn, 5, id=new_id(), task_queue=task_queue)
        await world.until("begin x")
        await handle.cancel()
        await failure_of(handle, 60)
    assert (await handle.describe()).status == WorkflowExecutionStatus.CANCELED
    assert world.calls == ["begin x", ("undo x", "unknown", None)]


async def test_a_body_may_time_a_step_out(client: Client, world: World, task_queue: str, batch: bool) -> None:
    """asyncio.wait_for around a step: the step is cancelled and settled, the body goes on to its end."""
    async with flow_worker(client, task_queue, batch=batch):
        handle = await start(client, TimesOut, 5, id=new_id(), task_queue=task_queue)
        assert await asyncio.wait_for(handle.result(), 60) == "timed out"
    assert world.calls == ["begin x"]
    await replays(client, handle)


async def test_cancel_before_the_first_task(
    client: Client, world: World, task_queue: str, batch: bool
) -> None:
    """Cancelled before any worker saw it: nothing runs, the run is cancelled."""
    handle = await start(client, Line, 5, id=new_id(), task_queue=task_queue)
    await handle.cancel()
    async with flow_worker(client, task_queue, batch=batch):
        await failure_of(handle)
    assert (await handle.describe()).status == WorkflowExecutionStatus.CANCELED
    assert world.calls == []


@pytest.mark.parametrize(
    ("what", "calls"),
    [
        ("local", ["begin local", ("undo local", "unknown")]),
        ("sync", ["begin sync", ("undo sync", "done", 2)]),
    ],
)
async def test_cancel_of_a_local_and_of_a_threaded_step(
    serve: Serve, world: World, task_queue: str, what: str, calls: list[Any]
) -> None:
    """A local handler is interrupted: unknown. A def handler isn't: it sees ctx.cancelled()."""
    async with serve(*FLOWS) as client:
        handle = await start(client, Others, what, id=new_id(), task_queue=task_queue)
        await world.until(f"begin {what}")
        await handle.cancel()
        await failure_of(handle)
    assert (await handle.describe()).status == WorkflowExecutionStatus.CANCELED
    assert world.calls == calls


async def test_cancel_between_two_attempts(serve: Serve, world: World, task_queue: str) -> None:
    """Cancelled during the delay before attempt 2: failed, as if its attempts were spent; nothing to undo."""
    async with serve(*FLOWS) as client:
        handle = await start(client, Others, "slow", id=new_id(), task_queue=task_queue)
        await world.until("fails")
        await asyncio.sleep(0.5)
        await handle.cancel()
        await failure_of(handle)
    assert (await handle.describe()).status == WorkflowExecutionStatus.CANCELED
    assert world.calls == ["fails"]


@pytest.mark.parametrize(("what", "attempts"), [("unsure", 1), ("unsure once", 2)])
async def test_cancel_between_two_attempts_of_which_one_was_unsure(
    serve: Serve, world: World, task_queue: str, cache: int, what: str, attempts: int
) -> None:
    """An attempt said that its outcome is unknown: so is the step, and its undo gets what was saved."""
    async with serve(*FLOWS, cache=cache) as client:
        handle = await start(client, Others, what, id=new_id(), task_queue=task_queue)
        await world.until("unsure", attempts)
        await asyncio.sleep(0.5)
        await handle.cancel()
        await failure_of(handle)
        assert (await handle.query("status"))["steps"] == {CHOSEN[what].definition.id: "undone"}
    assert (await handle.describe()).status == WorkflowExecutionStatus.CANCELED
    called = [("unsure", attempt + 1) for attempt in range(attempts)]
    assert world.calls == [*called, ("undo unsure", "unknown", {"half": 1})]


async def test_cancel_between_two_attempts_under_always(serve: Serve, world: World, task_queue: str) -> None:
    """Failed, as if its attempts were spent: so where failed steps are undone too, it is."""
    async with serve(*FLOWS) as client:
        handle = await start(client, Always, "slow", id=new_id(), task_queue=task_queue)
        await world.until("fails")
        await asyncio.sleep(0.5)
        await handle.cancel()
        await failure_of(handle)
        (step,) = (await fetch_report(client, handle.id)).children
        assert (step.outcome, step.undo and step.undo.outcome) == (Status.FAILED, Status.DONE)
    assert world.calls == ["fails", ("undo fails", "failed")]


async def activity_ended(handle: Any) -> None:
    """Wait until no activity of the run is pending."""
    for _ in range(500):
        if not (await handle.describe()).raw_description.pending_activities:
            return
        await asyncio.sleep(0.02)
    await eventually(lambda: False, 0)
