"""Failures as values, and errors made fit for the wire."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, get_args

import pydantic_core
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core.core_schema import ErrorType
from temporalio.exceptions import ApplicationError, FailureError

MESSAGE_LIMIT = 8 * 1024
TRACE_LIMIT = 31 * 1024
DETAILS_LIMIT = 64 * 1024
FRAME_LIMIT = 100
CAUSE_LIMIT = 20
LOC_LIMIT = 200
FROM_PYDANTIC = frozenset(get_args(ErrorType)) - {"value_error", "assertion_error", "union_tag_invalid"}
"""Kinds of errors in which pydantic speaks, and no validator of a user's."""


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

    def as_error(self) -> ApplicationError:
        """Give it back as an exception, with its causes."""
        error = ApplicationError(self.message, type=self.type, non_retryable=True)
        error.__cause__ = self.cause.as_error() if self.cause else None
        return error


def type_of(error: BaseException) -> str:
    """Name an exception as the wire does."""
    return (isinstance(error, ApplicationError) and error.type) or type(error).__name__


def message_of(error: BaseException) -> str:
    """Give an exception's message, cut, and without input values where pydantic would show them."""
    if isinstance(error, ValidationError):
        return cut(describe(error))
    try:
        text = str(error.message if isinstance(error, FailureError) else error)
    except Exception:
        text = f"{type(error).__name__}, whose text can't be made"
    return cut(text or type(error).__name__)


def describe(error: ValidationError, limit: int = 10) -> str:
    """Say which fields don't fit and why, holding no value: ``a.b: Field required; ...``."""
    rows = error.errors(include_url=False, include_context=False)
    lines = [
        f"{cut('.'.join(map(str, row['loc'])), LOC_LIMIT) or 'value'}: {reason_of(row)}"
        for row in rows[:limit]
    ]
    more = [f"and {len(rows) - limit} more"] if len(rows) > limit else []
    return cut("; ".join(lines + more))


def reason_of(row: Mapping[str, Any]) -> str:
    """Give pydantic's words; those of a validator only where they don't repeat the input."""
    words: str = row["msg"]
    if row["type"] in FROM_PYDANTIC or not _repeats(words, row["input"]):
        return words
    return f"{row['type']}, refused in words that hold the value"


def _repeats(text: str, value: Any) -> bool:
    if isinstance(value, BaseModel):
        value = dict(value)
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return any(_repeats(text, item) for item in value)
    try:
        part = str(value)
    except Exception:
        return True
    return 0 < len(part) <= len(text) and re.search(rf"(?<!\w){re.escape(part)}(?!\w)", text) is not None


def cut(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """Cut a text to a number of UTF-8 bytes, saying so."""
    data = text.encode(errors="replace")
    if len(data) <= limit:
        return data.decode()
    return data[: limit - 20].decode(errors="ignore") + " [cut]"


def on_wire(error: BaseException, *details: Any, final: bool = False) -> ApplicationError:
    """Turn any exception into an ``ApplicationError`` that is small enough to be recorded.

    Args:
        error: what was raised; an ``ApplicationError`` keeps its type, delay, and those details that can be
            recorded (64 KB over all causes).
        details: put behind the error's own.
        final: whether it must not be retried.
    """
    chain = _chain(error)
    kept = _details(chain)
    wired = _one(chain[0], kept[0], details, final)
    outer = wired
    for exc, own in zip(chain[1:], kept[1:], strict=True):
        outer.__cause__ = inner = _one(exc, own, (), False)
        outer = inner
    return wired


@dataclass(frozen=True)
class _Details:
    """What of an error's own details is recorded, and how many are left out."""

    kept: tuple[Any, ...] = ()
    dropped: int = 0

    def told(self, message: str) -> str:
        """Say in a message what is left out."""
        if not self.dropped:
            return message
        note = f" [{self.dropped} of its details left out: too large, or not JSON]"
        return cut(message, MESSAGE_LIMIT - len(note)) + note


def _details(chain: list[BaseException]) -> list[_Details]:
    """Choose the details that have room, those of the outermost error first."""
    room, found = DETAILS_LIMIT, []
    for error in chain:
        own = error.details if isinstance(error, ApplicationError) else ()
        kept = []
        for detail in own:
            size = _size(detail)
            if size <= room:
                room -= size
                kept.append(detail)
        found.append(_Details(tuple(kept), len(own) - len(kept)))
    return found


def _size(detail: Any) -> int:
    """Count a detail's bytes as JSON, protobuf's own for a message; one that isn't JSON never has room."""
    try:
        if isinstance(detail, Message):
            return len(MessageToJson(detail).encode())  # fails on an Any of a type that isn't known here
        return len(pydantic_core.to_json(detail))
    except Exception:
        return DETAILS_LIMIT + 1


def _one(error: BaseException, about: _Details, details: tuple[Any, ...], final: bool) -> ApplicationError:
    own = error if isinstance(error, ApplicationError) else None
    wired = ApplicationError(
        about.told(message_of(error)),
        *about.kept,
        *details,
        type=type_of(error),
        non_retryable=final or bool(own and own.non_retryable),
        next_retry_delay=own.next_retry_delay if own else None,
    )
    return wired.with_traceback(_last_frames(error.__traceback__))


def causes(error: BaseException) -> Iterator[BaseException]:
    """Walk over an exception, its explicit causes and the members of groups, each once."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        current = waiting.pop()
        if id(current) not in seen:
            seen.add(id(current))
            yield current
            waiting += reversed(_inner(current))


def _inner(error: BaseException) -> list[BaseException]:
    members = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return [cause for cause in (error.__cause__, *members) if cause is not None]


def _chain(error: BaseException) -> list[BaseException]:
    """Give at most ``CAUSE_LIMIT`` causes, of a group the first; what is left out lies before the root."""
    chain: dict[int, BaseException] = {}
    inner = [error]
    while inner and id(inner[0]) not in chain:
        chain[id(inner[0])] = inner[0]
        inner = _inner(inner[0])
    return _cut_chain(list(chain.values()))


def _cut_chain(chain: list[BaseException]) -> list[BaseException]:
    return chain if len(chain) <= CAUSE_LIMIT else [*chain[: CAUSE_LIMIT - 1], chain[-1]]


def _last_frames(trace: TracebackType | None) -> TracebackType | None:
    """Give the innermost frames, as many as have room."""
    frames: list[TracebackType] = []
    while trace is not None:
        frames.append(trace)
        trace = trace.tb_next
    kept: TracebackType | None = None
    room = TRACE_LIMIT
    for frame in reversed(frames[-FRAME_LIMIT:]):
        room -= len("".join(traceback.format_tb(frame, limit=1)).encode(errors="replace"))
        if room < 0:
            break
        kept = TracebackType(kept, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
    return kept
