"""Ids of OpenTelemetry spans, derived from what identifies a step: the one place that says how.

Who runs a step and who reads its history later come to the same ids, so that a span made by code inside an
operation is a child of its step's span, which is made from history afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256

import pydantic_core
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span
from temporalio.api.common.v1 import Payload

from activities._wire import HEADER, Identity, StepHeader

TRACER_DATA = "_tracer-data"
"""Header in which Temporal's SDKs, and the CLI's ``--headers``, send a trace parent."""

_STAMP = re.compile(r"[0-9a-f]{32}-0[01](-[0-9a-f]{8})?$")
_PARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?\Z")
_NOT_SAMPLED = "-00"


@dataclass(frozen=True)
class Spot:
    """Where a span stands (OpenTelemetry: the span context, and its parent).

    Attributes:
        trace: the trace id, 32 hex digits.
        span: the span id, 16 hex digits.
        parent: the parent's span id, if it is known.
        sampled: whether the caller wants the trace recorded.
        part: which of the linked traces of a large run it is in.
        name: of a step, with its path in the run that all began with.
    """

    trace: str
    span: str
    parent: str | None = None
    sampled: bool = True
    part: int = 0
    name: str = ""

    def later(self, number: int) -> Spot:
        """Give where the span of a later undo of the same step stands; the first one, number 0, stands here."""
        return replace(self, span=_digest("undo", self.span, str(number), size=16)) if number else self

    def context(self) -> SpanContext:
        """Give it as OpenTelemetry has it."""
        return context_of(self.trace, self.span, sampled=self.sampled)


@dataclass(frozen=True)
class Trace:
    """The trace of a run and of all that belongs to it.

    Attributes:
        id: 32 hex digits.
        sampled: whether the caller wants it recorded.
        parent: span id of the caller, or of the flow that started this one.
        part: which of the linked traces a run begins in.
    """

    id: str
    sampled: bool = True
    parent: str | None = None
    part: int = 0

    @classmethod
    def of(cls, headers: Mapping[str, Payload]) -> Trace | None:
        """Read what a run was started with: by the flow that it is a child of, or by a caller that traces."""
        header = _of_flow(headers.get(HEADER))
        if header is not None and header.trace is not None:
            known = _stamped(header.trace)
            return cls(known.id, known.sampled, header.span, header.part)
        return _of_caller(headers.get(TRACER_DATA))

    @classmethod
    @lru_cache(256)
    def derived(cls, namespace: str, workflow: str, origin: str) -> Trace:
        """Give the trace of a run that nobody gave one."""
        return cls(_digest("trace", namespace, workflow, origin, size=32))

    def stamp(self, salt: str = "") -> str:
        """Write it into the header of a step, or of a child."""
        flags = "-01" if self.sampled else _NOT_SAMPLED
        return f"{self.id}{flags}{f'-{_digest(salt, size=8)}' if salt else ''}"

    def in_part(self, part: int) -> str:
        """Give the id of one of its linked traces; the first is the trace itself."""
        return self.id if part == 0 else _digest("part", self.id, str(part), size=32)


def flow_span(namespace: str, workflow: str, origin: str, name: str = "", kind: str = "flow") -> str:
    """Give the span id of a run, or of what in it leaves no activity: a wait, an inline flow, its beginning."""
    return _digest(kind, namespace, workflow, origin, name, size=16)


def step_spot(identity: Identity, header: StepHeader, *, undo: bool) -> Spot:
    """Give where a step's span stands, or that of its undo, which is a child of the step's.

    Args:
        identity: of the step, also for its undo.
        header: that it was sent with.
        undo: whether the undo is meant.
    """
    derived = Trace.derived(identity.namespace, identity.workflow, identity.origin)
    trace = _stamped(header.trace) if header.trace else derived
    salt = header.trace[36:] if header.trace else ""
    own = (identity.namespace, identity.workflow, identity.origin, str(identity.leg), identity.step, salt)
    step = _digest("step", *own, size=16)
    return Spot(
        trace=trace.in_part(header.part),
        span=_digest("undo", step, size=16) if undo else step,
        parent=step if undo else None,
        sampled=trace.sampled,
        part=header.part,
        name=identity.step,
    )


def context_of(trace: str, span: str, *, sampled: bool = True) -> SpanContext:
    """Make a span context; it is remote, since nobody who nests under it has the span itself."""
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
    return SpanContext(int(trace, 16), int(span, 16), is_remote=True, trace_flags=flags)


@contextmanager
def inside(spot: Spot) -> Iterator[None]:
    """Make spans that are begun meanwhile children of a step's span."""
    with use_span(NonRecordingSpan(spot.context()), record_exception=False, set_status_on_exception=False):
        yield


def _of_flow(payload: Payload | None) -> StepHeader | None:
    """Read the header that a parent sent; what somebody else calls by its name counts as none."""
    try:
        header = StepHeader.read(payload) if payload else None
    except ValueError:
        return None
    return header if header is None or header.trace is None or _STAMP.match(header.trace) else None


def _of_caller(payload: Payload | None) -> Trace | None:
    """Read a W3C trace parent; one that is malformed counts as none, as the standard says."""
    try:
        sent = pydantic_core.from_json(payload.data) if payload else None
    except ValueError:
        return None
    text = str(sent.get("traceparent")) if isinstance(sent, dict) else ""
    found = _PARENT.match(text)
    if found is None or not int(found[1], 16) or not int(found[2], 16) or text.startswith("ff"):
        return None
    return Trace(found[1], bool(int(found[3], 16) & TraceFlags.SAMPLED), found[2])


def _stamped(text: str) -> Trace:
    return Trace(text[:32], text[32:35] != _NOT_SAMPLED)


def _digest(*parts: str, size: int) -> str:
    return sha256("\n".join(parts).encode()).hexdigest()[:size]
