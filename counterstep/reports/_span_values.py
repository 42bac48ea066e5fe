"""What every span of ours is made with: resource, scope, times, attributes, status. The same input gives the same bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext
from opentelemetry.trace.status import Status, StatusCode

from activities import Failure
from activities import Status as Outcome
from activities._failure import cut
from counterstep.reports import _span_names as names
from counterstep.reports._report import Report
from counterstep.reports._views import plain

AnyReport = Report[Any, Any]
Attributes = dict[str, str | int | float]

_SCOPE = InstrumentationScope("counterstep.reports")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KEPT = ("service.name", "service.namespace", "deployment.environment.name", "deployment.environment")
_MESSAGE = 1_000
_UNSET = Status()


def span_resource() -> Resource:
    """Give the resource of spans that are made from reports, from ``OTEL_RESOURCE_ATTRIBUTES`` and ``OTEL_SERVICE_NAME``.

    What tells one process from another, such as ``service.instance.id`` and the SDK's version, is left out: whoever
    exports a run, its spans are the same.
    """
    given = OTELResourceDetector().detect().attributes
    kept = {name: given[name] for name in _KEPT if name in given}
    return Resource({"service.name": "counterstep", **kept})


@dataclass(frozen=True)
class SpanOptions:
    """How spans are made.

    Attributes:
        payloads: at how many characters inputs and outputs are cut; 0 leaves them out.
        messages: whether to tell what failures, and those who decided something, said.
        resource: that the spans are of.
    """

    payloads: int = 0
    messages: bool = True
    resource: Resource = field(default_factory=span_resource)

    def span(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        times: tuple[datetime, datetime],
        attributes: Attributes,
        *,
        status: Status = _UNSET,
        events: Sequence[Event] = (),
        links: Sequence[Link] = (),
    ) -> ReadableSpan:
        """Make a span; it never ends before it begins."""
        start, end = times
        return ReadableSpan(
            name,
            context=context,
            parent=parent,
            resource=self.resource,
            attributes=attributes,
            events=events,
            links=links,
            status=status,
            start_time=nanoseconds(start),
            end_time=nanoseconds(max(start, end)),
            instrumentation_scope=_SCOPE,
        )

    def attributes(self, report: AnyReport) -> Attributes:
        """Give what the spans of steps, undos, waits and flows have alike."""
        before = report.last_failure
        found: dict[str, str | int | None] = {
            names.OUTCOME: report.outcome.value if report.outcome else None,
            names.ATTEMPTS: report.attempts,
            names.WORKER: report.worker,
            names.SKIPPED: self._said(report.skipped),
            names.ERROR_TYPE: error_type(report),
            names.LAST_FAILURE: before.type if before else None,
            names.LAST_FAILURE_MESSAGE: self._said(before.root.message if before else None),
        }
        if report.execution_series is not None:
            found |= {
                names.SERIES: report.execution_series.id,
                names.SERIES_ORDER: report.execution_series.order,
            }
        found |= dict(self._payloads(report))
        return {name: value for name, value in found.items() if value is not None}

    def status(self, report: AnyReport) -> Status:
        """Say whether something failed, and why."""
        if error_type(report) is None:
            return _UNSET
        said = self._said(report.error.root.message if report.error else None)
        return Status(StatusCode.ERROR, said)

    def events(self, report: AnyReport) -> list[Event]:
        """Give what happened while a span lasted, in order: the last attempt began, it stood still, somebody decided."""
        found: list[tuple[datetime, str, Attributes]] = []
        if report.attempts and report.started:
            found.append((report.started, "attempt", {names.ATTEMPTS: report.attempts}))
        for delay in report.delays:
            attributes: Attributes = {names.WHY: delay.why}
            if delay.until is not None:
                attributes[names.SECONDS] = (delay.until - delay.since).total_seconds()
            found.append((delay.since, "delay", attributes))
        for decision in report.decisions:
            told = {"by": decision.by, "why": self._said(decision.reason)}
            more = {f"counterstep.{name}": text for name, text in told.items() if text}
            found.append((decision.at, "decision", {names.ACTION: decision.action, **more}))
        found.sort(key=lambda event: event[0])
        return [Event(name, attributes, nanoseconds(at)) for at, name, attributes in found]

    def _payloads(self, report: AnyReport) -> Iterator[tuple[str, str]]:
        if not self.payloads:
            return
        if report.input is not None:
            yield names.INPUT, self._cut(report.input)
        if report.result:
            yield names.OUTPUT, self._cut(report.result[0])

    def _cut(self, value: Any) -> str:
        text = json.dumps(plain(value), ensure_ascii=False, separators=(",", ":"))
        return text if len(text) <= self.payloads else f"{text[: self.payloads]}…"

    def _said(self, text: str | None) -> str | None:
        if text is None or not self.messages:
            return None
        return cut(text.partition("\n")[0], _MESSAGE)


def error_type(report: AnyReport) -> str | None:
    """Give the class of what went wrong, if something did (OpenTelemetry: ``error.type``)."""
    if report.outcome not in (Outcome.FAILED, Outcome.UNKNOWN):
        return None
    error: Failure | None = report.error
    return error.type if error else str(report.outcome)


def nanoseconds(moment: datetime) -> int:
    """Give nanoseconds since 1970; history's times, as the SDK gives them, have microseconds."""
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1_000
