"""Reading Temporal's history: events in, steps out. The only place that knows what history looks like."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pydantic_core
from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.api.failure.v1 import Failure as FailureProto
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client
from temporalio.common import RawValue
from temporalio.converter import DataConverter
from temporalio.exceptions import CancelledError

from activities._json import Json
from activities._settled import Settled, ended_badly, ended_well, never_settled
from activities._wire import HEADER, StepHeader, Verdict, json_bytes

_LOCAL = "core_local_activity"
_RESULTS = {
    "counterstep-find-run": "found",
    "counterstep-read-run": "earlier",
    "counterstep-resolve": "resolved",
}
_UNDO = "/undo"


@dataclass(frozen=True)
class StepHistory:
    """What a history says of one step, or of its undo.

    Attributes:
        step: its name.
        type: the activity type.
        header: that it was first sent with.
        args: what it got, as JSON: the input, or input and outcome.
        ended: how its last execution that ended left it.
        open: whether its last execution has no end.
        scheduled: when it was first asked for.
        started: when its last execution began.
        finished: when its last execution ended.
        attempts: how many executions there were.
        worker: identity of the last worker.
        order: of its first event.
        last: of the event with which its last execution was asked for.
        carried: what its last execution was told of those before it.
    """

    step: str
    type: str
    header: StepHeader
    args: tuple[Json, ...]
    scheduled: datetime
    order: int
    ended: Settled | None = None
    open: bool = True
    started: datetime | None = None
    finished: datetime | None = None
    attempts: int = 0
    worker: str | None = None
    last: int = 0
    carried: Verdict = Verdict()

    @property
    def verdict(self) -> Verdict:
        """What the executions that ended amount to."""
        return self.ended.verdict if self.ended and not self.open else self.carried

    @property
    def settled(self) -> Settled:
        """How it stands: ``unknown`` while its last execution has no end."""
        return self.ended if self.ended and not self.open else never_settled(self.verdict)

    @property
    def is_undo(self) -> bool:
        """Whether it is an undo."""
        return self.type.endswith(_UNDO)


@dataclass(frozen=True)
class RunHistory:
    """What a history says of a run.

    Attributes:
        workflow_type: ``id@version``, or what it was started as.
        workflow_id: of the run.
        run_id: of the run.
        origin: the run id in which the flow itself began.
        chain: the run id that its chain began with.
        base: the run that it was reset from, if it was.
        input: the start input, as JSON.
        started: when it started.
        finished: when it closed.
        status: how Temporal closed it, as the event type's name, or ``running``.
        result: as JSON, in a tuple of one.
        failure: how it failed.
        steps: every step and undo, in the order of their first events.
        found: result of the local activity that found an earlier run, as JSON.
        earlier: result of the local activity that read it, as JSON.
        resolved: result of the local activity that made a saga's plan, as JSON.
        timers: summaries of the timers that fired.
        skips: steps that an operator skipped, each with the order of that event.
        next_run: the run id that followed in its chain.
        previous: the run id that this one was continued from, if it was.
    """

    workflow_type: str
    workflow_id: str
    run_id: str
    origin: str
    chain: str
    input: Json
    started: datetime
    base: str | None = None
    finished: datetime | None = None
    status: str = "running"
    result: tuple[Json, ...] = ()
    failure: BaseException | None = None
    steps: tuple[StepHistory, ...] = ()
    found: Json = None
    earlier: Json = None
    resolved: Json = None
    timers: frozenset[str] = frozenset()
    skips: Mapping[str, int] = field(default_factory=dict)
    next_run: str | None = None
    previous: str | None = None

    def forward(self) -> Iterator[StepHistory]:
        """Give the steps without the undos."""
        return (step for step in self.steps if not step.is_undo)

    def undo_of(self, step: str) -> StepHistory | None:
        """Give a step's undo, if it was ever asked for."""
        return next((s for s in self.steps if s.is_undo and s.step == step), None)


async def fetch_events(
    client: Client, workflow_id: str, run_id: str | None = None, *, only_start: bool = False
) -> list[HistoryEvent]:
    """Fetch a run's events, all pages or only the first event, decoded by the client's codec."""
    handle = client.get_workflow_handle(workflow_id, run_id=run_id)
    events = []
    async for event in handle.fetch_history_events(page_size=1 if only_start else None):
        events.append(event)
        if only_start:
            break
    codec = client.data_converter.payload_codec
    if codec is not None:
        await _decode(events, codec.decode)
    return events


