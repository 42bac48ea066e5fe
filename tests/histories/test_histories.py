"""Histories that earlier versions recorded replay on today's code. ``RECORD=1 pytest tests/histories`` adds missing ones."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle, WorkflowHistory
from temporalio.worker import Replayer

from activities import EmptyInput, Registry
from counterstep.reports import read_run, report_of, tree_json
from flows import CounterstepPlugin, start
from tests.conftest import Serve
from tests.histories.definitions import (
    DEFINITIONS,
    Recorded,
    RecordedAround,
    RecordedHeld,
    RecordedKept,
    RecordedLegs,
    recorded_holding,
    recorded_hurried,
    recorded_keeping,
    recorded_line,
    recorded_mistaken,
    recorded_parent,
    recorded_parking,
    recorded_pivoting,
    recorded_saga,
    recorded_stopping,
)
from tests.support import World, events_of, new_id, reset
from tests.undoing import claim_of, start_undo

FOLDER = Path(__file__).parent / "0.1"
ROOT = Path(__file__).parents[2]
Act = Callable[[WorkflowHandle[Any, Any], World], Awaitable[None]]


async def _cancel(handle: WorkflowHandle[Any, Any], world: World) -> None:
    await world.until("a", 6)
    await handle.cancel()


async def _cancel_saga(handle: WorkflowHandle[Any, Any], world: World) -> None:
    await world.until("b")
    await handle.cancel()


async def _retry(handle: WorkflowHandle[Any, Any], world: World) -> None:
    while (await handle.query("status"))["steps"].get("b") != "held":
        await asyncio.sleep(0.05)
    world.switch("fail-b", on=False)
    await handle.execute_update("retry", {"step": "b", "by": "ann", "reason": "repaired"})


async def _retry_late(handle: WorkflowHandle[Any, Any], world: World) -> None:
    while (await handle.query("status"))["steps"].get("c") != "held":
        await asyncio.sleep(0.05)
    world.switch("fail-c", on=False)
    await handle.execute_update("retry", {"step": "c", "by": "ann", "reason": "repaired"})


async def _stop(handle: WorkflowHandle[Any, Any], world: World) -> None:
    await world.until("b")
    await handle.execute_update("stop", {"by": "ann"})


async def _cancel_late(handle: WorkflowHandle[Any, Any], world: World) -> None:
    await world.until("c")
    await handle.cancel()


async def _stop_sequence(handle: WorkflowHandle[Any, Any], world: World) -> None:
    await world.until("a", 6)
    await handle.execute_update("stop", {"by": "ann"})


async def _shown(handle: WorkflowHandle[Any, Any], step: str, word: str) -> None:
    while (await handle.query("status"))["steps"].get(step) != word:
        await asyncio.sleep(0.05)


async def _skip(handle: WorkflowHandle[Any, Any], world: World) -> None:
    await _shown(handle, "b", "held")
    await handle.execute_update("skip", {"step": "b", "by": "ann", "output": {"id": 7, "name": "by hand"}})


async def _edit(handle: WorkflowHandle[Any, Any], world: World) -> None:
    await _shown(handle, "b", "held")
    world.switch("fail-b", on=False)
    await handle.execute_update("edit", {"step": "b", "by": "ann", "input": {"number": 5}})


async def _unwind(handle: WorkflowHandle[Any, Any], world: World) -> None:
    await _shown(handle, "b", "held")
    await handle.execute_update("unwind", {"step": "b", "by": "ann"})


async def _retry_undo(handle: WorkflowHandle[Any, Any], world: World) -> None:
    await _shown(handle, "b", "parked")
    world.switch("fail-undo-b", on=False)
    await handle.execute_update("retry", {"step": "b", "by": "ann"})


async def _skip_undo(handle: WorkflowHandle[Any, Any], world: World) -> None:
    await _shown(handle, "b", "parked")
    await handle.execute_update("skip", {"step": "b", "by": "ann", "reason": "done by hand"})


async def _repair(handle: WorkflowHandle[Any, Any], world: World) -> None:
    with contextlib.suppress(WorkflowFailureError):
        await handle.result()
    world.switch("fail-c", on=False)


ENDS: dict[str, tuple[Any, Any, list[str], Act | None]] = {
    "sequence-completed": (Recorded, 3, [], None),
    "sequence-rolled-back": (Recorded, 3, ["fail-c"], None),
    "sequence-stuck": (Recorded, 3, ["fail-c", "fail-undo-a"], None),
    "sequence-kept": (RecordedKept, 3, ["fail-c"], None),
    "sequence-cancelled": (Recorded, 3, ["hold-a"], _cancel),
    "saga-completed": (recorded_saga, EmptyInput(), [], None),
    "saga-rolled-back": (recorded_saga, EmptyInput(), ["fail-d"], None),
    "saga-stuck": (recorded_saga, EmptyInput(), ["fail-d", "fail-undo-b"], None),
    "saga-cancelled": (recorded_saga, EmptyInput(), ["hold-b"], _cancel_saga),
    "saga-stopped": (recorded_saga, EmptyInput(), ["hold-b"], _stop),
    "longrunning-continued": (RecordedLegs, 3, [], None),
    "longrunning-completed": (RecordedLegs, 3, [], None),
    "longrunning-rolled-back": (RecordedLegs, 3, ["fail-c"], None),
    "inline-completed": (RecordedAround, 3, [], None),
    "inline-rolled-back": (RecordedAround, 3, ["fail-c"], None),
    "inline-stuck": (RecordedAround, 3, ["fail-stack/d", "fail-undo-stack/b"], None),
    "saga-held": (recorded_holding, EmptyInput(), ["fail-b"], _retry),
    "saga-kept": (recorded_keeping, EmptyInput(), ["fail-d"], None),
    "saga-refused": (recorded_mistaken, EmptyInput(), [], None),
    "saga-deadline": (recorded_hurried, EmptyInput(), ["hold-b"], None),
    "saga-pivoted-cancelled": (recorded_pivoting, EmptyInput(), ["hold-c"], _cancel_late),
    "saga-pivoted-held": (recorded_pivoting, EmptyInput(), ["fail-c"], _retry_late),
    "saga-continued": (recorded_line, EmptyInput(), ["fail-n5"], None),
    "saga-unwinding-continued": (recorded_line, EmptyInput(), ["fail-n5"], None),
    "saga-after-continuing-rolled-back": (recorded_line, EmptyInput(), ["fail-n5"], None),
    "sequence-refused": ("recorded@1.0.0", "three", [], None),
    "sequence-stopped": (Recorded, 3, ["hold-a"], _stop_sequence),
    "children-completed": (recorded_parent, EmptyInput(), [], None),
    "children-rolled-back": (recorded_parent, EmptyInput(), ["fail-d"], None),
    "undo-completed": (recorded_saga, EmptyInput(), [], None),
    "undo-stuck": (recorded_saga, EmptyInput(), ["fail-undo-a"], None),
    "undoing-completed": (recorded_saga, EmptyInput(), [], None),
    "undoing-stuck": (recorded_saga, EmptyInput(), ["fail-undo-a"], None),
    "saga-skipped": (recorded_holding, EmptyInput(), ["fail-b"], _skip),
    "saga-edited": (recorded_holding, EmptyInput(), ["fail-b"], _edit),
    "saga-unwound": (recorded_holding, EmptyInput(), ["fail-b"], _unwind),
    "saga-parked": (recorded_parking, EmptyInput(), ["fail-d", "fail-undo-b"], _retry_undo),
    "saga-parked-skipped": (recorded_parking, EmptyInput(), ["fail-d", "fail-undo-b"], _skip_undo),
    "saga-stopping-stuck": (recorded_stopping, EmptyInput(), ["fail-d", "fail-undo-b"], None),
    "sequence-held": (RecordedHeld, 3, ["fail-c"], _retry_late),
    "sequence-resumed": (RecordedKept, 3, ["fail-c"], _repair),
    "reset-refused": (recorded_saga, EmptyInput(), ["fail-d"], None),
}
"""Flow, input, switches that are on, and what is done meanwhile. ``undo-`` is the history of the ``undo`` of such a run,
``undoing-`` that of the workflow that does its work, ``reset-`` that of a reset of it, ``-resumed`` that of a run that goes on
from it."""

STATES = {
    "held": "completed", "continued": "running", "back": "rolled_back", "stopped": "rolled_back", "deadline": "rolled_back",
    "saga-unwinding-continued": "unwinding", "skipped": "completed", "edited": "completed", "unwound": "rolled_back",
    "parked": "rolled_back", "saga-parked-skipped": "rolled_back", "resumed": "completed",
}  # fmt: skip
"""How a run ended whose name doesn't end with that."""

