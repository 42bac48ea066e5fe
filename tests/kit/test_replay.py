"""Replay: recorded histories on today's code, with the place where they differ."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from typer.testing import CliRunner

with workflow.unsafe.imports_passed_through():
    import counterstep.replay
    from activities import DefinitionError, EmptyInput
    from counterstep.cli import app
    from examples.quickstart import Booking, BookSeat, Desk
    from flows import LongRunning, Sequence
    from flows.testing import HistoriesDiffer, Ran, Temporal, error, replay, serving
    from flows.testing._temporal import dev_server
    from tests.canary import Inner, copies
    from tests.histories.definitions import DEFINITIONS
    from tests.kit.planted import card, mail, seat, shop
    from tests.kit.test_right import TwoLegs
    from tests.support import World

ROOT = Path(__file__).parents[2]


class Before(Sequence[EmptyInput, None], id="changing", version="1.0.0"):
    """A seat, then a card."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(seat, input)
        await self.execute(card, input)


class After(Sequence[EmptyInput, None], id="changing", version="1.0.0"):
    """A seat, then a mail: another body under the same version."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(seat, input)
        await self.execute(mail, input)


class FirstLegChanged(LongRunning[EmptyInput, None, EmptyInput, EmptyInput], id="two-legs", version="1.0.0"):
    """A card in the first leg instead of a seat."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(card if self.resume_point == "" else seat, input)
        if self.resume_point == "":
            await self.wait(timedelta(milliseconds=1), resume_point="second")
        await self.execute(mail, input)


class LastLegChanged(LongRunning[EmptyInput, None, EmptyInput, EmptyInput], id="two-legs", version="1.0.0"):
    """A card in the last leg instead of a seat."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(seat if self.resume_point == "" else card, input)
        if self.resume_point == "":
            await self.wait(timedelta(milliseconds=1), resume_point="second")
        await self.execute(mail, input)


class Around(Sequence[EmptyInput, None], id="around", version="1.0.0"):
    """Calls a child flow."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(Before, input, child=True)


SERVED = (seat, card, mail)


async def recorded(temporal: Temporal, *, fails: bool = False) -> tuple[Ran, WorkflowHistory]:
    """Run the flow as it was, and give its history."""
    async with serving(*SERVED, Before, temporal=temporal, lifespan=shop) as worker:
        if fails:
            worker.inject("card", error())
        ran = await worker.run(Before, EmptyInput())
        return ran, await ran.handle.fetch_history()


@pytest.mark.parametrize("fails", [False, True])
async def test_histories_replay_from_every_task(temporal: Temporal, fails: bool) -> None:
    """The same code replays a run that completed, or unwound, whole and from each of its workflow tasks."""
    ran, history = await recorded(temporal, fails=fails)
    [replayed] = await replay([history], *SERVED, Before)
    assert (replayed.name, replayed.flow, replayed.difference) == (ran.handle.id, "changing@1.0.0", None)
    started = sum(e.HasField("workflow_task_started_event_attributes") for e in history.events)
    assert replayed.places == started == (4 if fails else 3)


async def test_a_changed_body_is_found_at_its_place(temporal: Temporal) -> None:
    """Another body under an unchanged version: the step that it should have asked for is named, with its event."""
    _, history = await recorded(temporal)
    with pytest.raises(HistoriesDiffer) as found:
        await replay([history], *SERVED, After)
    [replayed] = found.value.replayed
    event = next(
        e.event_id for e in history.events if e.activity_task_scheduled_event_attributes.activity_id == "card"
    )
    assert replayed.difference is not None
    assert f"where it asked for step card (card@1.0.0, event {event})" in replayed.difference
    assert "1 of 1 histories don't replay" in str(found.value)


async def test_a_flow_with_a_child_replays_from_a_file(temporal: Temporal, tmp_path: Path) -> None:
    """A child's workflow id derives from its parent's: a file of any name replays under the id that the run had."""
    async with serving(*SERVED, Before, Around, temporal=temporal, lifespan=shop) as worker:
        ran = await worker.run(Around, EmptyInput())
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "kept.json").write_text((await ran.handle.fetch_history()).to_json())
    [alone] = await replay(await ran.handle.fetch_history(), *SERVED, Before, Around)
    assert (alone.name, alone.difference) == (ran.handle.id, None)
    [replayed] = await replay(tmp_path, *SERVED, Before, Around)
    assert (replayed.name, replayed.flow, replayed.difference) == ("kept", "around@1.0.0", None)


