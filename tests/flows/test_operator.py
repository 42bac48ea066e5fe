"""What an operator does to a run, through the Temporal CLI."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowExecutionStatus,
    WorkflowHandle,
    WorkflowUpdateFailedError,
)
from temporalio.common import WorkflowIDConflictPolicy

from flows import Sequence
from tests.conftest import Serve
from tests.support import World, causes, events_of, failure_of, new_id

with workflow.unsafe.imports_passed_through():
    from tests.flows.operating import Run, completed, operate
    from tests.sample import a, b, c

__all__ = ["operate"]


class Gated(Sequence[int, str], id="gated", version="1.0.0"):
    """Double, ask, double."""

    async def run(self, input: int) -> str:
        first = await self.execute(a, input)
        decision = await self.approval("go-live")
        second = await self.execute(b, first.output)
        return f"{second.output}, approved by {decision.by}: {decision.reason}"


class Three(Sequence[int, int], id="three", version="1.0.0"):
    """Double three times."""

    async def run(self, input: int) -> int:
        first = await self.execute(a, input)
        second = await self.execute(b, first.output)
        return (await self.execute(c, second.output)).output


class Waits(Sequence[int, int], id="waits", version="1.0.0"):
    """Double, wait a little, double."""

    async def run(self, input: int) -> int:
        first = await self.execute(a, input)
        await self.wait(timedelta(milliseconds=300), name="soak")
        return (await self.execute(b, first.output)).output


async def test_approve(serve: Serve, operate: Run, cache: int) -> None:
    """Approve ends the approval, and the body gets who and why."""
    async with serve(a, b, Gated, cache=cache) as client:
        operator = await operate(client, Gated, 1)
        await operator.shows("waiting for approval", "go-live")
        assert await operator.update("approve", '{"name": "go-live", "by": "ann", "reason": "fine"}') == ""
        assert await operator.handle.result() == "4, approved by ann: fine"
        assert await operator.status() == {
            "flow": "gated@1.0.0",
            "state": "completed",
            "steps": {"a": "done", "go-live": "approved", "b": "done"},
        }


async def test_reject(serve: Serve, operate: Run, world: World, cache: int) -> None:
    """Reject fails the approval naming who and why, and the run unwinds."""
    async with serve(a, b, Gated, cache=cache) as client:
        operator = await operate(client, Gated, 1)
        await operator.shows("waiting for approval", "go-live")
        assert await operator.update("reject", '{"name": "go-live", "by": "bob", "reason": "too late"}') == ""
        why = "approval 'go-live' rejected by bob: too late"
        assert causes(await failure_of(operator.handle)) == [
            ("RolledBack", f"gated@1.0.0 rolled back: ApprovalRejected: {why}"),
            ("ApprovalRejected", why),
        ]
        assert (await operator.status())["steps"] == {"a": "undone", "go-live": "not approved"}
    assert world.calls == [("a", 1), ("undo a", 1, "done", 2)]


NOT_WAITING = "approval 'go' isn't waiting; waiting now: go-live"
NO_OBJECT = "the value doesn't fit: value: Input should be an object"
REFUSED = {
    ("approve", '{"name": "go"}'): NOT_WAITING,
    ("reject", '{"name": "go"}'): NOT_WAITING,
    ("approve",): "update approve: got no input, one is expected; give it with --input",
    ("edit",): "update edit: got no input, one is expected; give it with --input",
    ("skip",): "update skip: got no input, one is expected; give it with --input",
    ("skip", "{}", "{}"): "update skip: got 2 inputs, one is expected; give it with --input",
    ("retry",): "update retry: got no input, one is expected; give it with --input",
    ("stop", "{}", "{}"): "update stop: got 2 inputs, one is expected; give it with --input",
    ("approve", "3"): NO_OBJECT,
    ("approve", "{}"): "the value doesn't fit: name: Field required",
    (
        "approve",
        '{"name": "go-live", "who": "x"}',
    ): "the value doesn't fit: who: Extra inputs are not permitted",
    ("pause", "3"): NO_OBJECT,
    ("unpause", "3"): NO_OBJECT,
    ("stop", '{"by": 3}'): "the value doesn't fit: by: Input should be a valid string",
}


async def test_refused_updates_leave_no_event(serve: Serve, operate: Run) -> None:
    """Unknown approvals and malformed inputs are refused with what is wrong, and change no history."""
    async with serve(a, b, Gated) as client:
        operator = await operate(client, Gated, 1)
        await operator.shows("waiting for approval", "go-live")
        before = await events_of(operator.handle)
        refused = {update: await operator.update(*update) for update in REFUSED}
        start, end = "Error: unable to update workflow: ", " (type: InvalidInput, retryable: false)"
        assert refused == {update: f"{start}{message}{end}" for update, message in REFUSED.items()}
        known = "approve edit pause reject retry skip stop unpause unwind"
        assert f"known updates: [{known}]" in await operator.update("approove", "{}")
        assert await events_of(operator.handle) == before
        await operator.update("approve", '{"name": "go-live"}')
        assert await operator.handle.result() == "4, approved by None: None"


async def test_an_approval_is_decided_only_while_it_waits(serve: Serve, operate: Run, world: World) -> None:
    """Before it waits an approval is refused, saying that none does; after the run's end Temporal refuses."""
    world.switch("hold-a")
    approve = ("approve", '{"name": "go-live"}')
    async with serve(a, b, Gated) as client:
        operator = await operate(client, Gated, 1)
        await world.until("a", 1)
        assert "approval 'go-live' isn't waiting; waiting now: none (type" in await operator.update(*approve)
        world.switch("go-a")
        await operator.shows("waiting for approval", "go-live")
        assert await operator.update(*approve) == ""
        await operator.handle.result()
        assert "workflow execution already completed" in await operator.update(*approve)


