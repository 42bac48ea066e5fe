"""Durable waits and approvals, on a server that skips time."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle

from flows import ApprovalTimedOut, Sequence, start
from tests.conftest import Serve
from tests.support import World, causes, events_of, failure_of, new_id

with workflow.unsafe.imports_passed_through():
    from tests.sample import a, b

DAYS_300, DAYS_2 = timedelta(days=300), timedelta(days=2)
SOME = timedelta(minutes=10)


class Patient(Sequence[int, int], id="patient", version="1.0.0"):
    """Wait for 300 days between two steps."""

    async def run(self, input: int) -> int:
        first = await self.execute(a, input)
        await self.wait(DAYS_300, name="soak")
        return (await self.execute(b, first.output)).output


class Asks(Sequence[int, str], id="asks", version="1.0.0"):
    """Wait for an approval for two days."""

    async def run(self, input: int) -> str:
        await self.execute(a, input)
        decision = await self.approval("go-live", timeout=DAYS_2)
        return f"approved by {decision.by}"


class Shrugs(Sequence[int, str], id="shrugs", version="1.0.0"):
    """Go on when nobody decides."""

    async def run(self, input: int) -> str:
        await self.execute(a, input)
        try:
            await self.approval("go-live", timeout=DAYS_2)
        except ApprovalTimedOut:
            return "nobody cares"
        return "somebody does"


class Twice(Sequence[int, list[str]], id="twice", version="1.0.0"):
    """Ask for two approvals at once, then for the first one again."""

    async def run(self, input: int) -> list[str]:
        two = await self.gather(self.approval("x", timeout=DAYS_2), self.approval("y"))
        again = await self.approval("x")
        return [str(decision.by) for decision in (*two, again)]


async def took(handle: WorkflowHandle[Any, Any]) -> timedelta:
    """Say how long a run took, by the server's clock."""
    described = await handle.describe()
    assert described.close_time is not None
    return described.close_time - described.start_time


async def test_a_wait_of_300_days(skipping: Serve, world: World, task_queue: str, cache: int) -> None:
    """The step behind the wait runs 300 days later; the wait is one timer."""
    async with skipping(a, b, Patient, cache=cache) as client:
        handle = await start(client, Patient, 1, id=new_id(), task_queue=task_queue)
        assert await handle.result() == 4
        assert DAYS_300 <= await took(handle) < DAYS_300 + SOME
        assert (await events_of(handle)).count("TIMER_STARTED") == 1
    assert world.calls == [("a", 1), ("b", 2)]


async def test_a_cancel_ends_a_wait(skipping: Serve, world: World, task_queue: str, cache: int) -> None:
    """Cancelled while it waits, the run unwinds at once."""
    async with skipping(a, b, Patient, cache=cache) as client:
        handle = await start(client, Patient, 1, id=new_id(), task_queue=task_queue)
        while (await handle.query("status"))["steps"].get("soak") != "waiting":
            await asyncio.sleep(0.05)  # the time-skipping server hangs when a cancel meets a result
        await handle.cancel()
        await failure_of(handle)
        assert (await handle.describe()).status == WorkflowExecutionStatus.CANCELED
        assert await took(handle) < SOME
    assert world.calls == [("a", 1), ("undo a", 1, "done", 2)]


async def test_an_approval_times_out_after_two_days(
    skipping: Serve, world: World, task_queue: str, cache: int
) -> None:
    """Nobody decides: after two days the approval fails, and the run unwinds."""
    async with skipping(a, Asks, cache=cache) as client:
        handle = await start(client, Asks, 1, id=new_id(), task_queue=task_queue)
        late = "approval 'go-live': nobody decided within 2 days, 0:00:00"
        assert causes(await failure_of(handle)) == [
            ("RolledBack", f"asks@1.0.0 rolled back: ApprovalTimedOut: {late}"),
            ("ApprovalTimedOut", late),
        ]
        assert DAYS_2 <= await took(handle) < DAYS_2 + SOME
    assert world.calls == [("a", 1), ("undo a", 1, "done", 2)]


async def test_a_body_may_catch_the_timeout(skipping: Serve, world: World, task_queue: str) -> None:
    """A body that catches ApprovalTimedOut goes on, and nothing is undone."""
    async with skipping(a, Shrugs) as client:
        handle = await start(client, Shrugs, 1, id=new_id(), task_queue=task_queue)
        assert await handle.result() == "nobody cares"
        assert await took(handle) >= DAYS_2
    assert world.calls == [("a", 1)]


async def test_an_approval_in_time_ends_the_wait(skipping: Serve, task_queue: str, cache: int) -> None:
    """Approved at once, the run ends at once, and its timer is cancelled."""
    async with skipping(a, Asks, cache=cache) as client:
        handle = await start(client, Asks, 1, id=new_id(), task_queue=task_queue)
        await waits_for_approval(handle, "go-live")
        await handle.execute_update("approve", {"name": "go-live", "by": "ann"})
        assert await handle.result() == "approved by ann"
        assert await took(handle) < SOME
        assert "TIMER_CANCELED" in await events_of(handle)


async def test_approvals_wait_side_by_side(serve: Serve, task_queue: str, cache: int) -> None:
    """Two approvals wait at once and are decided by name; a name can be asked again once it is decided."""
    async with serve(Twice, cache=cache) as client:
        handle = await start(client, Twice, 1, id=new_id(), task_queue=task_queue)
        for step, name in (("y", "y"), ("x", "x"), ("x.2", "x")):
            await waits_for_approval(handle, step)
            await handle.execute_update("approve", {"name": name, "by": f"decider of {step}"})
        assert await handle.result() == ["decider of x", "decider of y", "decider of x.2"]
        status = await handle.query("status")
        assert status["steps"] == {"x": "approved", "y": "approved", "x.2": "approved"}


async def waits_for_approval(handle: WorkflowHandle[Any, Any], step: str) -> None:
    """Wait until a step waits for its approval."""
    while (await handle.query("status"))["steps"].get(step) != "waiting for approval":
        await asyncio.sleep(0.05)