async def test_the_history_of_a_reset_run_is_named(tmp_path: Path) -> None:
    """Temporal's replayer gives it the id of the run before: that it was reset, which it looks into, doesn't show."""
    name = "reset-refused.json"
    shutil.copy(Path(__file__).parents[1] / "histories" / "0.1" / name, tmp_path / name)
    with pytest.raises(HistoriesDiffer) as found:
        await replay(tmp_path, *DEFINITIONS)
    assert [one.difference for one in found.value.replayed] == [
        "a reset made this run, and such histories can't be replayed apart from their server"
    ]


async def test_no_history_shows_nothing(tmp_path: Path) -> None:
    """An empty folder is an error."""
    with pytest.raises(DefinitionError, match="there is no history to replay in"):
        await replay(tmp_path, *SERVED, After)


async def test_what_is_no_history_is_refused(tmp_path: Path) -> None:
    """A folder that isn't there, or something else than histories."""
    with pytest.raises(DefinitionError) as refused:
        await replay(tmp_path / "none", *SERVED, After)
    assert refused.value.message == f"there is no folder {tmp_path / 'none'}"
    for wrong in (["none"], 5):
        with pytest.raises(
            DefinitionError, match=r"replay takes a folder, or histories \(WorkflowHistory\), not "
        ):
            await replay(wrong, *SERVED, After)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"events": [{"eventType": "no such"}]}', '{"events": 5}'])
async def test_a_file_that_is_no_history_is_named(tmp_path: Path, text: str) -> None:
    """JSON of another kind, or none, is one line that names the file."""
    (tmp_path / "notes.json").write_text(text)
    with pytest.raises(DefinitionError, match=r"notes\.json isn't a workflow history: "):
        await replay(tmp_path, *SERVED, After)


