"""Keeping reports, as the seed does: in memory, what was added recently, what Temporal's history holds, and as spans."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any, Protocol

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from temporalio.client import Client

from activities import CounterstepError, ReportNotFound
from counterstep.reports._fetch import fetch_report
from counterstep.reports._report import Report
from counterstep.reports._span_values import SpanOptions
from counterstep.reports._spans import spans_of
from counterstep.reports._views import execution_reports

AnyReport = Report[Any, Any]


class Reporter(Protocol):
    """Keeps reports (seed operations: ``Reporter``)."""

    def get_report(self, id: str) -> AnyReport:
        """Give a report.

        Raises:
            ReportNotFound: naming the id.
        """
        ...

    def get_reports(self) -> list[AnyReport]:
        """Give all reports, in the order in which they were added."""
        ...

    def add_report(self, report: AnyReport) -> None:
        """Add a report."""
        ...

    def get_execution_reports(self, id: str) -> list[AnyReport]:
        """Give a report with those of its children, children first.

        Raises:
            ReportNotFound: naming the id.
        """
        ...


class MemoryReporter:
    """Reports in memory: append-only, thread-safe; lists are snapshots (seed operations)."""

    def __init__(self, reports: Iterable[AnyReport] = ()) -> None:
        """Begin with some reports."""
        self._lock = threading.Lock()
        self._reports = list(reports)

    def get_report(self, id: str) -> AnyReport:
        """See :class:`Reporter`; of two with one id, the first."""
        for report in self.get_reports():
            if report.id == id:
                return report
        raise ReportNotFound(f"report {id} isn't here")

    def get_reports(self) -> list[AnyReport]:
        """See :class:`Reporter`."""
        with self._lock:
            return list(self._reports)

    def add_report(self, report: AnyReport) -> None:
        """See :class:`Reporter`."""
        with self._lock:
            self._reports.append(report)

    def get_execution_reports(self, id: str) -> list[AnyReport]:
        """See :class:`Reporter`."""
        return execution_reports(self.get_report(id))


class RecentReporter:
    """Knows what was added through it since it was made, and forwards everything (seed operations)."""

    def __init__(self, reporter: Reporter) -> None:
        """Wrap a reporter."""
        self._reporter = reporter
        self._recent = MemoryReporter()

    def get_recent_reports(self) -> list[AnyReport]:
        """Give what was added through this one."""
        return self._recent.get_reports()

    def get_report(self, id: str) -> AnyReport:
        """See :class:`Reporter`."""
        return self._reporter.get_report(id)

    def get_reports(self) -> list[AnyReport]:
        """See :class:`Reporter`."""
        return self._reporter.get_reports()

    def add_report(self, report: AnyReport) -> None:
        """See :class:`Reporter`; if forwarding fails, nothing is remembered."""
        self._reporter.add_report(report)
        self._recent.add_report(report)

    def get_execution_reports(self, id: str) -> list[AnyReport]:
        """See :class:`Reporter`."""
        return self._reporter.get_execution_reports(id)


class HistoryReporter:
    """The reports of flows as Temporal's history tells them, as it stood when it was last read.

    Nothing is added to it: runs write history. Make one with :meth:`read`.
    """

    def __init__(self, client: Client, workflow_ids: Iterable[str]) -> None:
        """Begin with nothing read; use :meth:`read`."""
        self._client, self._ids = client, tuple(workflow_ids)
        self._read = MemoryReporter()

    @classmethod
    async def read(cls, client: Client, *workflow_ids: str) -> HistoryReporter:
        """Read the histories of some flows.

        Raises:
            temporalio.service.RPCError: NOT_FOUND when one of them isn't there.
        """
        reporter = cls(client, workflow_ids)
        await reporter.refresh()
        return reporter

    async def refresh(self) -> None:
        """Read them again; reports that were given out stay as they are.

        Raises:
            temporalio.service.RPCError: NOT_FOUND when one of them isn't there.
        """
        flows = [await fetch_report(self._client, workflow_id) for workflow_id in self._ids]
        self._read = MemoryReporter(report for flow in flows for report in execution_reports(flow))

    def get_report(self, id: str) -> AnyReport:
        """See :class:`Reporter`."""
        return self._read.get_report(id)

    def get_reports(self) -> list[AnyReport]:
        """See :class:`Reporter`; those of each flow children first, the flow last."""
        return self._read.get_reports()

    def add_report(self, report: AnyReport) -> None:
        """Refuse: see :class:`Reporter`.

        Raises:
            CounterstepError: always.
        """
        raise CounterstepError(f"report {report.id} can't be added: history holds what runs wrote")

    def get_execution_reports(self, id: str) -> list[AnyReport]:
        """See :class:`Reporter`."""
        return self._read.get_execution_reports(id)


class SpanReporter:
    """Exports the spans of what is added to it, and keeps the reports.

    Only reports that were made from history have spans; see :func:`counterstep.reports.fetch_report`.
    """

    def __init__(self, exporter: SpanExporter, options: SpanOptions | None = None) -> None:
        """Take where spans go, and how they are made."""
        self._exporter, self._options = exporter, options
        self._kept = MemoryReporter()

    def get_report(self, id: str) -> AnyReport:
        """See :class:`Reporter`."""
        return self._kept.get_report(id)

    def get_reports(self) -> list[AnyReport]:
        """See :class:`Reporter`."""
        return self._kept.get_reports()

    def add_report(self, report: AnyReport) -> None:
        """See :class:`Reporter`; exports its spans first, and if that fails, nothing is kept.

        Raises:
            CounterstepError: when it has no spans, or the exporter didn't take them.
        """
        spans = spans_of(report, self._options)
        if not spans:
            raise CounterstepError(
                f"report {report.id} has no spans: only a flow's report that was made from history has"
            )
        if self._exporter.export(spans) is not SpanExportResult.SUCCESS:
            raise CounterstepError(f"the {len(spans)} spans of report {report.id} weren't taken")
        self._kept.add_report(report)

    def get_execution_reports(self, id: str) -> list[AnyReport]:
        """See :class:`Reporter`."""
        return self._kept.get_execution_reports(id)
