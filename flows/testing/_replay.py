"""Replaying recorded histories on today's code: a run that was begun by yesterday's must go on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from google.protobuf.json_format import ParseError
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory
from temporalio.converter import DataConverter
from temporalio.worker import Replayer

from activities import DefinitionError, OperationNotFound, Registry
from counterstep.reports import decode_events, read_run, report_of
from flows._plugin import CounterstepPlugin
from flows.testing._worker import collected

PLACES = 50
"""So many places of a history are replayed at most, evenly spread."""

_STARTED = EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED
_BEGINS: Literal["workflow_execution_started_event_attributes"] = (
    "workflow_execution_started_event_attributes"
)
_SHOWN = 600
_NO_HISTORY = (ValueError, ParseError, AttributeError, TypeError, KeyError, RecursionError, OSError)


@dataclass(frozen=True)
class Replayed:
    """A history, replayed.

    Attributes:
        name: of the file, or the workflow id.
        flow: the workflow type.
        places: at how many workflow tasks it was taken up; the whole counts as one.
        difference: where and how today's code differs; ``None`` when it doesn't.
    """

    name: str
    flow: str
    places: int
    difference: str | None = None

    def __str__(self) -> str:
        """Give one line, or several where it differs."""
        if self.difference is None:
            return f"{self.name} ({self.flow}): replays, from {self.places} places"
        return f"{self.name} ({self.flow}): {self.difference}"


class HistoriesDiffer(AssertionError):
    """Today's code does something else than what was recorded; the message names each history, and the place.

    Attributes:
        replayed: all of them.
    """

    def __init__(self, replayed: Sequence[Replayed]) -> None:
        """Name those that differ."""
        differ = [str(one) for one in replayed if one.difference is not None]
        super().__init__(f"{len(differ)} of {len(replayed)} histories don't replay:\n" + "\n".join(differ))
        self.replayed = replayed


async def replay(
    histories: Path | str | WorkflowHistory | Iterable[WorkflowHistory], *served: Any, **options: Any
) -> list[Replayed]:
    """Replay histories on today's code, whole and as a worker does that keeps no run: from each workflow task.

    Args:
        histories: a folder of JSON files, such as ``counterstep replay --record`` makes; or histories, or one.
        served: flows and operations, or names of modules.
        options: of :class:`flows.CounterstepPlugin`, such as ``data_converter``.

    Returns:
        What became of each.

    Raises:
        HistoriesDiffer: naming each that doesn't replay, and the place where it differs.
        DefinitionError: when there is no history, so that nothing would be shown, or what is given isn't one.
    """
    registry, found = collected(served)
    plugin = CounterstepPlugin(registry, **{**found, **options})
    given = _files(Path(histories)) if isinstance(histories, (str, Path)) else _named(histories)
    converter = options.get("data_converter", found.get("data_converter")) or DataConverter.default
    replayed = [
        _unserved(registry, name, one)
        or await _unreadable(converter, name, one)
        or await _replayed(plugin, name, one)
        for name, one in given
    ]
    if not replayed:
        raise DefinitionError(f"there is no history to replay in {histories}")
    if any(one.difference is not None for one in replayed):
        raise HistoriesDiffer(replayed)
    return replayed


def _named(
    histories: WorkflowHistory | Iterable[WorkflowHistory],
) -> Iterator[tuple[str, WorkflowHistory]]:
    given = histories if isinstance(histories, Iterable) else (histories,)
    for history in given:
        if not isinstance(history, WorkflowHistory):
            raise DefinitionError(f"replay takes a folder, or histories (WorkflowHistory), not {history!r}")
        yield history.workflow_id, history


def _files(folder: Path) -> Iterator[tuple[str, WorkflowHistory]]:
    """Read the files of a folder, each with its name; a run has its own workflow id: those of its children derive from it."""
    if not folder.is_dir():
        raise DefinitionError(f"there is no folder {folder}")
    for file in sorted(folder.rglob("*.json")):
        try:
            history = WorkflowHistory.from_json(file.stem, file.read_text())
        except _NO_HISTORY as error:
            raise DefinitionError(f"{file} isn't a workflow history: {error}") from None
        if not (history.events and history.events[0].HasField(_BEGINS)):
            raise DefinitionError(f"{file} isn't a workflow history: it doesn't begin with a run's start")
        own = history.events[0].workflow_execution_started_event_attributes.workflow_id
        yield file.stem, WorkflowHistory(own or file.stem, history.events)


def _unserved(registry: Registry, name: str, history: WorkflowHistory) -> Replayed | None:
    """Tell of a history whose version isn't there any more; its replay would say that the code differs."""
    flow = _flow(history)
    with contextlib.suppress(OperationNotFound):
        if "@" not in flow or registry.retrieve(flow):
            return None
    why = f"{flow} isn't served; serve that version while runs of it are open, then remove its histories"
    return Replayed(name, flow, 0, why)