async def test_pause_starts_no_step(serve: Serve, operate: Run, world: World, cache: int) -> None:
    """Paused in A: A goes on to its end, B starts only after unpause; the state says so."""
    world.switch("hold-a")
    async with serve(a, b, c, Three, cache=cache) as client:
        operator = await operate(client, Three, 1)
        await world.until("a", 1)
        assert await operator.update("pause", '{"by": "ann", "reason": "lunch"}') == ""
        world.switch("go-a")
        await operator.shows("done", "a")
        assert await operator.status() == {
            "flow": "three@1.0.0",
            "state": "running, paused",
            "steps": {"a": "done"},
        }
        assert world.calls == [("a", 1)]
        assert await operator.update("unpause") == ""
        assert await operator.handle.result() == 8
    assert world.calls == [("a", 1), ("b", 2), ("c", 4)]


Handle = WorkflowHandle[Any, Any]


async def start_with(
    client: Client, update: str, type: str, queue: str
) -> tuple[Handle, BaseException | None]:
    """Start a flow together with an update, in one request; give the run, and why the update was refused."""
    conflict = WorkflowIDConflictPolicy.FAIL
    run = WithStartWorkflowOperation(type, 1, id=new_id(), task_queue=queue, id_conflict_policy=conflict)
    try:
        await client.execute_update_with_start_workflow(update, start_workflow_operation=run)
        return await run.workflow_handle(), None
    except WorkflowUpdateFailedError as error:
        return await run.workflow_handle(), error.cause


