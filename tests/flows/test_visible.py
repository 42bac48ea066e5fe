"""What a run shows of itself, with the Temporal CLI alone: memo, status, ids and summaries."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pydantic_core
import pytest
from temporalio import workflow
from temporalio.client import WorkflowHandle

from activities import Context, Outcome, Retry, operation
from flows import Policy, Sequence
from tests.conftest import Serve
from tests.support import World, causes, failure_of

with workflow.unsafe.imports_passed_through():
    from tests.flows.operating import Operator, Run, operate
    from tests.sample import a, b, c

__all__ = ["operate"]


class Three(Sequence[int, int], id="three", version="1.0.0"):
    """Double three times."""

    async def run(self, input: int) -> int:
        first = await self.execute(a, input)
        second = await self.execute(b, first.output)
        return (await self.execute(c, second.output)).output


class ThreeKept(Three, id="three-kept", version="1.0.0", policy=Policy(on_failure="keep")):
    """Double three times, keep on failure."""


@operation(id="shown", version="1.0.0")
async def shown(ctx: Context[World], input: int) -> int:
    """Do something that has a description."""
    return input


@shown.undo
async def unshow(ctx: Context[World], input: int, outcome: Outcome[int]) -> None:
    """Undo it."""


@operation(id="shown-local", version="1.0.0", placement="local")
async def shown_local(ctx: Context[World], input: int) -> int:
    """Do it locally."""
    return input


class Inner(Sequence[int, int], id="inner", version="1.0.0"):
    """Do one thing."""

    async def run(self, input: int) -> int:
        return (await self.execute(shown, input, force=True)).output


class Everything(Sequence[int, int], id="everything", version="1.0.0"):
    """Use each kind of step, then fail."""

    async def run(self, input: int) -> int:
        await self.execute(shown, input, step="first")
        await self.execute_n(shown, input, series="n", n=2)
        await self.execute(shown_local, input)
        await self.wait(timedelta(milliseconds=10), name="soak")
        await self.gather(self.execute(shown, 7), self.execute(shown, 8))
        await self.execute(Inner, input, step="inside")
        return (await self.execute(b, input)).output


class Asks(Sequence[int, int], id="asks", version="1.0.0"):
    """Wait for an approval that nobody gives."""

    async def run(self, input: int) -> int:
        await self.execute(a, input)
        await self.approval("go-live", timeout=timedelta(milliseconds=200))
        return 0


@operation(id="verbose", version="1.0.0")
async def verbose(ctx: Context[World], input: int) -> int:
    """Succeed, but the undo fails with a message that JSON makes longer."""
    return input


@verbose.undo(retry=Retry(max_attempts=1))
async def not_undone(ctx: Context[World], input: int, outcome: Outcome[int]) -> None:
    raise RuntimeError('\x00"ü' * 10_000)


class Verbose(Sequence[int, int], id="verbose-flow", version="1.0.0"):
    """Do sixty things that can't be undone, then fail."""

    async def run(self, input: int) -> int:
        for number in range(60):
            await self.execute(verbose, number, step=f"a-rather-long-name-for-step-{number}")
        return (await self.execute(b, 1)).output


async def memo_of(operator: Operator) -> Any:
    """Read the memo as the CLI's ``describe`` shows it."""
    described = json.loads((await operator("describe", "-o", "json")).stdout)
    fields = described["workflowExecutionInfo"].get("memo", {}).get("fields", {})
    return dict(fields)


async def test_a_plain_success_leaves_no_memo(serve: Serve, operate: Run) -> None:
    """Completed: no memo, no event for it, and the status lists each step as done."""
    async with serve(a, b, c, Three) as client:
        operator = await operate(client, Three, 1)
        assert await operator.handle.result() == 8
        assert await memo_of(operator) == {}
        assert (await operator.status())["state"] == "completed"


ENDS: dict[str, tuple[Any, list[str], dict[str, str], dict[str, str]]] = {
    "rolled_back": (
        Three,
        ["fail-c"],
        {"reason": "OperationFailed: step c (c@1.0.0) failed after 1 attempt: RuntimeError: c down"},
        {"a": "undone", "b": "undone", "c": "failed"},
    ),
    "kept": (
        ThreeKept,
        ["fail-c"],
        {"reason": "OperationFailed: step c (c@1.0.0) failed after 1 attempt: RuntimeError: c down"},
        {"a": "done", "b": "done", "c": "failed"},
    ),
    "stuck": (
        Three,
        ["fail-c", "fail-undo-b"],
        {
            "reason": "three@1.0.0 is stuck: step c (c@1.0.0) failed after 1 attempt: "
            "RuntimeError: c down\nnot undone: b (b@1.0.0): RuntimeError: undo of b down",
            "not_undone": "b",
        },
        {"a": "undone", "b": "not undone", "c": "failed"},
    ),
}