def read_run(workflow_id: str, events: Iterable[HistoryEvent]) -> RunHistory:
    """Read a run from its events. Pure: the same events give the same answer."""
    reader = _Reader()
    for event in events:
        reader.take(event)
    return reader.run(workflow_id)


class _Reader:
    """Folds events into steps."""

    def __init__(self) -> None:
        self._start: HistoryEvent | None = None
        self._steps: dict[str, StepHistory] = {}
        self._by_event: dict[int, str] = {}
        self._base: str | None = None
        self._worker: str | None = None
        self._close: dict[str, Any] = {}
        self._results: dict[str, Json] = {}
        self._timers: dict[int, str] = {}
        self._fired: set[str] = set()
        self._skips: dict[str, int] = {}

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
            input=_json(inputs[0]) if inputs else None,
            started=_time(self._start),
            previous=start.continued_execution_run_id or None,
            base=self._base,
            steps=tuple(sorted(self._steps.values(), key=lambda s: s.order)),
            timers=frozenset(self._fired),
            skips=self._skips,
            **self._results,
            **self._close,
        )

    def take(self, event: HistoryEvent) -> None:
        name = EventType.Name(event.event_type).removeprefix("EVENT_TYPE_").lower()
        handler = getattr(self, f"_{name}", None)
        if handler is not None:
            handler(event, getattr(event, f"{name}_event_attributes"))
        elif name.startswith("workflow_execution_") and name in _CLOSES:
            self._closed(event, name)

    def _workflow_execution_started(self, event: HistoryEvent, _: Any) -> None:
        self._start = event

    def _workflow_task_completed(self, _: HistoryEvent, attributes: Any) -> None:
        self._worker = attributes.identity

    def _workflow_task_failed(self, event: HistoryEvent, attributes: Any) -> None:
        if attributes.base_run_id and attributes.new_run_id:
            self._base = attributes.base_run_id
            self._close["new_run_id"] = attributes.new_run_id

    def _timer_started(self, event: HistoryEvent, attributes: Any) -> None:
        self._timers[event.event_id] = str(_json(event.user_metadata.summary))

    def _timer_fired(self, _: HistoryEvent, attributes: Any) -> None:
        self._fired.add(self._timers[attributes.started_event_id])

    def _workflow_execution_update_accepted(self, event: HistoryEvent, attributes: Any) -> None:
        asked = attributes.accepted_request.input
        given = _json(asked.args.payloads[0]) if asked.name == "skip" and asked.args.payloads else None
        if isinstance(given, dict):
            self._skips[str(given.get("step"))] = event.event_id

    def _activity_task_scheduled(self, event: HistoryEvent, attributes: Any) -> None:
        payload = attributes.header.fields.get(HEADER)
        if payload is None:
            return
        header = StepHeader.read(payload)
        args = tuple(_json(p) for p in attributes.input.payloads)
        self._begin(event, attributes.activity_id, attributes.activity_type.name, header, args)
        self._by_event[event.event_id] = attributes.activity_id

    def _activity_task_started(self, event: HistoryEvent, attributes: Any) -> None:
        self._update(
            attributes,
            started=_time(event),
            worker=attributes.identity,
            attempts=lambda s: s.attempts + attributes.attempt,
        )

    def _activity_task_completed(self, event: HistoryEvent, attributes: Any) -> None:
        payload = attributes.result.payloads[0]
        self._update(attributes, event=event, ended=lambda s: ended_well(payload, s.verdict, local=False))

    def _activity_task_failed(self, event: HistoryEvent, attributes: Any) -> None:
        self._failed(event, attributes, _exception(attributes.failure))

    _activity_task_timed_out = _activity_task_failed

    def _activity_task_canceled(self, event: HistoryEvent, attributes: Any) -> None:
        self._failed(event, attributes, CancelledError("cancelled before it began"))

    def _failed(self, event: HistoryEvent, attributes: Any, error: BaseException) -> None:
        self._update(attributes, event=event, ended=lambda s: ended_badly(error, s.verdict))

    def _marker_recorded(self, event: HistoryEvent, attributes: Any) -> None:
        if attributes.marker_name != _LOCAL:
            return
        about = json.loads(attributes.details["data"].payloads[0].data)
        if about["activity_type"] in _RESULTS and "result" in attributes.details:
            self._results[_RESULTS[about["activity_type"]]] = _json(attributes.details["result"].payloads[0])
        elif "@" in about["activity_type"]:
            self._local(event, about, attributes)

    def _local(self, event: HistoryEvent, about: dict[str, Any], attributes: Any) -> None:
        key, kind = about["activity_id"], about["activity_type"]
        before = self._steps[key].verdict if key in self._steps else Verdict()
        if attributes.HasField("failure"):
            settled = ended_badly(_exception(attributes.failure), before)
        else:
            settled = ended_well(attributes.details["result"].payloads[0], before, local=True)
        about = settled.envelope or {}
        header = StepHeader.model_validate({"run": "", **about.get("header", {})})
        began = _iso(about.get("started"), event)
        self._begin(event, key, kind, header, (about.get("input"),), began)
        self._steps[key] = replace(
            self._steps[key],
            ended=settled,
            open=False,
            started=began,
            finished=_iso(about.get("finished"), event),
            attempts=self._steps[key].attempts + 1,
            worker=self._worker,
        )

    def _begin(
        self,
        event: HistoryEvent,
        key: str,
        kind: str,
        header: StepHeader,
        args: tuple[Json, ...],
        asked: datetime | None = None,
    ) -> None:
        undo, known = kind.endswith(_UNDO), self._steps.get(key)
        told = args[2 if undo else 1 :]
        before = Verdict.from_json(told[0]) if told else known.verdict if known else Verdict()
        if known is None:
            step = header.step or (key.removesuffix(".undo") if undo else key)
            known = StepHistory(step, kind, header, args, asked or _time(event), event.event_id)
        self._steps[key] = replace(known, args=args, open=True, last=event.event_id, carried=before)

    def _update(self, attributes: Any, event: HistoryEvent | None = None, **values: Any) -> None:
        key = self._by_event.get(attributes.scheduled_event_id)
        if key is None:
            return
        step = self._steps[key]
        changes = {name: value(step) if callable(value) else value for name, value in values.items()}
        if event is not None:
            changes |= {"open": False, "finished": _time(event)}
        self._steps[key] = replace(step, **changes)

    def _closed(self, event: HistoryEvent, name: str) -> None:
        attributes = getattr(event, f"{name}_event_attributes")
        self._close |= {"status": name.removeprefix("workflow_execution_"), "finished": _time(event)}
        self._close["next_run"] = getattr(attributes, "new_execution_run_id", None) or None
        if name.endswith("_completed") and attributes.result.payloads:
            self._close["result"] = (_json(attributes.result.payloads[0]),)
        if name.endswith("_failed"):
            self._close["failure"] = _exception(attributes.failure)


