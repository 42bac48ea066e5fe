"""Closing events are kept, and not too many of them."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import Memo
from temporalio.api.history.v1 import HistoryEvent

from counterstep.gateway._closings import Closings
from counterstep.gateway._temporal import Run


class Asked:
    """Gives closing events of about 1,000 bytes, and remembers for what it was asked."""

    def __init__(self) -> None:
        self.runs: list[str] = []

    async def closing(self, run: Run) -> HistoryEvent | None:
        self.runs.append(run.run_id)
        event = HistoryEvent(event_id=7)
        event.workflow_execution_terminated_event_attributes.reason = "x" * 1000
        return event if run.run_id != "gone" else None


def run(run_id: str) -> Run:
    return Run("w", run_id, run_id, "t", 2, 0, Timestamp(), None, Memo())


async def test_each_is_asked_for_once_while_there_is_room() -> None:
    """Room for two: the one that was used longest ago is asked for again; what is gone isn't kept."""
    asked = Asked()
    closings = Closings(asked, room=2500)  # type: ignore[arg-type]
    for run_id in ("a", "b", "a", "c", "a", "b", "gone", "gone"):
        found = await closings.of(run(run_id))
        assert (found is None) == (run_id == "gone")
    assert asked.runs == ["a", "b", "c", "b", "gone", "gone"]
