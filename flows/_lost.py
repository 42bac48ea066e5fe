"""Local steps that were done in a workflow task that Temporal didn't take: it failed, or died with its worker.

They took effect, and nothing in the history tells of them. Where the task is done again, they are, under their keys; so an end
that comes meanwhile, which is told of in the same task, must not come before them. A task holds no more than its timeout's
time of them.
"""

from __future__ import annotations

from collections.abc import Sized
from datetime import timedelta

from temporalio import workflow

LOST_TASK = "counterstep-lost-task"
"""Local activity that says whether the workflow task before the one at hand was lost."""


async def row_ended(local: Sized) -> None:
    """Wait until no local step is at work any more, those that follow at once included; a task's timeout at most.

    Args:
        local: those that are at work, as it stands.
    """
    until = workflow.now() + workflow.info().task_timeout

    def ended() -> bool:
        return not local or workflow.now() >= until

    await workflow.wait_condition(ended)  # which is looked at once nothing else can go on
    while not ended():
        await workflow.wait_condition(ended)


async def repeated(local: Sized) -> None:
    """Wait for local steps that are done again, if a workflow task was lost.

    Args:
        local: those that are at work, as it stands.
    """
    await workflow.wait_condition(lambda: True)  # looked at once all is taken in that this task told of
    if local and await lost_a_task():
        await row_ended(local)


async def lost_a_task() -> bool:
    """Ask whether a workflow task has been lost since the last one that Temporal took."""
    info = workflow.info()
    lost: bool = await workflow.execute_local_activity(
        LOST_TASK,
        args=[info.workflow_id, info.run_id, info.get_current_history_length()],
        start_to_close_timeout=timedelta(minutes=1),
        summary="was a workflow task lost?",
        result_type=bool,
    )
    return lost
