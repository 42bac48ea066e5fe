"""Reading Temporal's history: events in, a run out. With ``_steps``, the only place that knows what history looks like."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pydantic_core
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from activities._json import Json
from activities._spans import Trace
from activities._wire import HEADER, SENT, StepHeader
from counterstep.reports._payloads import beside_of, exception_of, json_of, summary_of, time_of
from counterstep.reports._recorded import ROOT, unpack
from counterstep.reports._report import Decision
from counterstep.reports._run_history import ChildHistory, InlinePlan, RunHistory, TimerHistory
from counterstep.reports._steps import Steps
from counterstep.reports._summary import READ_CHILD, child_in

_LOCAL = "core_local_activity"
_RESULTS = {
    "counterstep-find-run": "found",
    "counterstep-read-run": "earlier",
    "counterstep-resolve": "resolved",
}
_PLAN_INLINE = "counterstep-plan-inline"
_STEP = re.compile(r"[^@]+@\d+\.\d+\.\d+")
_ASKED = frozenset(("approve", "reject", "retry", "skip", "edit", "unwind", "pause", "unpause", "stop"))
_VALUES = {"skip": "output", "edit": "input"}


def _inline_plan(event: HistoryEvent, told: Json) -> list[InlinePlan]:
    """Read the plan of an inline saga, if it can be read."""
    if not (isinstance(told, dict) and "plan" in told):
        return []
    plan = pydantic_core.from_json(unpack(told["plan"]))
    return [InlinePlan(told["name"], plan, event.event_id, time_of(event))]


def read_run(workflow_id: str, events: Iterable[HistoryEvent]) -> RunHistory:
    """Read a run from its events. Pure: the same events give the same answer."""
    reader = _Reader()
    for event in events:
        reader.take(event)
    return reader.run(workflow_id)


class _Reader:
    """Folds events into what a run did; activities are folded by :class:`Steps`."""

    def __init__(self) -> None:
        self._start: HistoryEvent | None = None
        self._steps = Steps()
        self._base: str | None = None
        self._close: dict[str, Any] = {}
        self._results: dict[str, Json] = {}
        self._inline: list[InlinePlan] = []
        self._timers: dict[int, TimerHistory] = {}
        self._decisions: dict[int, Decision] = {}
        self._children: dict[int, ChildHistory] = {}
        self._events = 0

    def run(self, workflow_id: str) -> RunHistory:
        assert self._start is not None, "a history begins with the start"
        start = self._start.workflow_execution_started_event_attributes
        inputs = start.input.payloads
        return RunHistory(
            workflow_type=start.workflow_type.name,
            workflow_id=workflow_id,
            run_id=self._close.pop("new_run_id", None) or start.original_execution_run_id,
            origin=start.original_execution_run_id,
            chain=start.first_execution_run_id,
            input=json_of(inputs[0]) if inputs else None,
            started=time_of(self._start),
            previous=start.continued_execution_run_id or None,
            base=self._base,
            steps=self._steps.all(),
            clocks=tuple(self._timers.values()),
            decisions=tuple(self._decisions.items()),
            child_runs=tuple(self._children.values()),
            events=self._events,
            trace=Trace.of(start.header.fields),
            root=json_of(start.memo.fields[ROOT]) if ROOT in start.memo.fields else None,
            inline=tuple(self._inline),
            **self._results,
            **self._close,
        )

    def take(self, event: HistoryEvent) -> None:
        self._events += 1
        known = _HANDLERS.get(event.event_type)
        if known is not None:
            handler, attributes = known
            handler(self, event, getattr(event, attributes))

    def _workflow_execution_started(self, event: HistoryEvent, _: Any) -> None:
        self._start = event

    def _workflow_task_started(self, event: HistoryEvent, _: Any) -> None:
        self._steps.tasked(event)

    def _workflow_task_completed(self, _: HistoryEvent, attributes: Any) -> None:
        self._steps.worker = attributes.identity

    def _workflow_task_failed(self, _: HistoryEvent, attributes: Any) -> None:
        if attributes.base_run_id and attributes.new_run_id:
            self._base = attributes.base_run_id
            self._close["new_run_id"] = attributes.new_run_id

    def _timer_started(self, event: HistoryEvent, attributes: Any) -> None:
        self._timers[event.event_id] = TimerHistory(
            name=summary_of(event),
            order=event.event_id,
            started=time_of(event),
            duration=attributes.start_to_fire_timeout.ToTimedelta(),
        )

    def _timer_fired(self, event: HistoryEvent, attributes: Any) -> None:
        self._timer_ended(event, attributes, fired=True)

    def _timer_canceled(self, event: HistoryEvent, attributes: Any) -> None:
        self._timer_ended(event, attributes, fired=False)

    def _timer_ended(self, event: HistoryEvent, attributes: Any, *, fired: bool) -> None:
        timer = self._timers[attributes.started_event_id]
        ended = replace(timer, ended=time_of(event), fired=fired, last=event.event_id)
        self._timers[attributes.started_event_id] = ended

    def _workflow_execution_update_accepted(self, event: HistoryEvent, attributes: Any) -> None:
        asked = attributes.accepted_request.input
        if asked.name not in _ASKED:
            return
        given = json_of(asked.args.payloads[0]) if asked.args.payloads else {}
        given = given if isinstance(given, dict) else {}
        words = {name: word for name, word in given.items() if isinstance(word, str)}
        value = _VALUES.get(asked.name, "")
        self._decisions[event.event_id] = Decision(
            action=asked.name,
            at=time_of(event),
            step=words.get("step", words.get("name")),
            by=words.get("by"),
            reason=words.get("reason"),
            value=(given[value],) if value in given else (),
        )

    def _workflow_execution_update_completed(self, _: HistoryEvent, attributes: Any) -> None:
        """Forget what was accepted and then refused, such as an input that doesn't fit; an approval tells its full name."""
        asked = attributes.accepted_event_id
        if attributes.outcome.HasField("failure"):
            self._decisions.pop(asked, None)
            return
        told = (
            json_of(attributes.outcome.success.payloads[0]) if attributes.outcome.success.payloads else None
        )
        if asked in self._decisions and isinstance(told, str):
            self._decisions[asked] = replace(self._decisions[asked], step=told)

    def _workflow_execution_cancel_requested(self, event: HistoryEvent, attributes: Any) -> None:
        self._ended_from_outside("cancel", event, attributes.identity, attributes.cause)

    def _ended_from_outside(self, action: str, event: HistoryEvent, by: str, reason: str) -> None:
        self._decisions[event.event_id] = Decision(
            action, time_of(event), by=by or None, reason=reason or None
        )

    def _activity_task_scheduled(self, event: HistoryEvent, attributes: Any) -> None:
        self._steps.scheduled(event, attributes)

    def _activity_task_started(self, event: HistoryEvent, attributes: Any) -> None:
        self._steps.started(event, attributes)

    def _activity_task_completed(self, event: HistoryEvent, attributes: Any) -> None:
        self._steps.completed(event, attributes)

    def _activity_task_failed(self, event: HistoryEvent, attributes: Any) -> None:
        self._steps.failed(event, attributes)

    def _activity_task_timed_out(self, event: HistoryEvent, attributes: Any) -> None:
        self._steps.failed(event, attributes)

    def _activity_task_canceled(self, event: HistoryEvent, attributes: Any) -> None:
        self._steps.cancelled(event, attributes)

    def _marker_recorded(self, event: HistoryEvent, attributes: Any) -> None:
        if attributes.marker_name != _LOCAL:
            return
        about = json.loads(attributes.details["data"].payloads[0].data)
        kind, result = about["activity_type"], attributes.details.get("result")
        if kind in _RESULTS and result is not None:
            self._results[_RESULTS[kind]] = json_of(result.payloads[0])
        elif kind == READ_CHILD and result is not None:
            self._child_left(child_in(summary_of(event)), json_of(result.payloads[0]))
        elif kind == SENT and result is not None:
            self._steps.sent(json_of(result.payloads[0]))
        elif kind == _PLAN_INLINE and result is not None:
            self._inline += _inline_plan(event, json_of(result.payloads[0]))
        elif _STEP.match(kind):
            self._steps.local(event, about, attributes)

    def _start_child_workflow_execution_initiated(self, event: HistoryEvent, attributes: Any) -> None:
        header = attributes.header.fields.get(HEADER)
        call = StepHeader.read(header) if header is not None else None
        inputs = attributes.input.payloads
        self._children[event.event_id] = ChildHistory(
            step=(call and call.step) or attributes.workflow_id,
            key=call.key if call else None,
            part=call.part if call else 0,
            flows=call.flows if call else None,
            type=attributes.workflow_type.name,
            workflow_id=attributes.workflow_id,
            input=json_of(inputs[0]) if inputs else None,
            order=event.event_id,
            scheduled=time_of(event),
        )

    def _start_child_workflow_execution_failed(self, event: HistoryEvent, attributes: Any) -> None:
        self._child(attributes, status="failed", finished=time_of(event))

    def _child_workflow_execution_started(self, event: HistoryEvent, attributes: Any) -> None:
        run_id = attributes.workflow_execution.run_id
        self._child(attributes, run_id=run_id, started=time_of(event))

    def _child_workflow_execution_completed(self, event: HistoryEvent, attributes: Any) -> None:
        result = tuple(map(json_of, attributes.result.payloads[:1]))
        beside = beside_of(attributes.result.payloads[0]) if attributes.result.payloads else None
        self._child(attributes, status="completed", result=result, beside=beside, finished=time_of(event))

    def _child_workflow_execution_failed(self, event: HistoryEvent, attributes: Any) -> None:
        failure = exception_of(attributes.failure)
        self._child(attributes, status="failed", failure=failure, finished=time_of(event))

    def _child_workflow_execution_timed_out(self, event: HistoryEvent, attributes: Any) -> None:
        self._child(attributes, status="timed_out", finished=time_of(event))

    def _child_workflow_execution_canceled(self, event: HistoryEvent, attributes: Any) -> None:
        self._child(attributes, status="canceled", finished=time_of(event))

    def _child_workflow_execution_terminated(self, event: HistoryEvent, attributes: Any) -> None:
        self._child(attributes, status="terminated", finished=time_of(event))

    def _child_left(self, step: str, told: Json) -> None:
        """Take note of what a child left that failed; its step's newest one."""
        asked = next((n for n, child in reversed(self._children.items()) if child.step == step), None)
        if asked is not None:
            self._children[asked] = replace(self._children[asked], beside=told)

    def _child(self, attributes: Any, **values: Any) -> None:
        child = self._children[attributes.initiated_event_id]
        self._children[attributes.initiated_event_id] = replace(child, **values)

    def _workflow_execution_completed(self, event: HistoryEvent, attributes: Any) -> None:
        self._closed(event, attributes, "completed")
        if attributes.result.payloads:
            self._close["result"] = (json_of(attributes.result.payloads[0]),)

    def _workflow_execution_failed(self, event: HistoryEvent, attributes: Any) -> None:
        self._closed(event, attributes, "failed")
        self._close["failure"] = exception_of(attributes.failure)

    def _workflow_execution_timed_out(self, event: HistoryEvent, attributes: Any) -> None:
        self._closed(event, attributes, "timed_out")

    def _workflow_execution_canceled(self, event: HistoryEvent, attributes: Any) -> None:
        self._closed(event, attributes, "canceled")

    def _workflow_execution_terminated(self, event: HistoryEvent, attributes: Any) -> None:
        self._closed(event, attributes, "terminated")
        self._ended_from_outside("terminate", event, attributes.identity, attributes.reason)

    def _workflow_execution_continued_as_new(self, event: HistoryEvent, attributes: Any) -> None:
        self._closed(event, attributes, "continued_as_new")

    def _closed(self, event: HistoryEvent, attributes: Any, status: str) -> None:
        self._close |= {"status": status, "finished": time_of(event)}
        self._close["next_run"] = getattr(attributes, "new_execution_run_id", None) or None


def _handlers() -> dict[int, tuple[Callable[[_Reader, HistoryEvent, Any], None], str]]:
    """Give each known event type its handler, which bears the type's name, and where its attributes are."""
    found = {}
    for name, number in EventType.items():
        short = name.removeprefix("EVENT_TYPE_").lower()
        handler = getattr(_Reader, f"_{short}", None)
        if handler is not None:
            found[int(number)] = (handler, f"{short}_event_attributes")
    return found


_HANDLERS = _handlers()