REFUSED = frozenset(("saga-refused", "sequence-refused"))


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Go on as new where the recorded run did: after 30 events."""
    if "continu" in str(getattr(request.node, "callspec", None) and request.node.callspec.params.get("name")):
        monkeypatch.setattr("flows._full.CONTINUE_AT", 30)


async def _record(serve: Serve, world: World, task_queue: str, name: str) -> None:
    """Record what isn't there yet."""
    path = FOLDER / f"{name}.json"
    flow, input, switches, act = ENDS[name]
    for switch in switches:
        world.switch(switch)
    async with serve(*DEFINITIONS) as client:
        handle = await start(client, flow, input, id=new_id(name), task_queue=task_queue)
        if act is not None:
            await act(handle, world)
        try:
            await handle.result()
            kept = await _kept(client, handle, name, task_queue)
        except WorkflowFailureError:
            assert "completed" not in name
            kept = await _kept(client, handle, name, task_queue)
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            path.write_text(_anywhere((await kept.fetch_history()).to_json()))
    assert path.exists()


async def _kept(
    client: Client, handle: WorkflowHandle[Any, Any], name: str, task_queue: str
) -> WorkflowHandle[Any, Any]:
    """Give the run whose history is kept."""
    if name.startswith("undo"):
        by = await start_undo(client, task_queue, handle)
        with contextlib.suppress(WorkflowFailureError):
            await by.result()
        return by if name.startswith("undo-") else client.get_workflow_handle(await claim_of(handle))
    if name.startswith("reset-"):
        ends = [n for n, kind in enumerate(await events_of(handle), 1) if kind == "WORKFLOW_TASK_COMPLETED"]
        again = await reset(client, handle, ends[len(ends) // 2])
        with contextlib.suppress(WorkflowFailureError):
            await again.result()
        return again
    if name.endswith("-resumed"):
        memo, id = {"resume_from": handle.id}, new_id(name)
        on = await client.start_workflow("recorded-kept@1.0.0", 3, id=id, task_queue=task_queue, memo=memo)
        await on.result()
        return on
    if not name.endswith("-continued"):
        return handle
    first = client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id)
    last = (await first.fetch_history()).events[-1].workflow_execution_continued_as_new_event_attributes
    second = client.get_workflow_handle(handle.id, run_id=last.new_execution_run_id)
    return second if "unwinding" in name else first


def _anywhere(text: str) -> str:
    """Take out what names this machine."""
    text = text.replace(f"{ROOT}/", "").replace(sys.base_prefix, "python")
    return text.replace(f"@{socket.gethostname()}", "@worker")


if os.environ.get("RECORD"):
    test_record = pytest.mark.parametrize("name", ENDS)(_record)


def _history(name: str) -> WorkflowHistory:
    """Read a history, under the workflow id that it was recorded with: children's are made of it."""
    history = WorkflowHistory.from_json(name, (FOLDER / f"{name}.json").read_text())
    started = history.events[0].workflow_execution_started_event_attributes
    return WorkflowHistory(started.workflow_id, history.events)


@pytest.mark.parametrize("name", ENDS)
async def test_recorded_histories_replay(name: str) -> None:
    """A run that an earlier version began goes on under this one: its history replays."""
    plugin = CounterstepPlugin(Registry(*DEFINITIONS))
    history = _history(name)
    await Replayer(workflows=[], plugins=[plugin]).replay_workflow(history)


@pytest.mark.parametrize("name", ENDS)
def test_recorded_histories_are_readable(name: str) -> None:
    """The report of a recorded history can be made, twice the same, and tells how the run ended."""
    history = _history(name)
    report = tree_json(report_of(read_run(name, history.events), "default"))
    assert report == tree_json(report_of(read_run(name, history.events), "default"))
    end = name.rpartition("-")[2]
    state = STATES.get(name, STATES.get(end, end))
    assert report["run"]["state"] == state
    assert report["outcome"] == {"completed": "done", "running": None, "unwinding": None}.get(state, "failed")
    assert bool(report["children"]) is (name not in REFUSED)


def test_every_recorded_history_is_known() -> None:
    """No file lies in the folder without a test, or with the absolute path of a file."""
    assert not [path.stem for path in FOLDER.glob("*.json") if 'File \\"/' in path.read_text()]
    assert sorted(path.stem for path in FOLDER.glob("*.json")) == sorted(ENDS)
