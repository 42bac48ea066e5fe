"""Long histories: what a report of them needs."""

from __future__ import annotations

import tracemalloc

import pytest

from bench.histories import history
from counterstep.reports import page, read_run, report_of, tree_json

MEMORY = 300 * 1024 * 1024
PAGE = 10 * 1024 * 1024


def test_a_long_history() -> None:
    """12,000 events become 2,000 steps, each with its own values, and a page of at most 10 MB."""
    report = report_of(read_run("long", history(2000)), "default")
    assert [child.step for child in report.children] == [f"step-{n}" for n in range(2000)]
    assert {(str(child.outcome), child.attempts) for child in report.children} == {("done", 1)}
    assert len(page(report).encode()) < PAGE


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_ten_thousand_steps() -> None:
    """Reading 60,000 events, the report, its JSON and its page: at most 300 MB beside the events."""
    events = history(10_000)
    tracemalloc.start()
    try:
        report = report_of(read_run("long", events), "default")
        assert len(tree_json(report)["children"]) == len(report.children) == 10_000
        assert len(page(report).encode()) < PAGE
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()
