"""The workflow behind every type that no worker knows exactly: ranges, bare ids, mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue, VersioningBehavior
from temporalio.exceptions import ApplicationError

from flows._resume import CLAIM, Owner

RESOLVE = "counterstep-resolve"


class _Resolving:
    """What both dispatchers do."""

    _state = "resolving"

    @workflow.query(name="status", description="The run's state")
    def _status(self) -> dict[str, Any]:
        return {"flow": workflow.info().workflow_type, "state": self._state, "steps": {}}

    async def _dispatch(self, args: Sequence[RawValue]) -> None:
        try:
            exact: str = await workflow.execute_local_activity(
                RESOLVE,
                workflow.info().workflow_type,
                result_type=str,
                start_to_close_timeout=timedelta(seconds=10),
                summary="which version?",
            )
        except ApplicationError:
            self._state = "refused"
            raise
        workflow.continue_as_new(args=list(args), workflow=exact)


@workflow.defn(dynamic=True)
class Dispatcher(_Resolving):
    """Resolves a workflow type such as ``deploy@^1`` or ``deploy``, and goes on as new under the exact one."""

    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> None:
        """Resolve and go on.

        Raises:
            UnknownFlow: when nothing matches; the run fails at its first task.
        """
        await self._dispatch(args)


@workflow.defn(dynamic=True, versioning_behavior=VersioningBehavior.AUTO_UPGRADE)
class UpgradingDispatcher(_Resolving):
    """The dispatcher of a worker with a deployment version; servers refuse a behaviour from any other."""

    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> None:
        """Resolve and go on.

        Raises:
            UnknownFlow: when nothing matches; the run fails at its first task.
        """
        await self._dispatch(args)


@workflow.defn(name=CLAIM)
class Claim:
    """Records who owns the undoing of a run: its workflow id is the claim, and starts only once."""

    @workflow.run
    async def run(self, owner: Owner) -> Owner:
        """Say who owns it."""
        return owner
