"""What an operator, or Temporal, asks of a run: cancel, stop, pause, decisions on approvals."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict
from temporalio import workflow

from flows._errors import ApprovalRejected, ApprovalTimedOut
from flows._lost import lost_a_task, row_ended

if TYPE_CHECKING:
    from flows._holding import Hold


DEADLINE = "deadline"
"""Under this name a run is held whose deadline passed after its pivot."""


class Decision(BaseModel):
    """An operator's decision on an approval.

    Attributes:
        name: of the approval.
        by: who decided.
        reason: why.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    by: str | None = None
    reason: str | None = None


class Note(BaseModel):
    """Who asked for something, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: str | None = None
    reason: str | None = None

    def __str__(self) -> str:
        """Give it as the end of a message."""
        return f"{f' by {self.by}' if self.by else ''}{f': {self.reason}' if self.reason else ''}"


@dataclass
class Approval:
    """A named place where a run waits for an operator.

    Attributes:
        name: its full name.
        asked: the same without the number that makes it unique in the run.
        decision: once there is one.
        rejected: whether it is a rejection.
    """

    name: str
    asked: str
    decision: Decision | None = None
    rejected: bool = False

    def decide(self, decision: Decision, *, rejected: bool) -> None:
        """Record the decision, of whose names the full one stays."""
        self.decision, self.rejected = decision.model_copy(update={"name": self.name}), rejected

    @property
    def names(self) -> tuple[str, ...]:
        """What operators may call it, the clearest first."""
        return self.name, self.asked, self.asked.rpartition("/")[2]


@dataclass
class Local:
    """A local activity that is at work.

    Attributes:
        began: how many events the history had then.
        ask: asks it to cancel.
        asked: whether it was.
    """

    began: int
    ask: Callable[[], object]
    asked: bool = False

    def cancel(self) -> None:
        """Ask it to cancel, unless it began in this workflow task: one that was lost may have done it already."""
        if self.began != workflow.info().get_current_history_length():
            self.asked = True
            self.ask()


@dataclass
class Control:
    """What was asked of a run so far.

    Attributes:
        paused: whether no new step or undo may start.
        cancelled: whether Temporal was asked to cancel the run.
        stopped: who stopped it, if somebody did.
        body: the task that runs the author's code.
        approvals: those that wait, by full name.
        holds: steps that wait for an operator, by name.
        expired: whether the flow's deadline has passed before its pivot.
        failed: why the author's signal handler failed, which fails the flow.
        begun: whether the author's code has begun.
        unwinding: whether the flow unwinds, so that what is asked changes nothing any more.
        local: the local activities that are at work; and whoever asks whether some were lost.
        early: decisions that came before the flow waited for them, by name of the approval; whether each is a rejection.
    """

    paused: bool = False
    cancelled: bool = False
    stopped: Note | None = None
    body: asyncio.Task[object] | None = None
    approvals: dict[str, Approval] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    expired: bool = False
    failed: BaseException | None = None
    begun: bool = False
    unwinding: bool = False
    local: dict[asyncio.Future[Any], Local] = field(default_factory=dict)
    early: dict[str, list[tuple[Decision, bool]]] = field(default_factory=dict)
    _arrives: asyncio.Task[None] | None = None
    _paused_in: int | None = None
    _lost: asyncio.Task[bool] | None = None

    @property
    def ending(self) -> bool:
        """Whether the run is to unwind, whatever its policy says."""
        return self.cancelled or self.stopped is not None or self.expired

    @property
    def arriving(self) -> bool:
        """Whether what ends the run hasn't reached the author's code yet."""
        return self._arrives is not None and not self._arrives.done()

    @property
    def waits(self) -> bool:
        """Whether nothing new may be scheduled for now: paused, or held by the deadline."""
        held = self.holds.get(DEADLINE)  # or a step of that name
        return self.paused or (held is not None and not held.typed and not held.parked)

    def pause(self) -> None:
        """Let nothing new begin, until :meth:`unpause`."""
        if not self.paused:
            self.paused, self._lost = True, None
            self._paused_in = workflow.info().get_current_history_length()

    def unpause(self) -> None:
        """Let it begin."""
        self.paused = False

    async def unpaused(self) -> None:
        """Wait until something new may be scheduled."""
        if self.waits:
            await workflow.wait_condition(lambda: not self.waits)

    async def repeats(self) -> bool:
        """Say whether a local step isn't new, though the run waits: a task that was lost may have done it before the pause.

        Only in the task in which the pause came is that so; what is ready later was held back.
        """
        if not self.paused or self._paused_in != workflow.info().get_current_history_length():
            return False
        self._lost = self._lost or asyncio.create_task(lost_a_task())
        with self.asking():
            return await asyncio.shield(self._lost)

    def begin(self, body: asyncio.Task[object]) -> None:
        """Take the task that runs the author's code; what was asked before ends it at once."""
        self.body, self.begun = body, True
        if self.ending:
            self._end()

    def cancel(self) -> None:
        """Cancel the run: it unwinds at once, also while paused."""
        self._ask(cancelled=True)

    def expire(self) -> None:
        """End the run by its deadline: it unwinds at once, also while paused."""
        self._ask(expired=True)

    def stop(self, note: Note) -> None:
        """Stop the run: it unwinds at once, also while paused, then fails."""
        self._ask(stopped=self.stopped or note)

    def fail(self, error: BaseException) -> None:
        """Fail the flow, as its body would, with what the author's signal handler raised."""
        if self.body is not None and not self.ending and self.failed is None:
            self.failed = error
            self._arrives = asyncio.create_task(self._arrive(self.body, self.paused))

    def refuses(self, *, local: bool) -> bool:
        """Whether nothing new begins in the body, since the run ends; a local step does until that has arrived.

        What a signal handler that failed ends may still do something where the author catches that.
        """
        if self.body is None:
            return False
        if self.arriving:
            return not local
        return self.ending

    def _ask(self, **asked: Any) -> None:
        if self.unwinding:
            return
        before = self.ending
        for name, value in asked.items():
            setattr(self, name, value)
        if not before:
            self._end()

    def _end(self) -> None:
        if self.body is not None:
            for one in self.local.values():
                one.cancel()
            self._arrives = asyncio.create_task(self._arrive(self.body, self.paused))

    async def _arrive(self, body: asyncio.Task[object], paused: bool) -> None:
        """End the author's code where it waits for something else than local steps.

        What those did in a workflow task that Temporal didn't take is done again here, and then undone. An update or a signal
        is heard before the results that came with it, which local steps may follow: asking lets those in. What a pause held
        back never begins, so that the pause ends only then.
        """
        if not self.local and (self.stopped is not None or self.failed is not None):
            await lost_a_task()
        await row_ended(self.local)
        body.cancel()
        self.paused = self.paused and not paused

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Let no end arrive while something asks whether a workflow task was lost: local steps may have to be done again."""
        asked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.local[asked] = Local(0, lambda: None)
        try:
            yield
        finally:
            del self.local[asked]

    def waiting(self, name: str | None = None) -> list[Approval]:
        """Give the approvals that wait, or those that a name may mean: by its full name, else by its own."""
        waits = [approval for approval in self.approvals.values() if approval.decision is None]
        if name is None:
            return waits
        clear = min((a.names.index(name) for a in waits if name in a.names), default=0)
        return [a for a in waits if a.names[clear] == name]

    async def approval(self, name: str, asked: str, timeout: timedelta | None) -> Decision:
        """Wait for a decision.

        Args:
            name: the approval's full name.
            asked: the same without the number that makes it unique in the run.
            timeout: after which it fails; none unless given.

        Raises:
            ApprovalRejected: naming who rejected it, and why.
            ApprovalTimedOut: when nobody decided in time.
        """
        waiting = self.approvals[name] = Approval(name, asked)
        early = next((known for known in waiting.names if self.early.get(known)), None)
        if early is not None:
            decision, rejected = self.early[early].pop(0)
            waiting.decide(decision, rejected=rejected)
        try:
            await workflow.wait_condition(
                lambda: waiting.decision is not None, timeout=timeout, timeout_summary=f"approval {name}"
            )
        except TimeoutError:
            raise ApprovalTimedOut(f"approval {name!r}: nobody decided within {timeout}") from None
        finally:
            self.approvals.pop(name, None)
        decided = waiting.decision
        assert decided is not None
        if waiting.rejected:
            raise ApprovalRejected(f"approval {name!r} rejected{Note(by=decided.by, reason=decided.reason)}")
        return decided
