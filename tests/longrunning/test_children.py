"""Children of long-running operations, and long-running operations as children: each leg is one of its own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle

from flows import start
from tests.conftest import Serve
from tests.longrunning.operations import Around, Families, Kid, Legs, Waits, keyed
from tests.support import World, causes, failure_of, new_id
from tests.undoing import undo, undo_fails


def keys(world: World) -> dict[str, list[str]]:
    """Give the keys that were used forward, and those of undos in the order in which they had to come."""
    forward = [key for step, key in world.calls if not step.startswith("undo ")]
    return {"forward": forward, "undone": [key for step, key in world.calls if step.startswith("undo ")]}


async def runs_of(client: Client, id: str) -> list[WorkflowHandle[Any, Any]]:
    """Give the runs of a workflow id, oldest first."""
    await asyncio.sleep(0.5)  # visibility is behind
    found = [run async for run in client.list_workflows(f"WorkflowId = '{id}'")]
    return [
        client.get_workflow_handle(id, run_id=run.run_id) for run in sorted(found, key=lambda r: r.start_time)
    ]


async def test_children_of_two_legs_have_keys_of_their_own(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """Section 3: the key contains the leg, of a child's steps too; each is undone under its own, newest first."""
    world.switch("fail-last")
    async with serve(keyed, Kid, Families, cache=cache) as client:
        handle = await start(client, Families, 3, id=new_id(), task_queue=task_queue)
        assert causes(await failure_of(handle, 60))[0][0] == "RolledBack"
        kids = await runs_of(client, f"{handle.id}/kid")
        reports = [(await kid.query("report"))["children"][0] for kid in kids]
    used = keys(world)
    assert [step for step, _ in world.calls[:4]] == ["x", "x", "x", "last"]
    assert len(set(used["forward"])) == 4
    assert used["undone"] == used["forward"][2::-1]
    assert len({report["id"] for report in reports}) == 3


async def test_a_childs_child_is_undone_under_its_key(serve: Serve, world: World, task_queue: str) -> None:
    """The children of a long-running child are handed on to the root, which undoes each under its own key."""
    world.switch("fail-after")
    async with serve(keyed, Kid, Families, Around) as client:
        handle = await start(client, Around, 2, id=new_id(), task_queue=task_queue)
        assert causes(await failure_of(handle, 60))[0][0] == "RolledBack"
    used = keys(world)
    assert [step for step, _ in world.calls[:4]] == ["x", "x", "last", "after"]
    assert len(set(used["forward"])) == 4
    assert used["undone"] == used["forward"][2::-1]


async def test_undo_of_a_child_of_a_leg_looks_at_its_root(
    serve: Serve, world: World, task_queue: str
) -> None:
    """Section 5: a child that its root undid in a later leg is refused, one that its root couldn't undo isn't."""
    for switch in ("fail-last", "fail-undo-leg-1"):
        world.switch(switch)
    async with serve(keyed, Kid, Families) as client:
        handle = await start(client, Families, 3, id=new_id(), task_queue=task_queue)
        assert causes(await failure_of(handle, 60))[0][0] == "Stuck"
        world.switch("fail-undo-leg-1", on=False)
        first, second, third = await runs_of(client, f"{handle.id}/kid")
        for kid, step in ((first, "leg:0/kid/x"), (third, "kid/x")):
            kind, message = await undo_fails(
                client, task_queue, {"workflow_id": kid.id, "run_id": kid.run_id}
            )
            assert kind == "InvalidInput"
            assert message.endswith(f"was undone by {handle.id} ({step}); start a new run instead")
        before = len(world.calls)
        undone = await undo(client, task_queue, {"workflow_id": second.id, "run_id": second.run_id})
    assert undone["undone"] == ["x"]
    assert world.calls[before:] == [("undo x", keys(world)["forward"][1])]


async def test_undo_knows_which_children_were_undone(serve: Serve, world: World, task_queue: str) -> None:
    """The run was stuck with one of three children: `undo` undoes that one's step alone, though all have the same names."""
    for switch in ("fail-last", "fail-undo-leg-1"):
        world.switch(switch)
    async with serve(keyed, Kid, Families) as client:
        handle = await start(client, Families, 3, id=new_id(), task_queue=task_queue)
        assert causes(await failure_of(handle, 60))[0][0] == "Stuck"
        world.switch("fail-undo-leg-1", on=False)
        before = len(world.calls)
        undone = await undo(client, task_queue, handle)
    assert undone["undone"] == ["leg:1/kid/x"]
    assert set(undone["already_undone"]) == {"leg:0/kid/x", "leg:2/kid/x"}
    assert world.calls[before:] == [("undo kid/x", keys(world)["forward"][1])]


@pytest.mark.parametrize("how", ["cancel", "stop"])
async def test_an_end_reaches_a_later_leg_of_a_child(
    serve: Serve, world: World, task_queue: str, how: str
) -> None:
    """The parent is cancelled or stopped while its child waits an hour in its second leg: it ends, all undone."""
    async with serve(keyed, Legs, Waits) as client:
        handle = await start(client, Waits, 2, id=new_id(), task_queue=task_queue)
        child = client.get_workflow_handle(f"{handle.id}/legs")
        while len(world.calls) < 2 or (await child.query("status"))["steps"].get("long") != "waiting":
            await asyncio.sleep(0.05)
        await (handle.cancel() if how == "cancel" else handle.execute_update("stop", {"by": "ann"}))
        await failure_of(handle, 30)
        ended = (await handle.describe()).status, (await child.describe()).status
    cancelled, failed = WorkflowExecutionStatus.CANCELED, WorkflowExecutionStatus.FAILED
    assert ended == (cancelled if how == "cancel" else failed, cancelled)
    assert [step for step, _ in world.calls] == ["same", "same", "undo same", "undo same"]
