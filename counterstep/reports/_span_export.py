"""A worker's export of spans: off the workflows' path, in a thread of its own; it never delays nor fails a flow."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from temporalio.client import Client, WorkflowExecutionStatus

from counterstep.reports._fetch import fetch_ended
from counterstep.reports._history import AnyReport
from counterstep.reports._otlp_answers import SpansRefused
from counterstep.reports._span_values import SpanOptions
from counterstep.reports._spans import Begun, spans_of

BATCH = 512
"""Spans in one request, as OpenTelemetry's own batches have."""

_AT_ONCE = 32
_CLOSING = 10.0  # seconds from the last workflow task to the run's end
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_log = logging.getLogger("counterstep.spans")
_Run = tuple[str, str]


@dataclass(frozen=True)
class _Piece:
    """A span on its way.

    Attributes:
        span: it.
        run: workflow and run id of the run that it is of.
        ended: whether that run is exported; otherwise it is only announced.
    """

    span: ReadableSpan
    run: _Run
    ended: bool


class RunExporter:
    """Exports the spans of the runs that a worker begins and closes.

    What it can't keep or send, it counts and logs; ``counterstep export`` catches that, with the same ids.

    Attributes:
        lost: how many runs it gave up.
    """

    def __init__(
        self, exporter: SpanExporter, *, room: int = 10_000, patience: float = 300.0, flush: float = 10.0
    ) -> None:
        """Make it; it works while :meth:`serving`.

        Args:
            exporter: where spans go.
            room: how many runs may wait.
            patience: seconds after which a batch that nobody takes is given up.
            flush: seconds that the end of the worker may wait for what is left.
        """
        self.lost = 0
        self._exporter, self._patience, self._flush = exporter, patience, flush
        self._told = False
        self._jobs: queue.Queue[Begun | _Run] = queue.Queue(room)
        self._stopping = threading.Event()
        self._deadline = float("inf")
        self._client: Client | None = None
        self._options = SpanOptions()

    def began(self, begun: Begun) -> None:
        """Announce a run; called on a workflow's path, so it only remembers."""
        if begun.trace.sampled:
            self._put(begun)

    def ended(self, workflow_id: str, run_id: str) -> None:
        """Export a run that is about to close; called on a workflow's path, so it only remembers."""
        self._put((workflow_id, run_id))

    @asynccontextmanager
    async def serving(self, client: Client) -> AsyncIterator[None]:
        """Export meanwhile; at the end, what is left, for a limited time."""
        self._client, self._options = client, options_for(client)
        self._stopping.clear()
        self._deadline = float("inf")
        thread = threading.Thread(target=self._work, name="spans", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._deadline = time.monotonic() + self._flush
            self._stopping.set()
            await asyncio.to_thread(thread.join, self._flush + 1)
            self.lost += sum(not isinstance(job, Begun) for job in self._jobs.queue)
            if self.lost:
                _log.warning("the spans of %s runs weren't exported: counterstep export --query", self.lost)

    def _put(self, job: Begun | _Run) -> None:
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            self.lost += not isinstance(job, Begun)
            if not self._told:
                self._told = True
                _log.warning("too many runs wait for the export of spans; those that don't fit are left out")

    def _work(self) -> None:
        with asyncio.Runner() as runner:
            while jobs := self._take():
                pieces = runner.run(self._pieces(jobs))
                lost = len({piece.run for piece in self._left(pieces) if piece.ended})
                self.lost += lost  # in a statement of its own: sending takes long, and others count meanwhile

    def _left(self, pieces: Sequence[_Piece]) -> Iterator[_Piece]:
        """Send what some runs came to; give what is given up."""
        for start in range(0, len(pieces), BATCH):
            batch = pieces[start : start + BATCH]
            try:
                if not self._sent([piece.span for piece in batch]):
                    yield from pieces[start:]
                    return
            except SpansRefused as refusal:
                runs = ", ".join(f"{id} (run {run})" for id, run in dict.fromkeys(one.run for one in batch))
                _log.warning("%s spans are left out: %s; they are of %s", len(batch), refusal.message, runs)
                yield from batch

    def _take(self) -> list[Begun | _Run]:
        """Give what waits, a few at a time; nothing once the worker has stopped and nothing is left."""
        while True:
            try:
                jobs = [self._jobs.get(timeout=0.0 if self._stopping.is_set() else 0.2)]
            except (queue.Empty, ValueError):
                if self._stopping.is_set():
                    return []
                continue
            while len(jobs) < _AT_ONCE and not self._jobs.empty():
                jobs.append(self._jobs.get())
            return jobs

    async def _pieces(self, jobs: Sequence[Begun | _Run]) -> list[_Piece]:
        """Give the spans of some runs, each once."""
        begun = [job for job in jobs if isinstance(job, Begun)]
        pieces = [_Piece(one.span(self._options), (one.workflow_id, one.origin), False) for one in begun]
        runs = [job for job in jobs if not isinstance(job, Begun)]
        for run, spans in zip(runs, await asyncio.gather(*(self._spans_of(*r) for r in runs)), strict=True):
            pieces += [_Piece(span, run, True) for span in spans]
        found = [(piece.span.context, piece) for piece in pieces]
        return list({(own.trace_id, own.span_id): piece for own, piece in found if own}.values())

    async def _spans_of(self, workflow_id: str, run_id: str) -> list[ReadableSpan]:
        """Read a run once, to its end; one that didn't close will be told of again."""
        assert self._client is not None
        try:
            report = await _ended(self._client, workflow_id, run_id)
            return spans_of(report, self._options) if report and report.spot and report.spot.sampled else []
        except Exception as error:  # whatever one history holds, the next run's is exported
            self.lost += 1
            _log.warning("the history of %s can't be read for its spans: %r", workflow_id, error)
            return []

    def _sent(self, spans: Sequence[ReadableSpan]) -> bool:
        """Send spans, again and again while nobody takes them; say whether somebody did.

        Raises:
            SpansRefused: when it is no use to send them again.
        """
        give_up = time.monotonic() + self._patience
        for pause in _pauses():
            try:
                if self._exporter.export(spans) is SpanExportResult.SUCCESS:
                    return True
            except SpansRefused:
                raise
            except Exception as error:  # an exporter is somebody else's: the next try may do
                _log.warning("the exporter of spans failed: %s", error)
            now = time.monotonic()
            if now + pause > min(give_up, self._deadline):
                break
            self._stopping.wait(pause)
            if self._stopping.is_set():
                time.sleep(min(pause, _FIRST_PAUSE))
        _log.warning("%s spans are given up: nobody took them", len(spans))
        return False


async def _ended(client: Client, workflow_id: str, run_id: str) -> AnyReport | None:
    """Read a run that closes; ``None`` where it stays open after all. One that is long takes the time it takes."""
    try:
        return await asyncio.wait_for(fetch_ended(client, workflow_id, run_id), _CLOSING)
    except TimeoutError:
        described = await client.get_workflow_handle(workflow_id, run_id=run_id).describe()
        if described.status is WorkflowExecutionStatus.RUNNING:
            return None
        return await fetch_ended(client, workflow_id, run_id)


def options_for(client: Client, **more: Any) -> SpanOptions:
    """Give how spans are made of what a client reads: a message that its failure converter encodes stays untold."""
    encodes = getattr(client.data_converter.failure_converter, "_encode_common_attributes", False)
    return SpanOptions(messages=not encodes, **more)


def _pauses() -> Iterator[float]:
    pause = _FIRST_PAUSE
    while True:
        yield pause
        pause = min(2 * pause, _LONGEST_PAUSE)
