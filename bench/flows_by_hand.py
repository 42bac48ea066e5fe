"""Ten steps written by hand on the SDK, as a careful author does: ids, summaries, heartbeat timeouts."""

from __future__ import annotations

from datetime import timedelta

from temporalio import activity, workflow
from temporalio.common import RetryPolicy

ONCE = RetryPolicy(maximum_attempts=1)
DESCRIPTION = "Add one."


@activity.defn(name="add-one")
async def add_one(value: int) -> int:
    """Add one."""
    return value + 1


@workflow.defn(name="remote-by-hand")
class RemoteByHand:
    """Ten remote activities, one after another."""

    @workflow.run
    async def run(self, value: int) -> int:
        """Run them."""
        for number in range(10):
            value = await workflow.execute_activity(
                add_one,
                value,
                activity_id=f"add-one.{number}",
                start_to_close_timeout=timedelta(minutes=1),
                heartbeat_timeout=timedelta(seconds=30),
                retry_policy=ONCE,
                summary=DESCRIPTION,
            )
        return value


@workflow.defn(name="local-by-hand")
class LocalByHand:
    """Ten local activities, one after another."""

    @workflow.run
    async def run(self, value: int) -> int:
        """Run them."""
        for number in range(10):
            value = await workflow.execute_local_activity(
                add_one,
                value,
                activity_id=f"add-one.{number}",
                start_to_close_timeout=timedelta(minutes=1),
                retry_policy=ONCE,
                summary=DESCRIPTION,
            )
        return value


@activity.defn(name="take-one")
async def take_one(value: int) -> None:
    """Undo it."""


@workflow.defn(name="saga-by-hand")
class SagaByHand:
    """Ten remote activities with their compensations, which a failure would run newest first."""

    @workflow.run
    async def run(self, value: int) -> int:
        """Run them."""
        undos: list[int] = []
        try:
            for number in range(10):
                undos.append(number)
                value = await workflow.execute_activity(
                    add_one,
                    value,
                    activity_id=f"s{number}",
                    start_to_close_timeout=timedelta(minutes=1),
                    heartbeat_timeout=timedelta(seconds=30),
                    retry_policy=ONCE,
                    summary=DESCRIPTION,
                )
        except Exception:
            for number in reversed(undos):
                await workflow.execute_activity(take_one, number, start_to_close_timeout=timedelta(minutes=1))
            raise
        return value


RUN = 1600
"""Steps after which a long chain goes on as new: some ten thousand events."""


@workflow.defn(name="chain-by-hand")
class ChainByHand:
    """Many remote activities, one after another, in as many runs as they need."""

    @workflow.run
    async def run(self, steps: int, value: int = 0) -> int:
        """Run them; the value says how many there were."""
        for number in range(value, min(steps, value + RUN)):
            value = await workflow.execute_activity(
                add_one,
                value,
                activity_id=f"s{number}",
                start_to_close_timeout=timedelta(minutes=1),
                heartbeat_timeout=timedelta(seconds=30),
                retry_policy=ONCE,
                summary=DESCRIPTION,
            )
        if value < steps:
            workflow.continue_as_new(args=[steps, value])
        return value
