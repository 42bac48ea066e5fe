"""Reporters: what was added is there, once and for all."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from activities import CounterstepError, EmptyInput, ReportNotFound
from counterstep.reports import HistoryReporter, MemoryReporter, RecentReporter, Report, Reporter
from flows import start
from tests.conftest import Serve
from tests.reports.flows import DEFINITIONS, Tries, plain
from tests.reports.making import names, nested, report
from tests.support import World, new_id


def test_seeded_and_appended_in_order() -> None:
    """OPS-69: it begins with what it is given, and keeps the order of adding."""
    reporter = MemoryReporter([report("a")])
    reporter.add_report(report("b"))
    assert names(reporter.get_reports()) == ["a", "b"]
    assert reporter.get_report("id-b") == report("b")


def test_a_report_that_is_not_there() -> None:
    """``ReportNotFound`` names the id."""
    for reporter in (MemoryReporter([report("a")]), RecentReporter(MemoryReporter())):
        for ask in (reporter.get_report, reporter.get_execution_reports):
            with pytest.raises(ReportNotFound) as caught:
                ask("100")
            assert caught.value.message == "report 100 isn't here"


def test_lists_are_snapshots() -> None:
    """Changing a list that was given out, or the one it was made with, changes nothing."""
    seed = [report("a")]
    reporter = MemoryReporter(seed)
    seed.clear()
    reporter.get_reports().clear()
    assert names(reporter.get_reports()) == ["a"]


def test_of_two_with_one_id_the_first() -> None:
    """Both are kept, the first is found."""
    first, second = report("a"), report("a", result=(3,))
    reporter = MemoryReporter([first, second])
    assert reporter.get_report("id-a") is first
    assert reporter.get_reports() == [first, second]


def test_execution_reports_of_a_flow() -> None:
    """Children first, the flow last; of an operation only itself."""
    reporter = MemoryReporter([nested(), report("a")])
    assert names(reporter.get_execution_reports("id-outer")) == ["op1", "op2", "inner", "op3", "outer"]
    assert names(reporter.get_execution_reports("id-a")) == ["a"]


def test_answered_calls_are_no_execution_reports() -> None:
    """They belong to the earlier run."""
    flow = report("S", report("A", answered_from=("first", "run")), report("B"))
    assert names(MemoryReporter([flow]).get_execution_reports("id-S")) == ["B", "S"]


def test_many_threads_add() -> None:
    """Nothing is lost when eight threads add at once."""
    reporter = MemoryReporter()

    def add(thread: int) -> None:
        for index in range(100):
            reporter.add_report(report(f"r{thread}-{index}"))

    threads = [threading.Thread(target=add, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one.id for one in reporter.get_reports()}) == 800


def test_recent_reports() -> None:
    """OPS-71: only what was added through it since it was made; everything is forwarded and can be asked."""
    memory = MemoryReporter([report("old")])
    recent = RecentReporter(memory)
    assert recent.get_recent_reports() == []
    recent.add_report(nested())
    memory.add_report(report("beside"))
    assert names(recent.get_recent_reports()) == ["outer"]
    assert names(recent.get_reports()) == names(memory.get_reports()) == ["old", "outer", "beside"]
    assert recent.get_report("id-old") == report("old")
    assert names(recent.get_execution_reports("id-outer")) == ["op1", "op2", "inner", "op3", "outer"]


def test_two_recent_reporters_know_their_own() -> None:
    """They share what they wrap, not what they remember."""
    memory = MemoryReporter()
    left, right = RecentReporter(memory), RecentReporter(memory)
    left.add_report(report("a"))
    right.add_report(report("b"))
    assert [names(r.get_recent_reports()) for r in (left, right)] == [["a"], ["b"]]


class Full(MemoryReporter):
    """Takes no report."""

    def add_report(self, report: Report[Any, Any]) -> None:
        raise OSError("disk full")


def test_a_forward_that_fails_is_not_remembered() -> None:
    """OPS-71: the error reaches the caller, and nothing is recent."""
    recent = RecentReporter(Full())
    with pytest.raises(OSError, match="disk full"):
        recent.add_report(report("a"))
    assert recent.get_recent_reports() == []


def test_both_are_reporters() -> None:
    """A recent reporter wraps anything that follows the protocol, another recent one too."""
    inner: Reporter = MemoryReporter()
    outer: Reporter = RecentReporter(RecentReporter(inner))
    outer.add_report(report("a"))
    assert names(inner.get_reports()) == ["a"]


async def test_what_history_tells(serve: Serve, world: World, task_queue: str) -> None:
    """Reports of two flows, children first; refreshed, a run that went on has more; nothing can be added."""
    world.switch("hold-b")
    async with serve(*DEFINITIONS) as client:
        done, open_ = [
            await start(client, flow, given, id=new_id(), task_queue=task_queue)
            for flow, given in ((Tries, 4), (plain, EmptyInput()))
        ]
        await done.result()
        await world.until("b")
        reporter = await HistoryReporter.read(client, done.id, open_.id)
        before = reporter.get_reports()
        world.switch("go-b")
        await open_.result()
        await reporter.refresh()
        after = reporter.get_reports()
    assert [one.step for one in before if one.step != "c"] == ["third-time", "third-local", "", "a", "b", ""]
    assert sorted(one.step for one in after[3:]) == ["", "a", "b", "c", "d"]
    assert [one.outcome for one in before if one.step == "b"] == [None]
    flow = after[-1]
    assert reporter.get_report(flow.id) == flow
    assert [one.id for one in reporter.get_execution_reports(flow.id)] == [one.id for one in after[3:]]
    with pytest.raises(ReportNotFound, match="report nobody"):
        reporter.get_report("nobody")
    with pytest.raises(CounterstepError, match="can't be added: history holds what runs wrote"):
        reporter.add_report(flow)
