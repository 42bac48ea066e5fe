"""Histories of any length, made from one that was recorded."""

from __future__ import annotations

from pathlib import Path

from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory

RECORDED = Path(__file__).parents[1] / "tests" / "histories" / "0.1" / "saga-completed.json"


def history(steps: int) -> list[HistoryEvent]:
    """Make the history of a run with so many remote steps, one after the other: six events each."""
    recorded = WorkflowHistory.from_json("long", RECORDED.read_text()).events
    begin = next(i for i, e in enumerate(recorded) if e.HasField("activity_task_scheduled_event_attributes"))
    events, cycle = list(recorded[:begin]), recorded[begin : begin + 6]
    for number in range(steps):
        scheduled = len(events) + 1
        for one in cycle:
            event = HistoryEvent()
            event.CopyFrom(one)
            event.event_id = len(events) + 1
            _rename(event, f"step-{number}", scheduled)
            events.append(event)
    return events


def _rename(event: HistoryEvent, name: str, scheduled: int) -> None:
    """Make an event one of another step."""
    kind = event.WhichOneof("attributes") or ""
    attributes = getattr(event, kind)
    if kind == "activity_task_scheduled_event_attributes":
        attributes.activity_id = name
    elif kind.startswith("activity_task_"):
        attributes.scheduled_event_id = scheduled
