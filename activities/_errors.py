"""Every error of Counterstep, each a Temporal failure, so that raising one ends a run and hangs none."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from difflib import get_close_matches
from typing import Any, ClassVar

from temporalio.exceptions import ApplicationError


class CounterstepError(ApplicationError):
    """Base of our errors. Its wire type is the class name; it is not retried unless the class says so."""

    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *details: Any) -> None:
        """Make the error.

        Args:
            message: what happened, which id, what to do next.
            details: values that travel with it, readable on the other side.
        """
        super().__init__(message, *details, type=type(self).__name__, non_retryable=not self.retryable)


class DefinitionError(CounterstepError):
    """An operation or a flow is declared wrongly."""


class DefinitionExists(CounterstepError):
    """The same id and version is registered twice."""


class OperationNotFound(CounterstepError):
    """No registered operation or flow matches; the message lists near names."""


class NotSerializable(CounterstepError):
    """A value or a type doesn't survive a JSON round trip (seed operations: ``ErrNotSerializable``)."""


class InvalidInput(CounterstepError):
    """A value doesn't fit its model. The message names the fields and holds no value."""


class UnknownFlow(CounterstepError):
    """No flow has this workflow type; the message lists near names."""


class ResultTooLarge(CounterstepError):
    """An output is larger than what Temporal records in one payload."""


class NoOutput(CounterstepError):
    """The output was asked for, and there is none."""


class ReportNotFound(CounterstepError):
    """No report has this id."""


class Unrecoverable(CounterstepError):
    """Raised by a handler, also as the cause of another exception: don't retry (seed operations)."""


class OutcomeUnknown(CounterstepError):
    """Raised by a handler that can't tell whether its effect happened: the step is ``unknown`` and undone."""

    retryable = True


class Retryable(ApplicationError):
    """Raised by a handler: try again after a delay of its own choice."""

    def __init__(self, message: str, *, after: timedelta) -> None:
        """Make the error.

        Args:
            message: what happened.
            after: the delay before the next attempt.
        """
        super().__init__(message, type="Retryable", next_retry_delay=after)


class Skip(CounterstepError):
    """Raised by a handler: there is nothing to do, the step ends as ``skipped``."""

    def __init__(self, reason: str, output: Any = None) -> None:
        """Make the skip.

        Args:
            reason: why, for the report.
            output: the output of the step, if it has one all the same.
        """
        super().__init__(reason)
        self.reason, self.output = reason, output


def near(name: str, known: Iterable[str]) -> str:
    """Say which known names are near ``name``, as the end of an error message."""
    names = sorted(set(known), reverse=True)
    if not names:
        return "none is registered here"
    wanted, ids = _id(name), sorted({_id(one) for one in names})
    close = [one for id in get_close_matches(wanted, ids) for one in names if _id(one) == id][:5]
    return f"did you mean {', '.join(close)}?" if close else "no name that the modules offer is near"


def _id(name: str) -> str:
    """Give a definition's id: that versions are alike says nothing."""
    return name.partition("@")[0]
