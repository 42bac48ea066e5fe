"""Where ``counterstep export`` sends spans: to a collector, or as lines of JSON to standard output."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

import typer
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from counterstep._connection import Refused
from counterstep.reports import BATCH, SpansRefused, otlp_endpoint, otlp_exporter


class Sink(Protocol):
    """Takes spans."""

    def send(self, spans: Sequence[ReadableSpan]) -> None:
        """Take some.

        Raises:
            Refused: when they aren't taken, for now.
            SpansRefused: when they never will be.
        """
        ...

    def done(self) -> None:
        """Say what was taken."""
        ...


def sink_for(as_json: bool) -> Sink:
    """Make the sink that was asked for.

    Raises:
        CounterstepError: when OpenTelemetry's variables ask for what isn't there.
    """
    return Lines() if as_json else Collector(otlp_exporter())


class Lines:
    """Writes each span as a line, in the JSON of OpenTelemetry's SDK."""

    def send(self, spans: Sequence[ReadableSpan]) -> None:
        """See :class:`Sink`."""
        for span in spans:
            typer.echo(span.to_json(indent=None))

    def done(self) -> None:
        """See :class:`Sink`: the lines say it."""


class Collector:
    """Sends spans, and counts them."""

    def __init__(self, exporter: SpanExporter) -> None:
        """Take who sends them; what it logs is kept for the one line that says what went wrong."""
        self._exporter, self._spans = exporter, 0
        self._said = _Last()
        logger = logging.getLogger("opentelemetry")
        logger.addHandler(self._said)
        logger.propagate = False

    def send(self, spans: Sequence[ReadableSpan]) -> None:
        """See :class:`Sink`; what is refused for good doesn't keep the rest from being sent."""
        refusal = None
        for start in range(0, len(spans), BATCH):
            batch = spans[start : start + BATCH]
            try:
                self._send(batch)
            except SpansRefused as error:
                refusal = SpansRefused(f"the collector refuses {len(batch)} spans: {error.message}")
        if refusal is not None:
            raise refusal

    def _send(self, batch: Sequence[ReadableSpan]) -> None:
        if self._exporter.export(batch) is not SpanExportResult.SUCCESS:
            why = self._said.text or "no reason given"
            where, variable = otlp_endpoint()
            raise Refused(f"nobody took {len(batch)} spans: {why} (at {where}; {variable} says where)")
        self._spans += len(batch)

    def done(self) -> None:
        """See :class:`Sink`."""
        typer.echo(f"{self._spans} spans exported")


class _Last(logging.Handler):
    """Keeps the first line of what was logged last."""

    text = ""

    def emit(self, record: logging.LogRecord) -> None:
        """See base class."""
        self.text = record.getMessage().partition("\n")[0][:500]