async def _unreadable(converter: DataConverter, name: str, history: WorkflowHistory) -> Replayed | None:
    """Tell of a history that this converter can't read; its replay would say that the code differs."""
    events = deepcopy(list(history.events))
    await decode_events(events, converter)
    try:
        way_to_end(WorkflowHistory(history.workflow_id, events))
    except DefinitionError as error:
        return Replayed(name, _flow(history), 0, error.message)
    return None


async def _replayed(plugin: CounterstepPlugin, name: str, history: WorkflowHistory) -> Replayed:
    events = list(history.events)
    places = [*_places(events), len(events)]
    before = 0
    for place in places:
        error = await _differs(plugin, history.workflow_id, events[:place])
        if error is not None:
            return Replayed(name, _flow(history), len(places), _told(events[before:place], error))
        before = place
    return Replayed(name, _flow(history), len(places))


def _places(events: Sequence[HistoryEvent]) -> list[int]:
    """Give how many events there are at the beginning of each workflow task but the first."""
    found = [number for number, event in enumerate(events, start=1) if event.event_type == _STARTED][1:]
    step = max(1, -(-len(found) // PLACES))
    return found[::step]


async def _differs(plugin: CounterstepPlugin, id: str, events: Sequence[HistoryEvent]) -> Exception | None:
    result = await Replayer(workflows=[], plugins=[plugin]).replay_workflow(
        WorkflowHistory(id, events), raise_on_replay_failure=False
    )
    return result.replay_failure


def _told(around: Sequence[HistoryEvent], error: Exception) -> str:
    asked = ", ".join(_asked(around)) or "nothing"
    where = f"between events {around[0].event_id} and {around[-1].event_id}, where it asked for {asked}"
    return f"differs {where}: {str(error)[:_SHOWN]}"


def _flow(history: WorkflowHistory) -> str:
    return history.events[0].workflow_execution_started_event_attributes.workflow_type.name


def _asked(events: Sequence[HistoryEvent]) -> Iterator[str]:
    """Name what the recorded code asked for."""
    for event in events:
        kind = event.WhichOneof("attributes") or ""
        attributes = getattr(event, kind)
        if kind == "activity_task_scheduled_event_attributes":
            yield f"step {attributes.activity_id} ({attributes.activity_type.name}, event {event.event_id})"
        elif kind == "timer_started_event_attributes":
            yield f"a timer (event {event.event_id})"
        elif kind == "start_child_workflow_execution_initiated_event_attributes":
            yield f"child {attributes.workflow_type.name} (event {event.event_id})"
        elif kind.startswith("workflow_execution_") and event is not events[0]:
            yield f"{kind.removesuffix('_event_attributes').replace('_', ' ')} (event {event.event_id})"


def way_to_end(history: WorkflowHistory) -> tuple[str, str]:
    """Say of which definition a history is, and how the run ended; one that went on as new by the number of its leg.

    Raises:
        DefinitionError: when values of it are encoded; or when a reset made the run, which no replay can know: its history is
            that of the run before up to there, and Temporal's replayer gives it that one's id.
    """
    run = read_run(history.workflow_id, history.events)
    if run.base is not None:
        raise DefinitionError(
            "a reset made this run, and such histories can't be replayed apart from their server"
        )
    if run.unreadable:
        raise DefinitionError(
            "its values are encoded; the data_converter that wrote them is needed (in a --module)"
        )
    report = report_of(run, "default")
    assert report.run is not None, "a run's report tells of the run"
    if run.status == "continued_as_new":
        leg = max((step.header.leg for step in run.steps if not step.is_undo), default=0)
        return str(report.definition), f"leg-{leg}"
    return str(report.definition), report.run.state
