"""Failures as values, and errors made fit for the wire."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from temporalio.exceptions import ApplicationError, FailureError

MESSAGE_LIMIT = 8 * 1024
FRAME_LIMIT = 100
CAUSE_LIMIT = 20


class Failure(BaseModel):
    """What went wrong, as a value: type, message and causes, outermost first.

    Attributes:
        type: the exception's class name, or the type of Temporal's failure.
        message: at most 8 KB.
        cause: the next failure towards the root.
    """

    model_config = ConfigDict(frozen=True)

    type: str
    message: str
    cause: Failure | None = None

    def __str__(self) -> str:
        """Give ``Type: message``."""
        return f"{self.type}: {self.message}"

    @property
    def root(self) -> Failure:
        """The innermost cause, or the failure itself."""
        return self.cause.root if self.cause else self

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Describe an exception and its causes (20 at most, the root always among them)."""
        failure: Failure | None = None
        for exc in reversed(_chain(error)):
            failure = cls(type=type_of(exc), message=message_of(exc), cause=failure)
        assert failure is not None
        return failure


def type_of(error: BaseException) -> str:
    """Name an exception as the wire does."""
    return (isinstance(error, ApplicationError) and error.type) or type(error).__name__


def message_of(error: BaseException) -> str:
    """Give an exception's message, cut, and without input values where pydantic would show them."""
    if isinstance(error, ValidationError):
        return cut(describe(error))
    text = error.message if isinstance(error, FailureError) else str(error)
    return cut(text or type(error).__name__)


def describe(error: ValidationError, limit: int = 10) -> str:
    """Say which fields don't fit and why, holding no value: ``a.b: Field required; ...``."""
    rows = error.errors(include_url=False, include_input=False, include_context=False)
    lines = [f"{'.'.join(map(str, row['loc'])) or 'value'}: {row['msg']}" for row in rows[:limit]]
    more = [f"and {len(rows) - limit} more"] if len(rows) > limit else []
    return "; ".join(lines + more)


def cut(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """Cut a text to a number of UTF-8 bytes, saying so."""
    data = text.encode(errors="replace")
    if len(data) <= limit:
        return text
    return data[: limit - 20].decode(errors="ignore") + " [cut]"


def on_wire(error: BaseException, *details: Any, final: bool = False) -> ApplicationError:
    """Turn any exception into an ``ApplicationError`` that is small enough to be recorded.

    Args:
        error: what was raised; an ``ApplicationError`` keeps its type, details and delay.
        details: put behind the error's own.
        final: whether it must not be retried.
    """
    chain = _chain(error)
    wired = _one(chain[0], details, final)
    outer = wired
    for exc in chain[1:]:
        outer.__cause__ = inner = _one(exc, (), False)
        outer = inner
    return wired


def _one(error: BaseException, details: tuple[Any, ...], final: bool) -> ApplicationError:
    own = error if isinstance(error, ApplicationError) else None
    wired = ApplicationError(
        message_of(error),
        *(own.details if own else ()),
        *details,
        type=type_of(error),
        non_retryable=final or bool(own and own.non_retryable),
        next_retry_delay=own.next_retry_delay if own else None,
    )
    return wired.with_traceback(_last_frames(error.__traceback__))


def causes(error: BaseException) -> Iterator[BaseException]:
    """Walk from an exception along its explicit causes to the root, each once."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__


def _chain(error: BaseException) -> list[BaseException]:
    """Give at most ``CAUSE_LIMIT`` causes; what is left out lies before the root."""
    chain = list(causes(error))
    return chain if len(chain) <= CAUSE_LIMIT else [*chain[: CAUSE_LIMIT - 1], chain[-1]]


def _last_frames(trace: TracebackType | None) -> TracebackType | None:
    frames: list[TracebackType] = []
    while trace is not None:
        frames.append(trace)
        trace = trace.tb_next
    kept: TracebackType | None = None
    for frame in reversed(frames[-FRAME_LIMIT:]):
        kept = TracebackType(kept, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
    return kept