async def test_a_pause_sent_with_the_start(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """A pause that comes before the first task holds back the first step."""
    async with serve(a, b, c, Three, cache=cache) as client:
        handle, _ = await start_with(client, "pause", "three@1.0.0", task_queue)
        assert (await handle.query("status"))["state"] == "running, paused"
        assert world.calls == []
        await handle.execute_update("unpause")
        assert await handle.result() == 8


async def test_a_stop_sent_with_the_start(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """A stop that comes before the first task: no step runs, and the run ends as stopped."""
    async with serve(a, b, c, Three, cache=cache) as client:
        handle, _ = await start_with(client, "stop", "three@1.0.0", task_queue)
        kinds = [kind for kind, _ in causes(await failure_of(handle))]
        assert kinds == ["RolledBack", "ExecutionStopped"]
    assert world.calls == []


async def test_a_run_that_isnt_resolved_yet_refuses_updates(
    serve: Serve, world: World, task_queue: str
) -> None:
    """Sent with a start by range, a pause is refused instead of lost; the run goes on."""
    async with serve(a, b, c, Three) as client:
        handle, refused = await start_with(client, "pause", "three@^1", task_queue)
        assert (
            getattr(refused, "message", "") == "which flow this is isn't resolved yet; ask again in a moment"
        )
        assert await client.get_workflow_handle(handle.id).result() == 8


async def test_timers_go_on_while_paused(serve: Serve, operate: Run, world: World) -> None:
    """A wait that ends while the run is paused has ended; only the step behind it waits for unpause."""
    async with serve(a, b, Waits) as client:
        operator = await operate(client, Waits, 1)
        await operator.shows("waiting", "soak")
        await operator.update("pause")
        await operator.shows("done", "soak")
        assert world.calls == [("a", 1)]
        await operator.update("unpause")
        assert await operator.handle.result() == 4


async def test_pause_starts_no_undo(serve: Serve, operate: Run, world: World, cache: int) -> None:
    """Paused in the undo of B: it goes on to its end, the undo of A starts only after unpause."""
    for switch in ("fail-c", "hold-undo-b"):
        world.switch(switch)
    async with serve(a, b, c, Three, cache=cache) as client:
        operator = await operate(client, Three, 1)
        await world.until("undo b", 2, "done", 4)
        assert await operator.update("pause") == ""
        world.switch("go-undo-b")
        await completed(operator, "b.undo")
        assert (await operator.status())["state"] == "unwinding, paused"
        assert world.calls[3:] == [("undo b", 2, "done", 4)]
        assert await operator.update("unpause") == ""
        assert causes(await failure_of(operator.handle))[0][0] == "RolledBack"
    assert world.calls[3:] == [("undo b", 2, "done", 4), ("undo a", 1, "done", 2)]


async def test_cancel_acts_while_paused(serve: Serve, operate: Run, world: World) -> None:
    """Cancelled while paused, the run unwinds at once: a pause holds back only what nobody has ended."""
    world.switch("hold-b")
    async with serve(a, b, c, Three) as client:
        operator = await operate(client, Three, 1)
        await world.until("b", 2)
        await operator.update("pause")
        await operator("cancel")
        await failure_of(operator.handle)
        assert (await operator.handle.describe()).status == WorkflowExecutionStatus.CANCELED
    assert world.calls[2:] == [("undo b", 2, "unknown", None), ("undo a", 1, "done", 2)]


async def test_stop_unwinds_and_names_who_and_why(
    serve: Serve, operate: Run, world: World, cache: int
) -> None:
    """Stop interrupts B, undoes B and A, ends RolledBack by ExecutionStopped; a second stop does nothing."""
    for switch in ("hold-b", "hold-undo-a"):
        world.switch(switch)
    async with serve(a, b, c, Three, cache=cache) as client:
        operator = await operate(client, Three, 1)
        await world.until("b", 2)
        assert await operator.update("stop", '{"by": "ann", "reason": "wrong release"}') == ""
        await world.until("undo a", 1, "done", 2)
        assert await operator.update("stop", '{"by": "bob"}') == ""
        world.switch("go-undo-a")
        stopped = "three@1.0.0 was stopped by ann: wrong release"
        assert causes(await failure_of(operator.handle)) == [
            ("RolledBack", f"three@1.0.0 rolled back: {stopped}"),
            ("ExecutionStopped", stopped),
        ]
        assert (await operator.status())["steps"] == {"a": "undone", "b": "undone"}
    assert world.calls[2:] == [("undo b", 2, "unknown", None), ("undo a", 1, "done", 2)]


async def test_cancel_undoes_everything_once(serve: Serve, operate: Run, world: World, cache: int) -> None:
    """`workflow cancel` ends CANCELED with all undone; a second and a third change nothing."""
    for switch in ("hold-b", "hold-undo-a"):
        world.switch(switch)
    async with serve(a, b, c, Three, cache=cache) as client:
        operator = await operate(client, Three, 1)
        await world.until("b", 2)
        await operator("cancel")
        await world.until("undo a", 1, "done", 2)
        await operator("cancel")
        world.switch("go-undo-a")
        assert causes(await failure_of(operator.handle)) == [("CancelledError", "Workflow cancelled")]
        await operator("cancel")
        assert (await operator.handle.describe()).status == WorkflowExecutionStatus.CANCELED
        assert (await operator.status())["state"] == "cancelled"
    assert world.calls[2:] == [("undo b", 2, "unknown", None), ("undo a", 1, "done", 2)]
