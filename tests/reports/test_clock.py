"""Local steps tell the time by their worker's clock; a report tells all times by Temporal's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from counterstep.reports._clock import Row

BEGAN = datetime(2026, 1, 1, 12, tzinfo=UTC)
"""When the workflow task began; it was recorded ten seconds later."""


@dataclass
class Step:
    """A local step; a day is when nobody knows better."""

    scheduled: datetime = BEGAN - timedelta(days=1)
    asked: datetime = BEGAN
    started: datetime | None = None
    finished: datetime | None = None


def at(second: float) -> datetime:
    return BEGAN + timedelta(seconds=second)


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ([(1, 2), (2, 4)], [(1, 2), (2, 4)]),
        ([(-3, 2)], [(-3, 2)]),  # it was at work when an earlier task told so
        ([(-86400, -86399), (-86399, -86397)], [(0, 1), (1, 3)]),
        ([(-5, -4), (-4, 3)], [(0, 1), (1, 8)]),
        (
            [(-99, -98), (-98, -85)],
            [(-1, 0), (-1, 10)],
        ),  # longer than the task: they can't all keep their durations
        ([(1, 2), (2, 86400)], [(-1, 0), (-1, 10)]),
        ([(86400, 86401), (86401, 86403)], [(7, 8), (8, 10)]),
    ],
)
def test_all_of_a_task_are_moved_together(
    told: list[tuple[float, float]], shown: list[tuple[float, float]]
) -> None:
    """They ended within the task, keep their order and, where the task is as long as they took, their durations."""
    row, steps = Row(BEGAN), [Step() for _ in told]
    for step, (began, ended) in zip(steps, told, strict=True):
        row.add(step, (at(began), at(ended)), at(10))
    times = [(step.started, step.finished) for step in steps]
    assert times == [(at(began), at(ended)) for began, ended in shown]
    assert [step.scheduled for step in steps] == [step.started for step in steps]


def test_one_that_was_tried_before_was_scheduled_then() -> None:
    """Its first execution tells when it was asked for."""
    step, row = Step(), Row(BEGAN)
    row.add(step, (at(1), at(2)), at(10), again=True)
    assert (step.scheduled, step.asked) == (BEGAN - timedelta(days=1), at(1))
