"""How often, and how soon, a handler that raised is called again."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel, ConfigDict, Field
from temporalio.common import RetryPolicy


class Retry(BaseModel):
    """Retries of an operation or an undo (seed operations: ``RetryPolicy``; Temporal's fields, our names).

    Attributes:
        max_attempts: attempts in all, 0 for no limit.
        initial: delay before the second attempt.
        factor: each delay is so many times the one before.
        maximum: no delay is longer.
        non_retryable: exception classes, or their names, that end it at once, subclasses too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_attempts: int = Field(default=10, ge=0)
    initial: timedelta = Field(default=timedelta(milliseconds=100), gt=timedelta(0))
    factor: float = Field(default=2.0, ge=1)
    maximum: timedelta = Field(default=timedelta(minutes=1), gt=timedelta(0))
    non_retryable: tuple[str, ...] = ()

    def __init__(self, max_attempts: int = 10, **values: object) -> None:
        """Make the policy; exception classes are kept by name."""
        names = values.pop("non_retryable", ())
        classes = tuple(n if isinstance(n, str) else n.__name__ for n in names)  # type: ignore[attr-defined]
        super().__init__(max_attempts=max_attempts, non_retryable=classes, **values)

    def delay(self, failures: int) -> timedelta:
        """Give the delay after so many failures (1 and up)."""
        try:
            seconds = self.initial.total_seconds() * self.factor ** (failures - 1)
        except OverflowError:
            return self.maximum
        return min(timedelta(seconds=min(seconds, self.maximum.total_seconds())), self.maximum)

    def on_temporal(self, attempts: int) -> RetryPolicy:
        """Give Temporal's form of it, with what is left of the attempts (0: no limit).

        Timeouts come back to the workflow instead of being retried by the server: only there can a lost
        worker be told from a slow operation.
        """
        if attempts == 1:
            return RetryPolicy(maximum_attempts=1)
        return RetryPolicy(
            initial_interval=self.initial,
            backoff_coefficient=self.factor,
            maximum_interval=max(self.maximum, self.initial),
            maximum_attempts=attempts,
            non_retryable_error_types=[*TIMEOUTS, *self.non_retryable],
        )


TIMEOUTS = ("TemporalTimeout:StartToClose", "TemporalTimeout:Heartbeat")
"""How the server's retry policy names its own timeouts."""

ONCE = Retry(max_attempts=1)
"""No retry: one failure is final."""
