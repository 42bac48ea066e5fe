"""Keeping reports, as the seed does: in memory, and what was added recently."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any, Protocol

from activities import ReportNotFound
from counterstep.reports._report import Report
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
