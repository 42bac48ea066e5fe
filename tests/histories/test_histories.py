"""Histories that earlier versions recorded replay on today's code. ``RECORD=1 pytest tests/histories`` adds missing ones."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle, WorkflowHistory
from temporalio.worker import Replayer

from activities import EmptyInput, Registry
from counterstep.reports import read_run, report_of, tree_json
from flows import CounterstepPlugin, start
from tests.conftest import Serve
from tests.histories.definitions import (
    DEFINITIONS,
    Recorded,
    RecordedAround,
    RecordedKept,
    RecordedLegs,
    recorded_holding,
    recorded_saga,
)
from tests.support import World, new_id

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


async def _stop(handle: WorkflowHandle[Any, Any], world: World) -> None:
    await world.until("b")
    await handle.execute_update("stop", {"by": "ann"})


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
}


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
        except WorkflowFailureError:
            assert "completed" not in name
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            first = client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id)
            text = (await (first if "continued" in name else handle).fetch_history()).to_json()
            path.write_text(text.replace(f"{ROOT}/", "").replace(sys.base_prefix, "python"))
    assert path.exists()


if os.environ.get("RECORD"):
    test_record = pytest.mark.parametrize("name", ENDS)(_record)


@pytest.mark.parametrize("name", ENDS)
async def test_recorded_histories_replay(name: str) -> None:
    """A run that an earlier version began goes on under this one: its history replays."""
    plugin = CounterstepPlugin(Registry(*DEFINITIONS))
    history = WorkflowHistory.from_json(name, (FOLDER / f"{name}.json").read_text())
    await Replayer(workflows=[], plugins=[plugin]).replay_workflow(history)


@pytest.mark.parametrize("name", ENDS)
def test_recorded_histories_are_readable(name: str) -> None:
    """The report of a recorded history can be made, twice the same, and tells how the run ended."""
    history = WorkflowHistory.from_json(name, (FOLDER / f"{name}.json").read_text())
    report = tree_json(report_of(read_run(name, history.events), "default"))
    assert report == tree_json(report_of(read_run(name, history.events), "default"))
    ends = {"completed": "done", "held": "done", "continued": None}
    assert report["outcome"] == ends.get(name.partition("-")[2], "failed")
    assert report["children"]


def test_every_recorded_history_is_known() -> None:
    """No file lies in the folder without a test."""
    assert sorted(path.stem for path in FOLDER.glob("*.json")) == sorted(ENDS)