@pytest.mark.parametrize("end", ENDS)
async def test_an_unwound_run_says_so_in_its_memo(serve: Serve, operate: Run, world: World, end: str) -> None:
    """The memo has state, reason and what is not undone; the status shows each step as it stands."""
    flow, switches, memo, steps = ENDS[end]
    for switch in switches:
        world.switch(switch)
    async with serve(a, b, c, Three, ThreeKept) as client:
        operator = await operate(client, flow, 1)
        await failure_of(operator.handle)
        assert await memo_of(operator) == {"counterstep": {"state": end, **memo}}
        assert await operator.status() == {"flow": str(flow.definition), "state": end, "steps": steps}
        text = (await operator("describe")).stdout
        assert f'"state":"{end}"' in text.replace(" ", "").replace("\\", "")


async def test_a_cancelled_run_says_so_in_its_memo(serve: Serve, operate: Run, world: World) -> None:
    """The memo of a cancelled run says that everything is undone."""
    world.switch("hold-b")
    async with serve(a, b, c, Three) as client:
        operator = await operate(client, Three, 1)
        await world.until("b", 2)
        await operator("cancel")
        await failure_of(operator.handle)
        assert await memo_of(operator) == {
            "counterstep": {"state": "cancelled", "reason": "everything undone"}
        }


async def test_a_refused_run_answers_queries(
    serve: Serve, operate: Run, temporal: Any, task_queue: str
) -> None:
    """Bad input, or none: the status is `refused`, without steps and without a memo."""
    async with serve(a, b, c, Three) as client:
        for input in ("no number", None):
            operator = await operate(client, "three@1.0.0", input)
            await failure_of(operator.handle)
            assert await operator.status() == {"flow": "three@1.0.0", "state": "refused", "steps": {}}
            assert await memo_of(operator) == {}
        id = f"{operator.handle.id}-none"
        temporal("workflow", "start", "--type", "three@1.0.0", "--task-queue", task_queue, "-w", id)
        operator = Operator(temporal, client.get_workflow_handle(id))
        await failure_of(operator.handle)
        assert await operator.status() == {"flow": "three@1.0.0", "state": "refused", "steps": {}}


async def test_a_memo_has_at_most_two_kilobytes(serve: Serve, operate: Run, world: World) -> None:
    """Sixty steps that are not undone, messages that JSON makes longer: 2 KB, and the failure names each."""
    world.switch("fail-b")
    async with serve(verbose, b, Verbose) as client:
        operator = await operate(client, Verbose, 1)
        kind, message = causes(await failure_of(operator.handle))[0]
        lines = message.splitlines()
        assert (kind, len(lines)) == ("Stuck", 61)
        assert lines[1].startswith(
            "not undone: a-rather-long-name-for-step-59 (verbose@1.0.0): RuntimeError: "
        )
        assert max(len(line.encode()) for line in lines[1:]) <= 150
        memo = (await memo_of(operator))["counterstep"]
        assert len(pydantic_core.to_json(memo)) <= 2048
        assert memo["state"] == "stuck"
        assert memo["not_undone"].startswith("a-rather-long-name-for-step-59, a-rather-long-name-for-step-58")
        assert memo["not_undone"].endswith(" [cut]")


async def scheduled(handle: WorkflowHandle[Any, Any]) -> list[tuple[str, str]]:
    """Give id and summary of each activity, and the summary of each timer, in order."""
    found = []
    async for event in handle.fetch_history_events():
        summary = json.loads(event.user_metadata.summary.data or b'""')
        if event.HasField("activity_task_scheduled_event_attributes"):
            found.append((event.activity_task_scheduled_event_attributes.activity_id, summary))
        elif event.HasField("timer_started_event_attributes"):
            found.append(("timer", summary))
        elif event.HasField("marker_recorded_event_attributes"):
            found.append(("marker", summary))
    return found


async def test_ids_and_summaries_are_readable(serve: Serve, operate: Run, world: World) -> None:
    """Activities have the steps' names, undos end in `.undo`, timers are named, and each has a summary."""
    world.switch("fail-b")
    async with serve(shown, shown_local, b, Inner, Everything) as client:
        operator = await operate(client, Everything, 1)
        await failure_of(operator.handle)
        events = await scheduled(operator.handle)
    names = ["first", "n.0", "n.1", "shown", "shown.2", "inside/shown"]
    told = "Do something that has a description."
    steps = [(name, told if name == "shown" else f"{name}: {told}") for name in names]
    undos = [(f"{name}.undo", f"undo {name} (shown@1.0.0)") for name in reversed(names)]
    assert events == [
        *steps[:3],
        ("marker", "Do it locally."),
        ("timer", "soak"),
        *steps[3:],
        ("b", ""),
        *undos,
    ]


async def test_an_approval_timer_is_named(serve: Serve, operate: Run, world: World) -> None:
    """The timer of an approval names it, and so does the failure when nobody decides."""
    async with serve(a, Asks) as client:
        operator = await operate(client, Asks, 1)
        late = "approval 'go-live': nobody decided within 0:00:00.200000"
        assert causes(await failure_of(operator.handle)) == [
            ("RolledBack", f"asks@1.0.0 rolled back: ApprovalTimedOut: {late}"),
            ("ApprovalTimedOut", late),
        ]
        assert ("timer", "approval go-live") in await scheduled(operator.handle)
        assert (await operator.status())["steps"] == {"a": "undone", "go-live": "not approved"}
    assert world.calls == [("a", 1), ("undo a", 1, "done", 2)]
