"""The workflow behind every type that no worker knows exactly: ranges, bare ids, mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RawValue, VersioningBehavior

from flows._resume import CLAIM, Owner

RESOLVE = "counterstep-resolve"


@workflow.defn(dynamic=True)
class Dispatcher:
    """Resolves a workflow type such as ``deploy@^1`` or ``deploy``, and goes on as new under the exact one."""

    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> None:
        """Resolve and go on.

        Raises:
            UnknownFlow: when nothing matches; the run fails at its first task.
        """
        await _dispatch(args)


@workflow.defn(dynamic=True, versioning_behavior=VersioningBehavior.AUTO_UPGRADE)
class UpgradingDispatcher:
    """The dispatcher of a worker with a deployment version; servers refuse a behaviour from any other."""

    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> None:
        """Resolve and go on.

        Raises:
            UnknownFlow: when nothing matches; the run fails at its first task.
        """
        await _dispatch(args)


@workflow.defn(name=CLAIM)
class Claim:
    """Records who owns the undoing of a run: its workflow id is the claim, and starts only once."""

    @workflow.run
    async def run(self, owner: Owner) -> Owner:
        """Say who owns it."""
        return owner


async def _dispatch(args: Sequence[RawValue]) -> None:
    exact: str = await workflow.execute_local_activity(
        RESOLVE,
        workflow.info().workflow_type,
        result_type=str,
        start_to_close_timeout=timedelta(seconds=10),
        summary="which version?",
    )
    workflow.continue_as_new(args=list(args), workflow=exact)
