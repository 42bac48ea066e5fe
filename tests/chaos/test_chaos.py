"""A short storm, and the eyes that look at it; ``make chaos`` is the long one."""

from __future__ import annotations

import dataclasses
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from activities import Definition, Status
from counterstep.reports import Execution, Report
from tests.chaos.__main__ import chaos, lines
from tests.chaos.store import Calls, Store
from tests.chaos.storm import KINDS
from tests.chaos.verdict import Verdict, disagreements

CHANGE = Definition(id="change", version="1.0.0", description="")


def told(outcome: Status, attempts: int, *earlier: int) -> Report[Any, Any]:
    """A step's report; ``earlier`` are the attempts of the times that it was asked for before."""
    before = tuple(Execution(None, None, None, one, Status.UNKNOWN, None, None) for one in earlier)
    return Report("1", CHANGE, "s", None, outcome, attempts=attempts, earlier=before)


@pytest.mark.parametrize(
    ("report", "calls", "wrong"),
    [
        (told(Status.DONE, 1), Calls(1, 1), []),
        (told(Status.DONE, 3), Calls(1, 1), []),  # two attempts got no further than a dead worker
        (told(Status.DONE, 2), Calls(2, 1), []),
        (told(Status.FAILED, 3), Calls(3, 3), []),
        (told(Status.UNKNOWN, 3), Calls(0, 0), []),
        (told(Status.FAILED, 0), Calls(2, 2), []),  # cancelled between two attempts
        (told(Status.UNKNOWN, 1, 1, 0), Calls(3, 2), []),
        (told(Status.DONE, 1), Calls(2, 2), ["2 calls, and 1 attempts reported"]),
        (told(Status.UNKNOWN, 2, 1), Calls(3, 2), ["3 calls, and 2 attempts reported"]),
        (told(Status.DONE, 1), Calls(1, 0), ["done, and none of 1 calls came to its end"]),
        (told(Status.FAILED, 3), Calls(2, 2), ["failed, and of 3 attempts 2 called, 2 to the end"]),
        (told(Status.FAILED, 3), Calls(3, 2), ["failed, and of 3 attempts 3 called, 2 to the end"]),
    ],
)
def test_calls_and_attempts(report: Report[Any, Any], calls: Calls, wrong: list[str]) -> None:
    """No call without an attempt; what failed called in every attempt, to its end; what is done did so once at least."""
    assert list(disagreements(report, calls)) == wrong


def test_calls_are_on_record_before_they_do_anything(tmp_path: Path) -> None:
    """Also one that raises, and one that is killed; a second one in the same attempt is wrong."""
    store = Store(tmp_path / "effects.db")
    store.prepare()
    with pytest.raises(RuntimeError), store.called("run", "s", "do", "attempt 1"):
        raise RuntimeError
    killed = store.called("run", "s", "do", "attempt 2")
    killed.__enter__()
    assert store.calls() == {"run": {("s", "do"): Calls(2, 1)}}
    with store.called("run", "s", "do", "attempt 2"):
        pass
    assert store.wrong() == ["run: s: do twice in one attempt"]


def test_what_is_missing_is_named() -> None:
    """A kind of strike that never happened, and sagas that weren't open at once: by the times when each was open."""
    minute = [datetime(2026, 1, 1, 0, n, tzinfo=UTC) for n in range(5)]
    found = Verdict(open_from_to=[(minute[0], minute[2]), (minute[1], minute[3]), (minute[2], minute[4])])
    storm: Any = SimpleNamespace(runs=["a", "b", "c"], done=Counter({"cancel": 2}))
    assert lines(storm, found, 2, ["cancel"])[1] == []
    figures, wrong = lines(storm, found, 3, ["cancel", "stop"])
    assert figures[0] == "3 sagas, at most 2 open at once (3 wanted)"
    assert wrong == ["MISSING: stop never happened", "MISSING: 3 open at once; there were 2"]
    longer = [(start, end + timedelta(seconds=1)) for start, end in found.open_from_to]
    assert dataclasses.replace(found, open_from_to=longer).most_open == 3


@pytest.mark.nightly
@pytest.mark.timeout(1800)
async def test_a_short_storm(tmp_path: Path) -> None:
    """Forty sagas open at once, a minute of kills, cuts and cancels: all end, reports equal to what was done."""
    storm, found = await chaos(tmp_path, sagas=40, seconds=60, workers=2, seed=1)
    _, wrong = lines(storm, found, 40, [kind for kind in KINDS if kind != "approve"])
    assert wrong == []
    assert sum(found.ends.values()) == len(storm.runs) >= 40
