"""The one place where an undo is run, and where it is decided which steps are undone, in which order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from heapq import heapify, heappop, heappush
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict
from temporalio import workflow

from activities import Failure, Operation, Retry, Status
from activities._json import Json
from activities._settled import Settled, never_settled
from activities._wire import StepHeader, Verdict
from flows._full import Full
from flows._holding import Action
from flows._metrics import count_undo
from flows._policy import Policy
from flows._step import Call, Gate, settle


class UndoSpec(BaseModel):
    """How an operation's undo is scheduled, as data."""

    model_config = ConfigDict(frozen=True)

    type: str
    retry: Retry
    timeout: timedelta
    local: bool = False
    task_queue: str | None = None
    cause: bool = False

    @classmethod
    def of(cls, operation: Operation[Any, Any]) -> UndoSpec | None:
        """Give an operation's, if it has an undo."""
        undo = operation.undo_handler
        if undo is None:
            return None
        return cls(
            type=operation.undo_name,
            retry=undo.retry,
            timeout=undo.timeout,
            local=operation.placement == "local",
            task_queue=operation.task_queue,
            cause=undo.cause,
        )


@dataclass
class UndoRecord:
    """A step that may have to be undone; made before the step is scheduled.

    Attributes:
        order: of scheduling, over the whole run.
        step: the step's name, with its path.
        definition: of its operation, as ``id@version``.
        undo: how it is undone.
        input: the original input.
        header: that the step was sent with.
        settled: how it ended; ``None`` while nobody knows.
        undone: whether its undo has succeeded.
        undoing: how its undo ended, once it ran.
        tried: whether its undo failed in an earlier run of the unwinding that goes on, and isn't tried again.
        cause: why the flow unwinds, for an undo that asks for it.
    """

    order: int
    step: str
    definition: str
    undo: UndoSpec
    input: Json
    header: StepHeader
    settled: Settled | None = None
    undone: bool = False
    undoing: Settled | None = None
    tried: bool = False
    cause: Failure | None = None

    def wanted(self, policy: Policy) -> bool:
        """Whether it took effect, or may have, and the policy wants it undone."""
        return not (self.undone or self.tried) and wants_undo(
            self.settled or never_settled(Verdict()), policy
        )


def wants_undo(settled: Settled, policy: Policy) -> bool:
    """Whether a step took effect, or may have, and the policy wants it undone."""
    if settled.status is Status.UNKNOWN:
        return policy.undo_failed_step != "never"
    if settled.status is Status.FAILED:
        return policy.undo_failed_step == "always" and settled.verdict.called
    return settled.status is Status.DONE


@dataclass(frozen=True)
class NotUndone:
    """A step whose undo failed, or was never tried.

    Attributes:
        step: its name.
        definition: of its operation.
        reason: why it isn't undone.
        failure: of its undo, if it ran.
    """

    step: str
    definition: str
    reason: str
    failure: Failure | None = None

    def __str__(self) -> str:
        """Give one line."""
        return f"{self.step} ({self.definition}): {self.reason}"


class Watcher(Protocol):
    """Who is told of undos."""

    def undo_began(self, record: UndoRecord) -> None:
        """Take note that a step's undo is asked for."""
        ...

    def undo_ended(self, record: UndoRecord) -> None:
        """Take note that a step's undo ended, well or not."""
        ...

    async def undo_parked(self, record: UndoRecord, why: str, policy: Policy) -> Action:
        """Wait for an operator's decision on an undo that failed."""
        ...


