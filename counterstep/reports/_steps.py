"""Folding the events of activities, remote and local, into steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.history.v1 import HistoryEvent
from temporalio.exceptions import CancelledError

from activities import Failure
from activities._json import Json
from activities._settled import Settled, ended_badly, ended_well
from activities._wire import HEADER, StepHeader, Verdict, json_payload
from counterstep.reports._clock import Row
from counterstep.reports._payloads import exception_of, json_of, readable, summary_of, time_of
from counterstep.reports._report import Execution
from counterstep.reports._run_history import UNDO, StepHistory
from counterstep.reports._summary import description_in

_ENVELOPE = {"input", "output", "started", "finished"}


@dataclass(slots=True)
class _Step:
    """A step while it is read; the fields are those of :class:`StepHistory`."""

    step: str
    type: str
    header: StepHeader
    args: tuple[Json, ...]
    scheduled: datetime
    order: int
    asked: datetime
    ended: Settled | None = None
    open: bool = True
    started: datetime | None = None
    finished: datetime | None = None
    attempts: int = 0
    worker: str | None = None
    last: int = 0
    carried: Verdict = Verdict()
    last_failure: Failure | None = None
    summary: str = ""
    until: int | None = None
    before: tuple[StepHistory, ...] = ()
    earlier: list[Execution] = field(default_factory=list)

    @property
    def verdict(self) -> Verdict:
        return self.ended.verdict if self.ended and not self.open else self.carried

    def history(self) -> StepHistory:
        names = (name for name in self.__slots__ if name not in ("earlier", "asked"))
        return StepHistory(
            **{name: getattr(self, name) for name in names},
            earlier=tuple(self.earlier),
        )

    def again(self) -> None:
        """Put the execution that has ended, or was given up, to the earlier ones."""
        ended = None if self.open else self.ended
        now = self.history()
        failure = ended.failure if ended else None
        self.earlier.append(
            Execution(
                scheduled=self.asked,
                started=self.started,
                finished=None if self.open else self.finished,
                attempts=now.execution.attempts,
                outcome=now.settled.status,
                error=failure,
                worker=self.worker,
            )
        )
        self.last_failure = failure or self.last_failure


class Steps:
    """The steps of a run.

    Attributes:
        worker: identity of who completed the newest workflow task: local steps ran there.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self.worker: str | None = None
        self._row = Row()
        self._steps: dict[str, _Step] = {}
        self._by_event: dict[int, _Step] = {}
        self._retried: set[int] = set()

    def all(self) -> tuple[StepHistory, ...]:
        """Give them, in the order of their first events."""
        return tuple(step.history() for step in sorted(self._steps.values(), key=lambda s: s.order))

    def tasked(self, event: HistoryEvent) -> None:
        """Take that a workflow task began: local steps ended after that."""
        self._row = Row(time_of(event))

    def scheduled(self, event: HistoryEvent, attributes: Any) -> None:
        """Take that an activity was scheduled; those without our header are nobody's step."""
        payload = attributes.header.fields.get(HEADER)
        if payload is None:
            return
        header = StepHeader.read(payload)
        args = tuple(json_of(p) for p in attributes.input.payloads)
        step = self._begin(
            event, attributes.activity_id, attributes.activity_type.name, header, args, time_of(event)
        )
        self._by_event[event.event_id] = step
        if attributes.retry_policy.maximum_attempts != 1:
            self._retried.add(event.event_id)

    def started(self, event: HistoryEvent, attributes: Any) -> None:
        """Take that an activity's last attempt began; the failure of the one before it stands here."""
        step = self._by_event.get(attributes.scheduled_event_id)
        if step is None:
            return
        step.started, step.worker = time_of(event), attributes.identity
        step.attempts += attributes.attempt
        if attributes.HasField("last_failure"):
            step.last_failure = ended_badly(exception_of(attributes.last_failure), Verdict()).failure

    def completed(self, event: HistoryEvent, attributes: Any) -> None:
        """Take that an activity returned; one that was completed from outside may have no result."""
        payloads = attributes.result.payloads
        payload = payloads[0] if payloads else Payload()
        self._end(event, attributes, lambda before: _well(payload, before, local=False))

    def failed(self, event: HistoryEvent, attributes: Any) -> None:
        """Take that an activity raised or timed out."""
        error = exception_of(attributes.failure)
        self._end(event, attributes, lambda before: ended_badly(error, before))

    def cancelled(self, event: HistoryEvent, attributes: Any) -> None:
        """Take that an activity was cancelled while no worker had it: before the first attempt, or between two."""
        error = CancelledError("cancelled before it began")
        retried = attributes.scheduled_event_id in self._retried
        self._end(event, attributes, lambda before: ended_badly(error, before, retried=retried))

    def local(self, event: HistoryEvent, about: dict[str, Any], attributes: Any) -> None:
        """Take that a local activity ended; its envelope has what the marker lacks. One without is nobody's step."""
        failed, result = attributes.HasField("failure"), attributes.details.get("result", Payloads()).payloads
        if not (failed or (result and _enveloped(result[0]))):
            return
        key, kind = about["activity_id"], about["activity_type"]
        known, latest = self._going_on(key), self._steps.get(key)
        before = known.verdict if known else Verdict()
        failure = exception_of(attributes.failure) if failed else None
        settled = (
            ended_badly(failure, before, local=True) if failure else _well(result[0], before, local=True)
        )
        told = settled.envelope or {}
        header, args = _header(told), (told.get("input"),)
        if latest is not None and settled.envelope is None:
            header, args = latest.header, latest.args
        recorded = time_of(event)
        step = self._begin(event, key, kind, header, args, recorded)
        times = _iso(told.get("started"), recorded), _iso(told.get("finished"), recorded)
        self._row.add(step, times, recorded, again=known is not None)
        step.ended, step.open = settled, False
        step.attempts, step.worker = step.attempts + 1, self.worker

    def sent(self, told: Json) -> None:
        """Take what a local step was sent with, of which Temporal alone tells how it ended; what is encoded tells nothing."""
        step = self._steps.get(told["step"]) if isinstance(told, dict) and "step" in told else None
        if step is not None:
            step.header, step.args = _header(told), (told["input"],)
            step.step = step.header.step or step.step

    def _going_on(self, key: str) -> _Step | None:
        """Give what an execution belongs to; an undo whose step was asked for again isn't that of the next one."""
        step = self._steps.get(key)
        return None if step is None or step.until is not None else step

    def _begin(
        self,
        event: HistoryEvent,
        key: str,
        kind: str,
        header: StepHeader,
        args: tuple[Json, ...],
        asked: datetime,
    ) -> _Step:
        undo, step = kind.endswith(UNDO), self._going_on(key)
        told = args[2 if undo else 1 :]
        before = Verdict.from_json(told[0]) if told else step.verdict if step else Verdict()
        if step is None:
            step = self._steps[key] = self._new(event, key, kind, header, args, asked)
        else:
            step.again()
        undone = None if undo else self._going_on(f"{key}.undo")
        if undone is not None:
            undone.until = event.event_id
        step.args, step.open, step.last, step.carried = args, True, event.event_id, before
        step.asked = asked
        return step

    def _new(
        self,
        event: HistoryEvent,
        key: str,
        kind: str,
        header: StepHeader,
        args: tuple[Json, ...],
        asked: datetime,
    ) -> _Step:
        name = header.step or (key.removesuffix(".undo") if kind.endswith(UNDO) else key)
        step = _Step(name, kind, header, args, asked, event.event_id, asked)
        step.summary = description_in(summary_of(event), key, kind)
        over = self._steps.get(key)
        if over is not None:
            step.before = (*over.before, replace(over.history(), before=()))
        return step

    def _end(self, event: HistoryEvent, attributes: Any, ended: Callable[[Verdict], Settled]) -> None:
        step = self._by_event.get(attributes.scheduled_event_id)
        if step is not None:
            step.ended = ended(step.verdict)
            step.open, step.finished = False, time_of(event)


def _enveloped(payload: Payload) -> bool:
    """Whether a local activity's result is an envelope of ours; of one that is encoded nobody knows."""
    told = json_of(payload)
    return not readable(payload) or (isinstance(told, dict) and told.keys() >= _ENVELOPE)


def _well(payload: Payload, before: Verdict, *, local: bool) -> Settled:
    """Classify a result; one that can't be read is done all the same."""
    if not readable(payload):
        shown = json_of(payload)
        payload = json_payload({"output": shown} if local else shown)
    return ended_well(payload, before, local=local)


def _header(told: dict[str, Any]) -> StepHeader:
    """Read a local step's header, which says nothing of the run: that is the one whose history it is."""
    return StepHeader.model_validate({"run": "", **told.get("header", {})})


def _iso(text: str | None, default: datetime) -> datetime:
    return datetime.fromisoformat(text) if text else default
