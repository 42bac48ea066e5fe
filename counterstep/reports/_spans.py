"""Reports as OpenTelemetry spans. Pure: whoever makes them of a history, now or later, makes the same ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Link, SpanContext

from activities import Definition
from activities._spans import Spot, Trace, context_of, flow_span
from counterstep.reports import _span_names as names
from counterstep.reports._report import Kind, Report, RunInfo
from counterstep.reports._span_values import Attributes, SpanOptions
from counterstep.reports._words import is_resolved

AnyReport = Report[Any, Any]
Times = tuple[datetime, datetime]


@dataclass(frozen=True)
class Begun:
    """What is known of a flow when it begins.

    Attributes:
        namespace: of Temporal.
        workflow_id: of the run.
        origin: the run id in which the flow began.
        workflow_type: ``id@version``, or what it was started as.
        at: when, aware.
        trace: that it is in.
    """

    namespace: str
    workflow_id: str
    origin: str
    workflow_type: str
    at: datetime
    trace: Trace

    def span(self, options: SpanOptions) -> ReadableSpan:
        """Make the zero-length span that announces the flow."""
        own = (self.namespace, self.workflow_id, self.origin)
        trace, sampled = self.trace.in_part(self.trace.part), self.trace.sampled
        attributes: Attributes = {
            names.KIND: "started",
            names.NAMESPACE: self.namespace,
            names.WORKFLOW_ID: self.workflow_id,
            names.WORKFLOW_TYPE: self.workflow_type,
            names.ORIGIN: self.origin,
        }
        return options.span(
            "started",
            context_of(trace, flow_span(*own, kind="started"), sampled=sampled),
            context_of(trace, flow_span(*own), sampled=sampled),
            (self.at, self.at),
            attributes,
        )


def spans_of(report: AnyReport, options: SpanOptions | None = None) -> list[ReadableSpan]:
    """Make the spans of a flow, its steps, undos, waits and child flows.

    A flow that hasn't ended has only the one that announces it, since the others may still change.

    Args:
        report: of a flow, from its history; of others there are no spans.
        options: how spans are made.
    """
    options = options or SpanOptions()
    if report.run is None or report.spot is None:
        return []
    return list(_Flow(report, report.run, report.spot, options).spans())


@dataclass(frozen=True)
class _Place:
    """A span that others are inside of.

    Attributes:
        part: of the linked traces.
        span: its id.
        times: that it lasts.
    """

    part: int
    span: str
    times: Times


@dataclass
class _Flow:
    """The spans of one flow on their way.

    Attributes:
        part: that the newest step is in; what has no step of its own is in the same.
        parts: of the linked traces that something of the flow is in, but for its first.
    """

    report: AnyReport
    run: RunInfo
    spot: Spot
    options: SpanOptions
    part: int = 0
    parts: set[int] = field(default_factory=set)

    def spans(self) -> Iterator[ReadableSpan]:
        report, times = self.report, _times(self.report)
        self.part = self.spot.part
        if times is None:
            return
        yield self._begun(times[0]).span(self.options)
        if report.outcome is None:
            for child in _flows_in(report):
                yield from spans_of(child, self.options)
            return
        inner = list(self._inside(report, _Place(self.spot.part, self.spot.span, times)))
        yield self._whole(times)
        for part in sorted(self.parts):
            yield self._of_part(part, times)
        yield from inner

    def _begun(self, at: datetime) -> Begun:
        run, spot = self.run, self.spot
        trace = Trace(spot.trace, spot.sampled, part=spot.part)
        return Begun(run.namespace, run.workflow_id, run.origin, run.workflow_type, at, trace)

    def _whole(self, times: Times) -> ReadableSpan:
        run, spot = self.run, self.spot
        attributes: Attributes = {
            names.KIND: "flow",
            names.DEFINITION: str(self.report.definition),
            names.NAMESPACE: run.namespace,
            names.WORKFLOW_ID: run.workflow_id,
            names.WORKFLOW_TYPE: run.workflow_type,
            names.RUN_ID: run.run_id,
            names.ORIGIN: run.origin,
            names.END: run.state,
            **({names.RESUMED_FROM: run.resumed_from[0]} if run.resumed_from else {}),
            **self.options.attributes(self.report),
        }
        parent = self._context(spot.part, spot.parent) if spot.parent else None
        links = [
            Link(self._context(part, self._root(part)), {names.PART: part}) for part in sorted(self.parts)
        ]
        return self._span(
            _name_of(self.report.definition, run),
            self._context(spot.part, spot.span),
            parent,
            times,
            attributes,
            links,
        )

    def _of_part(self, part: int, times: Times) -> ReadableSpan:
        """Make the root of a linked trace."""
        run = self.run
        attributes: Attributes = {
            names.KIND: "part",
            names.PART: part,
            names.NAMESPACE: run.namespace,
            names.WORKFLOW_ID: run.workflow_id,
            names.ORIGIN: run.origin,
        }
        first = Link(self._context(self.spot.part, self.spot.span))
        name = f"{_name_of(self.report.definition, run)} (part {part})"
        return self.options.span(
            name, self._context(part, self._root(part)), None, times, attributes, links=[first]
        )

    def _inside(self, flow: AnyReport, place: _Place) -> Iterator[ReadableSpan]:
        for child in flow.children:
            if child.kind is Kind.CHILD:
                yield from self._child(child, place)
            elif child.is_flow:
                yield from self._inline(child, place)
            elif child.spot is not None:
                yield from self._step(child, child.spot, place)
            elif child.kind in (Kind.WAIT, Kind.APPROVAL):
                yield from self._unscheduled(child, place)
            yield from self._undos(child, place)

    def _undos(self, report: AnyReport, place: _Place) -> Iterator[ReadableSpan]:
        for undo in (*report.earlier_undos, report.undo):
            if undo is not None and undo.spot is not None:
                yield from self._step(undo, undo.spot, place)

    def _inline(self, report: AnyReport, outer: _Place) -> Iterator[ReadableSpan]:
        """Give the spans of a flow that is no run of its own, and of all in it; undos alone, of a child's steps, are none."""
        if all(one.spot and one.spot.parent for one in report.walk() if not one.is_flow):
            yield from self._inside(report, outer)
            return
        times = _within(_times(report) or outer.times, outer)
        self.part = next((one.spot.part for one in report.walk() if one.spot), self.part)
        place = _Place(self.part, self._id(report.step, report.kind.value), times)
        yield self._in_place(report, place, outer)
        yield from self._inside(report, place)

    def _child(self, report: AnyReport, outer: _Place) -> Iterator[ReadableSpan]:
        """Give the spans of a child run, as it gives them itself, in its trace; without its history, of its undos here."""
        if report.spot is not None:
            self.part = report.spot.part
            self._parent(self.part, outer)
        if report.run is not None:
            own = replace(report.alone, children=report.children) if report.alone else report
            yield from spans_of(own, self.options)
            return
        if report.started is None and report.outcome is not None:
            yield from self._unscheduled(report, outer)
        yield from self._inside(report, outer)

    def _unscheduled(self, report: AnyReport, outer: _Place) -> Iterator[ReadableSpan]:
        """Give the span of what is no activity: a wait, an approval, a child that couldn't be started."""
        times = _times(report)
        if times is not None:
            place = _Place(self.part, self._id(report.step, report.kind.value), _within(times, outer))
            yield self._in_place(report, place, outer)

    def _in_place(self, report: AnyReport, place: _Place, outer: _Place) -> ReadableSpan:
        attributes: Attributes = {names.KIND: report.kind.value, names.STEP: report.step}
        if report.kind not in (Kind.WAIT, Kind.APPROVAL, Kind.LEG):
            attributes[names.DEFINITION] = str(report.definition)
        return self._span(
            report.step,
            self._context(place.part, place.span),
            self._parent(place.part, outer),
            place.times,
            {**attributes, **self.options.attributes(report)},
            of=report,
        )

    def _step(self, report: AnyReport, spot: Spot, outer: _Place) -> Iterator[ReadableSpan]:
        """Give a step's span, or that of an undo, which is inside its step's and lasts beyond it."""
        times = _times(report)
        if times is None or (spot.parent is not None and report.outcome is None):
            return
        attributes: Attributes = {
            names.KIND: "undo" if spot.parent else "operation",
            names.DEFINITION: str(report.definition),
            names.STEP: spot.name,
            **self.options.attributes(report),
        }
        if spot.parent is not None:
            step = context_of(spot.trace, spot.parent, sampled=spot.sampled)
            name = f"undo {spot.name}"
            yield self._span(name, spot.context(), step, times, attributes, [Link(step)], of=report)
            return
        self.part, times = spot.part, _within(times, outer)
        parent = self._parent(spot.part, outer)
        yield self._span(spot.name, spot.context(), parent, times, attributes, of=report)

    def _span(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        times: Times,
        attributes: Attributes,
        links: list[Link] | None = None,
        of: AnyReport | None = None,
    ) -> ReadableSpan:
        report = of or self.report
        return self.options.span(
            name,
            context,
            parent,
            times,
            attributes,
            status=self.options.status(report),
            events=self.options.events(report),
            links=links or (),
        )

    def _parent(self, part: int, outer: _Place) -> SpanContext:
        """Give the parent of a span: what is around it, if that is in the same trace, else the root of its part."""
        if part == outer.part:
            return self._context(part, outer.span)
        self.parts |= {part} - {self.spot.part}
        return self._context(part, self._root(part))

    def _root(self, part: int) -> str:
        return self.spot.span if part == self.spot.part else self._id("", f"part {part}")

    def _id(self, name: str, kind: str) -> str:
        return flow_span(self.run.namespace, self.run.workflow_id, self.run.origin, name, kind)

    def _context(self, part: int, span: str) -> SpanContext:
        return context_of(Trace(self.spot.trace).in_part(part), span, sampled=self.spot.sampled)


def _times(report: AnyReport) -> Times | None:
    """Give when something began and ended, as far as its history is there; what never ended, ends where it is known."""
    start = report.started if report.is_flow and report.run else report.scheduled or report.started
    if start is None:
        return None
    return start, report.finished or report.started or start


def _within(times: Times, outer: _Place) -> Times:
    """Keep a span inside its parent's: other clocks than Temporal's tell of local steps."""
    first, last = outer.times
    start = min(max(times[0], first), last)
    return start, min(max(times[1], start), last)


def _flows_in(report: AnyReport) -> Iterator[AnyReport]:
    for child in report.children:
        if child.run is not None:
            yield child
        elif child.is_flow:
            yield from _flows_in(child)


def _name_of(definition: Definition, run: RunInfo) -> str:
    """Name a flow's span by what it is; a workflow that isn't ours, by its type."""
    return str(definition) if is_resolved(definition) else run.workflow_type
