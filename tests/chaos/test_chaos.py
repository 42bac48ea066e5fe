"""A short storm; ``make chaos`` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.__main__ import chaos


@pytest.mark.nightly
@pytest.mark.timeout(1800)
async def test_a_short_storm(tmp_path: Path) -> None:
    """Forty open sagas, a minute of kills, cuts and cancels: all end, reports equal to what was done, nothing after its undo."""
    storm, found = await chaos(tmp_path, sagas=40, seconds=60, workers=2, seed=1)
    assert found.wrong == []
    assert sum(found.ends.values()) == len(storm.runs) >= 40
    assert storm.done["worker killed"] and storm.done["server killed"]
