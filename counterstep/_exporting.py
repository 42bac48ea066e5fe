"""Runs on their way from Temporal to whoever takes their spans, for ``counterstep export``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from counterstep._connection import unreadable
from counterstep._spans_out import Sink
from counterstep.reports import (
    MARKS,
    Report,
    SpanOptions,
    SpansRefused,
    fetch_events,
    fetch_report,
    read_run,
    report_of,
    spans_of,
)
from counterstep.serving import CodecError

AnyReport = Report[Any, Any]
PAGE = 1000
"""Runs in one page of a listing."""


class _Unreadable(Exception):
    """A run's history can't be made spans of; the cause says why."""


@dataclass
class Exporting:
    """Runs on their way to a sink.

    Attributes:
        known: run ids of runs that are done with, and when they ended, as far as a look can come upon them again.
        announced: run ids of open runs, and when they began, the same.
        left_out: what will never be exported, with why; whoever tells it empties it.
    """

    client: Client
    sink: Sink
    options: SpanOptions
    known: dict[str, datetime] = field(default_factory=dict)
    announced: dict[str, datetime] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    async def one(self, workflow_id: str, run_id: str | None, *, follow: bool) -> None:
        """Export a run; wait for its end first, if it is to be followed."""
        report = await fetch_report(self.client, workflow_id, run_id)
        await self._send(report, spans_of(report, self.options))
        while follow and report.outcome is None:
            newest = report.run.run_id if report.run else run_id
            await fetch_events(self.client, workflow_id, newest, to_its_end=True)
            report = await fetch_report(self.client, workflow_id, newest)
            if report.outcome is not None:
                await self._send(report, spans_of(report, self.options))

    async def matching(self, query: str, see: Callable[[WorkflowExecution], None] = lambda run: None) -> None:
        """Export the closed runs that match, and announce the open ones.

        Args:
            query: what is to match.
            see: told of each run that matches.

        Raises:
            Refused: when spans aren't taken, for now.
            CodecError: when the codec server doesn't decode them.
            RPCError: when Temporal doesn't answer.
        """
        async for run in self.client.list_workflows(query, page_size=PAGE):
            see(run)
            done = self.known if run.close_time else self.announced
            if run.workflow_type not in MARKS and run.run_id not in done:
                await self._listed(run)

    def forget(self, before: datetime | None) -> None:
        """Forget the runs that no later look comes upon."""
        if before is not None:
            self.known = {run: at for run, at in self.known.items() if at >= before}
            self.announced = {run: at for run, at in self.announced.items() if at >= before}

    async def _listed(self, run: WorkflowExecution) -> None:
        """Export or announce a run; where that will never work, it must not hold up the others."""
        try:
            if made := await self._made(run):
                await self._send(*made)
        except SpansRefused as refusal:
            self.left_out.append(f"{run.id} (run {run.run_id}): {refusal.message}")
        except _Unreadable as error:
            self.left_out.append(unreadable(run.id, run.run_id, error.__cause__ or error))
        if run.close_time is None:
            self.announced[run.run_id] = run.start_time
        else:
            self.known[run.run_id] = run.close_time

    async def _made(self, run: WorkflowExecution) -> tuple[AnyReport, list[ReadableSpan]] | None:
        """Read a run, and make its spans; of one that was deleted, or went on as new, there are none."""
        try:
            report = await (self._begun(run) if run.close_time is None else self._ended(run))
            return (report, spans_of(report, self.options)) if report else None
        except CodecError:
            raise
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return None
            raise
        except Exception as error:  # whatever one history holds, the next run's is exported
            raise _Unreadable from error

    async def _ended(self, run: WorkflowExecution) -> AnyReport | None:
        if run.status is WorkflowExecutionStatus.CONTINUED_AS_NEW:
            return None
        return await fetch_report(self.client, run.id, run.run_id)

    async def _begun(self, run: WorkflowExecution) -> AnyReport | None:
        events = await fetch_events(self.client, run.id, run.run_id, only_start=True)
        begun = report_of(read_run(run.id, events), self.client.namespace)
        return begun if begun.run and begun.run.run_id == begun.run.origin else None

    async def _send(self, report: AnyReport, spans: list[ReadableSpan]) -> None:
        """Send a flow with its children, and remember which runs those were."""
        await asyncio.to_thread(self.sink.send, spans)
        for one in report.walk():
            if one.run and one.outcome and one.finished:
                self.known |= dict.fromkeys(one.run.runs, one.finished)