_CLOSES = frozenset(
    f"workflow_execution_{end}"
    for end in ("completed", "failed", "timed_out", "canceled", "terminated", "continued_as_new")
)


async def _decode(
    messages: Iterable[Message], decode: Callable[[Sequence[Payload]], Awaitable[list[Payload]]]
) -> None:
    """Decode every payload in place; headers of ours and marker data of the SDK were never encoded."""
    for message in messages:
        for payload in _payloads(message):
            payload.CopyFrom((await decode([payload]))[0])


def _payloads(message: Message) -> Iterator[Payload]:
    if isinstance(message, Payload):
        yield message
        return
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None or descriptor.name in ("header", "search_attributes"):
            continue
        if descriptor.message_type.GetOptions().map_entry:
            items = [v for k, v in value.items() if isinstance(v, Message) and k != "data"]
        else:
            items = [value] if isinstance(value, Message) else list(value)
        for item in items:
            yield from _payloads(item)


def _json(payload: Payload) -> Json:
    data = json_bytes(RawValue(payload))
    try:
        return pydantic_core.from_json(data) if data else None
    except ValueError:
        return None


def _exception(failure: FailureProto) -> BaseException:
    converter = DataConverter.default
    return converter.failure_converter.from_failure(failure, converter.payload_converter)


def _iso(text: str | None, event: HistoryEvent) -> datetime:
    return datetime.fromisoformat(text) if text else _time(event)


def _time(event: HistoryEvent) -> datetime:
    return event.event_time.ToDatetime(tzinfo=UTC)
