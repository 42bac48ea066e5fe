"""How often, and how soon, a handler that raised is called again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Annotated

from pydantic import ConfigDict, Field, WithJsonSchema, field_validator
from pydantic.dataclasses import dataclass
from temporalio.common import RetryPolicy


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Retry:
    """Retries of an operation or an undo (seed operations: ``RetryPolicy``; Temporal's fields, our names).

    Attributes:
        max_attempts: attempts in all, 0 for no limit.
        initial: delay before the second attempt.
        factor: each delay is so many times the one before.
        maximum: no delay is longer.
        non_retryable: exception classes, or their names, that end it at once, subclasses too.
    """

    max_attempts: int = Field(default=10, ge=0)
    initial: timedelta = Field(default=timedelta(milliseconds=100), gt=timedelta(0))
    factor: float = Field(default=2.0, ge=1)
    maximum: timedelta = Field(default=timedelta(minutes=1), gt=timedelta(0))
    non_retryable: Annotated[
        Sequence[str | type[BaseException]], WithJsonSchema({"type": "array", "items": {"type": "string"}})
    ] = ()

    @field_validator("non_retryable", mode="after")
    @classmethod
    def _names(cls, classes: Iterable[str | type[BaseException]]) -> tuple[str, ...]:
        """Keep exception classes by name."""
        return tuple(c if isinstance(c, str) else c.__name__ for c in classes)

    @property
    def names(self) -> list[str]:
        """The names of the exceptions that end it at once."""
        return [str(name) for name in self.non_retryable]

    def delay(self, failures: int) -> timedelta:
        """Give the delay after so many failures (1 and up)."""
        try:
            seconds = self.initial.total_seconds() * self.factor ** (failures - 1)
        except OverflowError:
            return self.maximum
        return min(timedelta(seconds=min(seconds, self.maximum.total_seconds())), self.maximum)

    def on_temporal(self, attempts: int, failures: int = 0) -> RetryPolicy:
        """Give Temporal's form of it, with what is left of the attempts (0: no limit) after so many failures.

        Timeouts come back to the workflow instead of being retried by the server: only there can a lost
        worker be told from a slow operation.
        """
        if attempts == 1:
            return RetryPolicy(maximum_attempts=1)
        return RetryPolicy(
            initial_interval=self.delay(failures + 1) if failures else self.initial,
            backoff_coefficient=self.factor,
            maximum_interval=max(self.maximum, self.initial),
            maximum_attempts=attempts,
            non_retryable_error_types=[*TIMEOUTS, *self.names],
        )


TIMEOUTS = ("TemporalTimeout:StartToClose", "TemporalTimeout:Heartbeat")
"""How the server's retry policy names its own timeouts."""

ONCE = Retry(max_attempts=1)
"""No retry: one failure is final."""