def command(*args: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command."""
    return subprocess.run(
        [sys.executable, "-m", "counterstep.cli", "replay", *args],
        cwd=ROOT, capture_output=True, text=True, timeout=100,
    )  # fmt: skip


@pytest.fixture
def own_temporal() -> Iterator[Temporal]:
    """A server on which nothing else has run."""
    with dev_server() as temporal:
        yield temporal


@pytest.mark.parametrize(("changed", "kept"), [(FirstLegChanged, "leg-0"), (LastLegChanged, "completed")])
async def test_each_leg_is_recorded(own_temporal: Temporal, tmp_path: Path, changed: type, kept: str) -> None:
    """A leg that went on as new is a history of its own: code before the resume point that changed is found by it."""
    folder = tmp_path / "kept"
    async with serving(seat, card, mail, TwoLegs, temporal=own_temporal, lifespan=shop) as worker:
        await worker.run(TwoLegs, EmptyInput())
        made = await counterstep.replay._recorded(worker.client, {"two-legs@1.0.0"}, folder, 10)
    assert sorted(file.name for file in made) == [
        "two-legs@1.0.0-completed.json",
        "two-legs@1.0.0-leg-0.json",
    ]
    await replay(folder, seat, card, mail, TwoLegs)
    with pytest.raises(HistoriesDiffer) as refused:
        await replay(folder, seat, card, mail, changed)
    differ = [one.name for one in refused.value.replayed if one.difference is not None]
    assert differ == [f"two-legs@1.0.0-{kept}"]


async def test_a_version_that_is_not_served_any_more_is_named(temporal: Temporal) -> None:
    """Its code isn't said to differ: it isn't there."""
    _, history = await recorded(temporal)
    with pytest.raises(HistoriesDiffer) as refused:
        await replay([history], *SERVED)
    (one,) = refused.value.replayed
    assert one.difference == (
        "changing@1.0.0 isn't served; serve that version while runs of it are open, then remove its histories"
    )


async def test_the_command_records_each_end_once_and_replays(own_temporal: Temporal, tmp_path: Path) -> None:
    """`--record` keeps one history for each way to end, never replaces one; then all replay, without a server too."""
    (tmp_path / "desk").mkdir()
    async with serving("examples.quickstart", temporal=own_temporal, deps=Desk(tmp_path / "desk")) as worker:
        for seat_, faults in (("1", ()), ("2", (error(),)), ("3", (error(),))):
            if faults:
                worker.inject("charge-card", *faults)
            await worker.run(BookSeat, Booking(seat=seat_, card="4"))
    folder, flags = tmp_path / "kept", ("--module", "examples.quickstart")
    done = command(str(folder), *flags, "--record", "--address", str(own_temporal.address))
    assert done.returncode == 0, done.stderr
    names = sorted(file.name for file in folder.iterdir())
    assert names == ["book-seat@1.0.0-completed.json", "book-seat@1.0.0-rolled_back.json"]
    before = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    again = command(str(folder), *flags, "--record", "--address", str(own_temporal.address))
    assert (again.returncode, "recorded" in again.stdout) == (0, False)
    assert {file: file.stat().st_mtime_ns for file in folder.iterdir()} == before
    alone = command(str(folder), *flags)
    assert alone.returncode == 0, alone.stderr
    assert alone.stdout.splitlines() == [
        "book-seat@1.0.0-completed (book-seat@1.0.0): replays, from 3 places",
        "book-seat@1.0.0-rolled_back (book-seat@1.0.0): replays, from 4 places",
    ]


async def test_record_goes_on_without_what_cant_be_read(
    temporal: Temporal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that can't be read is told of, the others are kept; a run of a flow that no module has isn't read."""
    other, _ = await recorded(temporal)
    async with serving("examples.quickstart", temporal=temporal, deps=Desk(tmp_path)) as worker:
        good = await worker.run(BookSeat, Booking(seat="1", card="4"))
        bad = await worker.run(BookSeat, Booking(seat="2", card="4"))
    read = counterstep.replay.way_to_end

    def way_to_end(history: WorkflowHistory) -> tuple[str, str]:
        if history.workflow_id in (bad.handle.id, other.handle.id):
            raise IndexError("list index out of range")
        return read(history)

    monkeypatch.setattr(counterstep.replay, "way_to_end", way_to_end)
    folder = tmp_path / "kept"
    args = [
        "replay",
        str(folder),
        "--module",
        "examples.quickstart",
        "--record",
        "--address",
        str(temporal.address),
    ]
    result = await asyncio.to_thread(CliRunner().invoke, app, args)
    assert result.exit_code == 0
    assert (folder / "book-seat@1.0.0-completed.json").exists()
    run_id = bad.handle.result_run_id or bad.handle.first_execution_run_id
    line = f"left out {bad.handle.id} (run {run_id}): can't be read: IndexError: list index out of range"
    assert line in result.stderr.splitlines()
    assert not any(id in result.stderr for id in (good.handle.id, other.handle.id))


async def test_encoded_values_need_their_converter(temporal: Temporal, tmp_path: Path) -> None:
    """A history whose values are encrypted is left out, and never called a difference, unless the module has the key."""
    async with serving("tests.canary", temporal=temporal, deps=World(tmp_path / "world")) as worker:
        sequence, planned = await worker.run(Inner, "text"), await worker.run(copies, "text")
    flags = ("--record", "--address", str(temporal.address), "--module")
    blind = command(str(tmp_path / "blind"), *flags, "tests.kit.unsealed")
    needed = "its values are encoded; the data_converter that wrote them is needed (in a --module)"
    assert [
        line for run in (sequence, planned) for line in blind.stderr.splitlines() if run.handle.id in line
    ] == [f"left out {run.handle.id}: {needed}" for run in (sequence, planned)]
    seeing = command(str(tmp_path / "kept"), *flags, "tests.canary")
    assert sorted(file.name for file in (tmp_path / "kept").iterdir()) == [
        "copies-inner@1.0.0-completed.json", "copies-saga@1.0.0-rolled_back.json",
    ]  # fmt: skip
    assert seeing.returncode == 0, seeing.stderr
    later = command(str(tmp_path / "kept"), "--module", "tests.kit.unsealed")
    assert (later.returncode, later.stdout) == (1, "")
    assert later.stderr.splitlines() == [
        f"copies-inner@1.0.0-completed (copies-inner@1.0.0): {needed}",
        f"copies-saga@1.0.0-rolled_back (copies-saga@1.0.0): {needed}",
    ]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("nowhere", "--module", "examples.quickstart"), "there is no folder nowhere"),
        (("worker.py", "--module", "examples.quickstart"), "worker.py is no folder"),
        (("worker.py", "--module", "examples.quickstart", "--record"), "worker.py is no folder"),
        (("tests",), "say with --module where the flows are"),
        (("docs", "--module", "nothing"), "there is no module 'nothing'; looked in the current folder too"),
    ],
)
def test_the_command_says_what_is_wrong(args: tuple[str, ...], says: Any) -> None:
    """What can't be done is one line, with exit code 1."""
    done = command(*args)
    assert (done.returncode, done.stderr.strip()) == (1, f"counterstep replay: {says}")