class Unwinding:
    """Undoes what took effect: a step only after all that came after it, independent ones at once.

    For a sequence each step comes after the one before it, so that this is newest first.

    Attributes:
        left: the steps that are not undone, so far.
    """

    def __init__(
        self,
        gate: Gate,
        watcher: Watcher,
        records: Iterable[UndoRecord],
        after: Mapping[str, Iterable[str]],
        policy: Policy,
        *,
        full: Callable[[], bool] = lambda: False,
    ) -> None:
        """Take the records, and what each step came after, in the order in which steps began.

        Where the history is ``full``, it raises :class:`Full` once undos in flight have settled.
        """
        self._is_full = full
        self._gate, self._watcher, self._policy = gate, watcher, policy
        self._records = {record.step: record for record in records}
        for record in self._wanted():
            record.undoing = None  # an undo that failed before this unwinding is tried again
        self._after = {step: [b for b in befores if b in after] for step, befores in after.items()}
        self._place = {step: -index for index, step in enumerate(after)}
        self._followers = dict.fromkeys(after, 0)
        for befores in self._after.values():
            for before in befores:
                self._followers[before] += 1
        self._ready = [(self._place[step], step) for step, count in self._followers.items() if count == 0]
        heapify(self._ready)
        self.left: list[NotUndone] = []

    async def run(self) -> list[NotUndone]:
        """Undo, and give the steps that are not undone."""
        running: dict[asyncio.Task[NotUndone | None], str] = {}
        while self._start(running):
            done, _ = await workflow.wait(list(running), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                self._pass(running.pop(task))
                failed = task.result()
                self.left += [failed] if failed else []
        if self._ready and self._is_full() and not self._stopped:
            raise Full
        self.left += [
            NotUndone(r.step, r.definition, self._untried) for r in self._wanted() if r.undoing is None
        ]
        return self.left

    @property
    def _stopped(self) -> bool:
        return bool(self.left) and self._policy.on_undo_failure == "stop"

    @property
    def _untried(self) -> str:
        return f"not tried, since {self.left[0].step} wasn't undone" if self.left else "not tried"

    def _wanted(self) -> list[UndoRecord]:
        records = sorted(self._records.values(), key=lambda r: -r.order)
        return [record for record in records if record.wanted(self._policy)]

    def _start(self, running: dict[asyncio.Task[NotUndone | None], str]) -> bool:
        """Start what is ready, and say whether anything runs."""
        while (
            self._ready
            and len(running) < self._policy.max_parallel
            and not (self._stopped or self._is_full())
        ):
            _, step = heappop(self._ready)
            record = self._records.get(step)
            if record is not None and record.wanted(self._policy):
                running[asyncio.create_task(self._undo(record))] = step
            else:
                self._pass(step)
        return bool(running)

    async def _undo(self, record: UndoRecord) -> NotUndone | None:
        """Undo a step; one whose undo failed may wait for an operator, and be tried again."""
        while (left := await undo_one(self._gate, self._watcher, record)) is not None:
            if self._policy.on_undo_failure != "park":
                return left
            action = await self._watcher.undo_parked(record, left.reason, self._policy)
            if action is Action.SKIP:
                record.undone = True
                self._watcher.undo_ended(record)
                return None
            if action is not Action.RETRY:
                return left
        return None

    def _pass(self, step: str) -> None:
        for before in self._after[step]:
            self._followers[before] -= 1
            if self._followers[before] == 0:
                heappush(self._ready, (self._place[before], before))


async def undo_one(gate: Gate, watcher: Watcher, record: UndoRecord) -> NotUndone | None:
    """Run one undo to its end.

    Returns:
        Why the step isn't undone; ``None`` when it is.
    """
    watcher.undo_began(record)
    record.undoing, _ = await settle(gate, _call(record))
    record.undone = record.undoing.status in (Status.DONE, Status.SKIPPED)
    count_undo(record.definition, record.undoing.status.value)
    watcher.undo_ended(record)
    if record.undone:
        return None
    failure = record.undoing.failure
    return NotUndone(
        record.step, record.definition, str(failure.root if failure else "its end is unknown"), failure
    )


def _call(record: UndoRecord) -> Call:
    settled = record.settled or never_settled(Verdict())
    verdict = settled.verdict
    return Call(
        activity_id=f"{record.step}.undo",
        type=record.undo.type,
        args=(verdict.changed[0] if verdict.changed else record.input, _told(settled, record.cause)),
        header=record.header,
        timeout=record.undo.timeout,
        retry=record.undo.retry,
        local=record.undo.local,
        task_queue=record.undo.task_queue,
        summary=f"undo {record.step} ({record.definition})",
        carried=Verdict(generation=verdict.generation),
    )


def _told(settled: Settled, cause: Failure | None) -> dict[str, Json]:
    """Give what the undo is told of the step."""
    told: dict[str, Json] = {"status": settled.status.value}
    if settled.output:
        told["output"] = settled.output[0]
    if settled.failure is not None:
        told["error"] = settled.failure.model_dump(mode="json", exclude_none=True)
    if settled.verdict.saved is not None:
        told["saved"] = settled.verdict.saved
    if cause is not None:
        told["cause"] = cause.model_dump(mode="json", exclude_none=True)
    return told
