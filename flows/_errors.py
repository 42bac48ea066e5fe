"""How flows fail. ``docs/endings.md`` has the table: error, when, whether it unwinds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from temporalio.exceptions import FailureError

from activities import CounterstepError, Failure
from activities._failure import MESSAGE_LIMIT, cut

_LINE = 600

if TYPE_CHECKING:
    from counterstep.reports import Report


class OperationFailed(CounterstepError):
    """A step failed, or its outcome is unknown. Its cause is what the handler raised.

    Attributes:
        report: the step's report.
    """

    report: Report[Any, Any]

    @classmethod
    def of(cls, message: str, report: Report[Any, Any]) -> OperationFailed:
        """Make the error with its report."""
        error = cls(message)
        error.report = report
        return error


class InvalidPlan(CounterstepError):
    """A plan can't be run. The message lists all that is wrong with it, a line each: step, field, remedy."""


class SequenceFailed(CounterstepError):
    """A flow inside a flow failed. Its cause is the first failure in it.

    Attributes:
        report: the flow's report, with its children.
    """

    report: Report[Any, Any]

    @classmethod
    def of(cls, message: str, report: Report[Any, Any]) -> SequenceFailed:
        """Make the error with its report."""
        error = cls(message)
        error.report = report
        return error


class SeriesFailed(OperationFailed):
    """A member of a series failed.

    Attributes:
        reports: of the members that succeeded, in order.
    """

    reports: list[Report[Any, Any]]


class RolledBack(CounterstepError):
    """The run failed, and everything that took effect is undone. Its cause is the first failure."""

    retryable = True


class Kept(CounterstepError):
    """The run failed, and what it did is kept, as its policy says. Its cause is the first failure."""


class Stuck(CounterstepError):
    """Unwinding ended and something is *not* undone; each such step is named, with the reason."""


class ExecutionStopped(CounterstepError):
    """An operator stopped the run (seed actions: ``ErrExecutionStopped``)."""


class ResetAfterUndo(CounterstepError):
    """A run whose steps were undone was reset; nothing undone counts as done, so it ends."""


class HistoryLimit(CounterstepError):
    """What is left of the history is needed for unwinding."""


class DeadlineExceeded(CounterstepError):
    """The flow's own deadline passed before its end."""


class WaitDeadlineExceeded(CounterstepError):
    """What was waited for didn't end in time; the message names it, and the seconds (seed lro)."""


class ApprovalRejected(CounterstepError):
    """An operator rejected an approval."""


class ApprovalTimedOut(CounterstepError):
    """Nobody decided on an approval in time."""


def unwinds(error: BaseException) -> bool:
    """Whether an exception from a body fails and unwinds the run; any other is a bug that Temporal retries.

    Ours, Temporal's failures, timeouts, pydantic's validation errors, a cancel, and groups of only such.
    """
    if isinstance(error, BaseExceptionGroup):
        return all(unwinds(inner) for inner in error.exceptions)
    return isinstance(error, (FailureError, TimeoutError, ValidationError, asyncio.CancelledError))


def first_of(error: BaseException) -> BaseException:
    """Give the first failure of a group, or the error itself."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def original(failure: Failure) -> Failure:
    """Give what went wrong first: what a handler raised, without what says that a step or a run failed."""
    wrappers = (RolledBack, Kept, Stuck, OperationFailed, SequenceFailed, SeriesFailed)
    names = {wrapper.__name__ for wrapper in wrappers}
    while failure.type in names and failure.cause is not None:
        failure = failure.cause
    return failure


def refusal(who: str, lines: list[str]) -> InvalidPlan:
    """Make the error that lists mistakes, as many as have room."""
    count = f"{len(lines)} mistake{'s'[: len(lines) > 1]}"
    text = f"{who[:120]} can't be run, {count}:"
    for number, line in enumerate(lines):
        shown = cut(line.replace("\n", " "), _LINE)
        if len(text.encode()) + len(shown.encode()) > MESSAGE_LIMIT - 100:
            text += f"\nand {len(lines) - number} more"
            break
        text += f"\n{shown}"
    return InvalidPlan(text)
