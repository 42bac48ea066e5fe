"""One execution of a remote or local step, as the activity sees it: where it stands, and its marks.

A raising attempt leaves a mark in its heartbeat details: its number, that it raised, the verdict so far. The
next attempt believes a mark only if it is the previous attempt's; anything else means a lost execution.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from temporalio import activity
from temporalio.client import AsyncActivityCancelledError, Client

from activities._errors import DefinitionError
from activities._json import Json
from activities._notes import Metadata, Notes
from activities._wire import Identity, StepHeader, Verdict, mark_of, without_leg


@dataclass
class Attempt:
    """One execution of a step.

    Attributes:
        info: Temporal's view of it.
        header: what the flow sent along.
        verdict: of this and earlier executions.
        carried: the verdict that the flow knew when it scheduled the step.
        ended: whether this one has raised.
        inherited: what the step saved that this is the undo of.
        notes: what the handler leaves for reports.
    """

    info: activity.Info
    header: StepHeader
    verdict: Verdict
    client: Client
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    began: datetime = field(default_factory=lambda: datetime.now(tz=UTC))
    ended: bool = False
    inherited: Json = None
    notes: Notes = field(default_factory=Notes)
    carried: Verdict = field(default_factory=Verdict)

    @classmethod
    def begin(cls, header: StepHeader, carried: Json) -> Attempt:
        """Begin, with what the flow and the previous attempt left."""
        info = activity.info()
        verdict = known = Verdict.from_json(carried or {})
        if not info.is_local and (info.attempt > 1 or info.heartbeat_details):
            verdict = _after(info, verdict)
        notes = Notes(Metadata(verdict.metadata), list(verdict.errors))
        return cls(info, header, verdict, activity.client(), notes=notes, carried=known)

    @property
    def noted(self) -> Verdict:
        """The verdict with what the handler noted so far."""
        notes = self.notes
        return replace(self.verdict, errors=tuple(notes.errors), metadata=notes.metadata.encoded())

    @property
    def number(self) -> int:
        """The number of this execution over all dispatches, from 1."""
        if self.info.is_local:
            return self.header.attempt
        return self.verdict.failures + self.verdict.losses + 1

    @property
    def step(self) -> str:
        """The step's name."""
        return self.header.step or without_leg(self.info.activity_id.removesuffix(".undo"))

    @property
    def identity(self) -> Identity:
        """What the step's idempotency key is made of."""
        return Identity(
            namespace=self.info.namespace,
            workflow=self.header.workflow or str(self.info.workflow_id),
            origin=self.header.origin or self.header.run,
            leg=self.header.leg,
            step=self.header.path + self.step,
        )

    @property
    def last(self) -> bool:
        """Whether Temporal will not call the handler again by itself after a failure."""
        policy = self.info.retry_policy
        limit = policy.maximum_attempts if policy else 1
        return self.info.is_local or 0 < limit <= self.info.attempt

    @property
    def saved(self) -> Json:
        """What was saved last; an undo inherits what its step saved."""
        return self.inherited if self.verdict.saved is None else self.verdict.saved

    @property
    def mark(self) -> dict[str, Json]:
        """The newest heartbeat details, whole."""
        return {"attempt": self.info.attempt, "raised": self.ended, **self.noted.to_json()}

    async def save(self, data: Json) -> None:
        """Keep data; it is durable when this returns."""
        if self.info.is_local:
            raise DefinitionError(f"{self.step} is a local step, which can't save; make the operation remote")
        self.verdict = replace(self.verdict, saved=data)
        await self.record()

    def save_sync(self, data: Json) -> None:
        """Do what :meth:`save` does, from another thread."""
        self.wait(self.save(data))

    def wait(self, awaitable: Awaitable[Any]) -> Any:
        """Wait for something on the worker's loop, from another thread."""

        async def wait() -> Any:
            return await awaitable

        return asyncio.run_coroutine_threadsafe(wait(), self.loop).result()

    async def record(self) -> None:
        """Write the mark on both channels: the throttled one would overwrite the durable one."""
        activity.heartbeat(self.mark)
        handle = self.client.get_async_activity_handle(task_token=self.info.task_token)
        with contextlib.suppress(
            AsyncActivityCancelledError
        ):  # recorded all the same; the SDK tells the handler
            await handle.heartbeat(self.mark)


def _after(info: activity.Info, carried: Verdict) -> Verdict:
    """Judge the attempts before this one by the mark that they left."""
    mark = mark_of(info.heartbeat_details)
    verdict = Verdict.from_json(mark) if mark else carried
    if mark.get("raised") and mark.get("attempt") == info.attempt - 1:
        return verdict
    return replace(verdict, failures=carried.failures + info.attempt - 1, unknown=True)
