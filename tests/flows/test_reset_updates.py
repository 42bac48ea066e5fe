"""A reset applies updates and signals again that came after its point, and tells of them before it tells of itself."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from temporalio import workflow
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle, WorkflowUpdateFailedError

from activities import Context, EmptyInput, Outcome, operation
from flows import Dag, Sequence, Step, saga, start
from tests.conftest import Serve
from tests.sagas.test_holding import shows
from tests.sample import FAST
from tests.support import World, causes, events_of, failure_of, new_id, reset
from tests.undoing import undo


async def act(ctx: Context[World], input: EmptyInput) -> str:
    """Record it; fail where a switch says so."""
    ctx.deps.record(ctx.step)
    if ctx.deps.is_on(f"fail-{ctx.step}"):
        raise RuntimeError("down")
    return ctx.step


async def back(ctx: Context[World], input: EmptyInput, outcome: Outcome[str]) -> None:
    ctx.deps.record(f"undo {ctx.step}")


far = operation(id="far", version="1.0.0")(act)
near = operation(id="near", version="1.0.0", placement="local")(act)
far.undo(retry=FAST)(back)
near.undo(retry=FAST)(back)


@saga(id="small", version="1.0.0")
def small(dag: Dag, params: EmptyInput) -> None:
    """One step."""
    dag.append("b", far, {})


def asks(id: str, *after: Any) -> Any:
    """Make a saga of a step, an approval, and what comes after that."""

    @saga(id=id, version="1.0.0")
    def flow(dag: Dag, params: EmptyInput) -> Step[Any] | None:
        """Ask."""
        dag.append("a", far, {})
        dag.approval("go")
        for op in after:
            if op is small:
                dag.flow("kid", small, {})
            else:
                dag.append("b", op, {})
        return None

    return flow


FLOWS = {
    "remote": asks("remote", far),
    "local": asks("local", near),
    "child": asks("child", small),
    "last": asks("last"),
}


class Told(Sequence[EmptyInput, None], id="told", version="1.0.0"):
    """a, and b once it is told so."""

    told = False

    async def run(self, input: EmptyInput) -> None:
        await self.execute(far, input, step="a")
        await workflow.wait_condition(lambda: self.told)
        await self.execute(far, input, step="b", force=True)

    @workflow.signal
    def tell(self) -> None:
        self.told = True


async def approved(handle: WorkflowHandle[Any, Any]) -> None:
    """Approve it once it waits; a worker without a cache may hear of it before that is so again."""
    await shows(handle, "go", "waiting for approval")
    while True:
        with contextlib.suppress(WorkflowUpdateFailedError):
            return await handle.execute_update("approve", {"name": "go"})
        await asyncio.sleep(0.05)


async def tasks_of(handle: WorkflowHandle[Any, Any]) -> list[int]:
    history = await handle.fetch_history()
    ended = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    return [event.event_id for event in history.events if event.event_type == ended]


async def refused_everywhere(client: Client, world: World, handle: WorkflowHandle[Any, Any]) -> None:
    """Reset a run to each of its tasks: each is refused, and calls nothing; so is the reset of a reset."""
    before, run = world.calls, client.get_workflow_handle(handle.id, run_id=handle.result_run_id)
    for event in await tasks_of(run):
        again = await reset(client, run, event)
        assert causes(await failure_of(again, 60))[0][0] == "ResetAfterUndo", event
        assert world.calls == before, event
    event = (await tasks_of(again))[-1]
    assert causes(await failure_of(await reset(client, again, event), 60))[0][0] == "ResetAfterUndo"
    assert world.calls == before


@pytest.mark.parametrize("what", FLOWS)
async def test_an_approval_that_comes_again(
    serve: Serve, world: World, task_queue: str, cache: int, what: str
) -> None:
    """What comes after it is a step, a local one, a child, or the end: the reset run ends before any of that."""
    flow = FLOWS[what]
    async with serve(far, near, small, flow, cache=cache) as client:
        handle = await start(client, flow, EmptyInput(), id=new_id(), task_queue=task_queue)
        await approved(handle)
        await handle.result()
        await undo(client, task_queue, handle)
        await refused_everywhere(client, world, handle)


async def test_a_signal_that_comes_again(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """The same of a signal of the author's, in a run that unwound itself."""
    world.switch("fail-b")
    async with serve(far, near, Told, cache=cache) as client:
        handle = await start(client, Told, EmptyInput(), id=new_id(), task_queue=task_queue)
        await handle.signal("tell")
        await failure_of(handle, 60)
        assert world.calls == ["a", "b", "undo a"]
        await refused_everywhere(client, world, handle)


async def test_one_that_undid_nothing_goes_on(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """Where nothing was undone, the decision counts again, and what comes after it is done once in each run."""
    flow = FLOWS["remote"]
    async with serve(far, near, small, flow, cache=cache) as client:
        handle = await start(client, flow, EmptyInput(), id=new_id(), task_queue=task_queue)
        await approved(handle)
        await handle.result()
        run = client.get_workflow_handle(handle.id, run_id=handle.result_run_id)
        for event in (await tasks_of(run))[2:-1]:
            again = await reset(client, run, event)
            assert await again.result() is None
            assert "WORKFLOW_TASK_FAILED" in await events_of(again)
    assert world.calls[:2] == ["a", "b"] and set(world.calls) == {"a", "b"}


@pytest.mark.parametrize("type", ["remote@1.0.0", "remote@^1", "remote"])
async def test_what_comes_again_before_the_plan_is_known(
    serve: Serve, world: World, task_queue: str, cache: int, type: str
) -> None:
    """Reset to its first task, a saga is told of an approval before it has a plan: it counts."""
    async with serve(far, FLOWS["remote"], cache=cache) as client:
        handle: WorkflowHandle[Any, Any] = await client.start_workflow(
            type, EmptyInput(), id=new_id(), task_queue=task_queue
        )
        await approved(handle)
        await handle.result()
        again = await reset(client, handle, (await tasks_of(handle))[0])
        await again.result()
    assert world.calls == ["a", "b"] * 2


@pytest.mark.parametrize("type", ["remote@1.0.0", "remote"])
async def test_a_pause_that_comes_again(
    serve: Serve, world: World, task_queue: str, cache: int, type: str
) -> None:
    """Reset to its first task, a paused saga is paused: nothing is called until it is told to go on."""
    async with serve(far, FLOWS["remote"], cache=cache) as client:
        handle: WorkflowHandle[Any, Any] = await client.start_workflow(
            type, EmptyInput(), id=new_id(), task_queue=task_queue
        )
        await shows(handle, "go", "waiting for approval")
        await handle.execute_update("pause")
        again = await reset(client, handle, (await tasks_of(handle))[0])
        while (await again.query("status"))["state"] != "running, paused":
            await asyncio.sleep(0.05)
        assert world.calls == ["a"]
        await again.execute_update("unpause")
        await approved(again)
        await again.result()
    assert world.calls == ["a", "a", "b"]
