"""What could hang or kill a run ends it clearly, or is kept away from Temporal's limits (issue point 8)."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from datetime import timedelta

import pytest
from pydantic import BaseModel
from temporalio import workflow
from temporalio.client import WorkflowExecutionStatus
from temporalio.worker import Worker

from activities import Context, Registry, operation
from flows import CounterstepPlugin, OperationFailed, Sequence, start
from tests.conftest import Serve
from tests.sample import a, b, local_a
from tests.support import World, causes, events_of, eventually, failure_of, new_id

Cli = Callable[..., subprocess.CompletedProcess[str]]


class Text(BaseModel):
    """A text, by its length, and how many."""

    length: int
    count: int = 1


@operation(id="measure", version="1.0.0")
async def measure(ctx: Context[World], input: str) -> int:
    """Give the length."""
    ctx.deps.record("measure", len(input))
    return len(input)


@operation(id="shout", version="1.0.0")
async def shout(ctx: Context[World], input: int) -> int:
    """Fail with a long message and many causes."""
    error: Exception = RuntimeError("the root")
    for number in range(30):
        error, cause = ValueError(f"{number} " + "x" * input), error
        error.__cause__ = cause
    raise error


@operation(id="slow", version="1.0.0")
async def slow(ctx: Context[World], input: int) -> int:
    """Wait for the gate."""
    ctx.deps.record("slow", ctx.attempt, ctx.idempotency_key)
    await ctx.deps.wait("go-slow", 60)
    return input


class Parallel(Sequence[Text, int], id="parallel-texts", version="1.0.0"):
    """Send the same text many times at once."""

    async def run(self, input: Text) -> int:
        texts = [f"{i:02}" + "x" * (input.length - 2) for i in range(input.count)]
        reports = await self.gather(*(self.execute(measure, text) for text in texts))
        return sum(report.output for report in reports)


class Shout(Sequence[int, int], id="shouting", version="1.0.0"):
    """Fail with a long message."""

    async def run(self, input: int) -> int:
        return (await self.execute(shout, input)).output


class Bodies(Sequence[str, int], id="bodies", version="1.0.0"):
    """Do step a, then what the input says."""

    async def run(self, input: str) -> int:
        await self.execute(a, 1)
        if input == "bug":
            return {}["missing"]  # type: ignore[index]
        if input == "timeout":
            await asyncio.wait_for(asyncio.Event().wait(), 0.1)
        if input == "validation":
            Text.model_validate({"length": "secret-value"})
        if input == "group":
            async with asyncio.TaskGroup() as group:
                group.create_task(self.execute(b, 2))
                group.create_task(self.execute(b, 3))
        if input == "as new":
            workflow.continue_as_new("as new")
        return await self.misuse(input)

    async def misuse(self, input: str) -> int:
        for step in {"name twice": ["mine", "mine"], "bad name": ["no/slash"]}.get(input, []):
            await self.execute(a, 5, step=step, force=True)
        if input == "wrong input":
            await self.execute(a, "x")  # type: ignore[call-overload]
        return 0


class Many(Sequence[int, int], id="many", version="1.0.0"):
    """Run so many steps."""

    async def run(self, input: int) -> int:
        for number in range(input):
            await self.execute(a, number)
        return input


class Waits(Sequence[int, int], id="waits", version="1.0.0"):
    """One slow step, caught."""

    async def run(self, input: int) -> int:
        try:
            return (await self.execute(slow, input)).output
        except OperationFailed:
            return -1


class Mixed(Sequence[int, int], id="mixed", version="1.0.0"):
    """A local step and a remote one."""

    async def run(self, input: int) -> int:
        return (await self.execute(b, (await self.execute(local_a, input)).output)).output


DEFINITIONS = (a, b, local_a, measure, shout, slow, Parallel, Shout, Bodies, Many, Waits, Mixed)


async def test_fan_out_is_split_by_bytes(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """Twelve parallel inputs of 900 KB: the run isn't terminated, every one arrives once."""
    async with serve(*DEFINITIONS, cache=cache) as client:
        handle = await start(
            client, Parallel, Text(length=900_000, count=12), id=new_id(), task_queue=task_queue
        )
        assert await handle.result() == 12 * 900_000
    assert world.calls == [("measure", 900_000)] * 12


async def test_too_large_an_input_is_refused_before_it_is_scheduled(
    serve: Serve, world: World, task_queue: str
) -> None:
    """An input of 2.2 MB: InvalidInput, and no activity in the history."""
    async with serve(*DEFINITIONS) as client:
        handle = await start(client, Parallel, Text(length=2_200_000), id=new_id(), task_queue=task_queue)
        found = causes(await failure_of(handle))
        assert "ACTIVITY_TASK_SCHEDULED" not in await events_of(handle)
    assert found[1][0] == "InvalidInput"
    assert found[1][1].startswith("measure@1.0.0: the input has 2200002 bytes, 2031616 are allowed")


async def test_long_messages_and_many_causes_are_cut(serve: Serve, task_queue: str) -> None:
    """30 causes with messages of 100 KB: at most 8 KB each, 20 causes, and the root is among them."""
    async with serve(*DEFINITIONS) as client:
        handle = await start(client, Shout, 100_000, id=new_id(), task_queue=task_queue)
        found = causes(await failure_of(handle))
    assert found[-1] == ("RuntimeError", "the root")
    assert len(found) == 2 + 20
    assert max(len(message) for _, message in found) <= 8 * 1024 + 200


@pytest.mark.parametrize(
    ("what", "kind", "message"),
    [
        ("timeout", "TimeoutError", "TimeoutError"),
        (
            "validation",
            "ValidationError",
            "length: Input should be a valid integer, unable to parse string as an integer",
        ),
        ("name twice", "DefinitionError", "step name 'mine' is used twice; each needs its own"),
        (
            "bad name",
            "DefinitionError",
            "step name 'no/slash' must be letters, digits, '-' and '_', at most 100 of them",
        ),
        (
            "as new",
            "DefinitionError",
            "bodies@1.0.0 continued as new by itself, so nothing in it could be undone",
        ),
        (
            "wrong input",
            "InvalidInput",
            "a@1.0.0: input doesn't fit int: value: Input should be a valid integer, "
            "unable to parse string as an integer",
        ),
    ],
)
async def test_expected_errors_of_a_body_unwind(
    serve: Serve, world: World, task_queue: str, what: str, kind: str, message: str
) -> None:
    """Timeouts, validation errors and our own errors in a body fail and unwind the run."""
    async with serve(*DEFINITIONS) as client:
        handle = await start(client, Bodies, what, id=new_id(), task_queue=task_queue)
        found = causes(await failure_of(handle))
    assert found[0][0] == "RolledBack"
    assert found[1] == (kind, message)
    assert world.calls[-1] == ("undo a", 1, "done", 2)


async def test_a_group_of_failures_unwinds(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """asyncio.TaskGroup with failing steps: the run fails with the first failure, and is unwound."""
    world.switch("fail-b")
    async with serve(*DEFINITIONS, cache=cache) as client:
        handle = await start(client, Bodies, "group", id=new_id(), task_queue=task_queue)
        found = causes(await failure_of(handle))
    assert [kind for kind, _ in found] == ["RolledBack", "OperationFailed", "RuntimeError"]
    assert ("undo a", 1, "done", 2) in world.calls


async def test_a_bug_in_a_body_waits_for_fixed_code(serve: Serve, world: World, task_queue: str) -> None:
    """A KeyError in a body is a bug: the task is retried, nothing is undone, the run stays open."""
    async with serve(*DEFINITIONS) as client:
        handle = await start(client, Bodies, "bug", id=new_id(), task_queue=task_queue)
        while "WORKFLOW_TASK_FAILED" not in await events_of(handle):
            await asyncio.sleep(0.05)
        assert (await handle.describe()).status == WorkflowExecutionStatus.RUNNING
        await handle.terminate()
    assert world.calls == [("a", 1)]


async def test_history_limit_leaves_room_for_unwinding(
    serve: Serve, world: World, task_queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a limit of 100 events the run fails with HistoryLimit while its undos fit, and undoes all."""
    monkeypatch.setattr("flows._run.EVENT_LIMIT", 100)
    async with serve(*DEFINITIONS) as client:
        handle = await start(client, Many, 50, id=new_id(), task_queue=task_queue)
        found = causes(await failure_of(handle))
        events = await events_of(handle)
    assert [kind for kind, _ in found] == ["RolledBack", "HistoryLimit"]
    done = [call for call in world.calls if call[0] == "a"]
    assert [call for call in world.calls if call[0] == "undo a"] == [
        ("undo a", n, "done", 2 * n) for n in reversed(range(len(done)))
    ]
    assert len(done) == 7
    assert len(events) <= 100


class Patient(Sequence[int, None], id="limit-patient", version="1.0.0"):
    """a, then one wait after the other."""

    async def run(self, input: int) -> None:
        await self.execute(a, input)
        while True:
            await self.wait(timedelta(milliseconds=1))


async def test_waits_leave_room_for_unwinding(
    serve: Serve, world: World, task_queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body that only waits fails while its undo fits, too."""
    monkeypatch.setattr("flows._run.EVENT_LIMIT", 100)
    async with serve(*DEFINITIONS, Patient) as client:
        handle = await start(client, Patient, 1, id=new_id(), task_queue=task_queue)
        found = causes(await failure_of(handle))
        events = await events_of(handle)
    assert [kind for kind, _ in found] == ["RolledBack", "HistoryLimit"]
    assert world.calls == [("a", 1), ("undo a", 1, "done", 2)]
    assert len(events) <= 100


async def test_local_and_remote_steps_in_one_run(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """A local step costs one event, a remote one six; both are undone where they ran."""
    world.switch("fail-b")
    async with serve(*DEFINITIONS, cache=cache) as client:
        handle = await start(client, Mixed, 1, id=new_id(), task_queue=task_queue)
        await failure_of(handle)
        events = await events_of(handle)
    assert world.calls == [("local-a", 1), ("b", 2), ("undo local-a", 1, "done", 2)]
    assert events.count("MARKER_RECORDED") == 2
    assert events.count("ACTIVITY_TASK_SCHEDULED") == 1


async def test_activity_reset_is_a_loss(serve: Serve, world: World, task_queue: str, temporal: Cli) -> None:
    """`temporal activity reset` of a running step: it is dispatched again, same key; the run doesn't fail."""
    async with serve(*DEFINITIONS, heartbeat_timeout=timedelta(seconds=2)) as client:
        handle = await start(client, Waits, 7, id=new_id(), task_queue=task_queue)
        await eventually(lambda: len(world.calls) == 1)
        await asyncio.to_thread(temporal, "activity", "reset", "-w", handle.id, "-a", "slow")
        await eventually(lambda: len(world.calls) == 2, 60)
        world.switch("go-slow")
        assert await handle.result() == 7
    assert len({key for _, _, key in world.calls}) == 1


async def test_activity_pause_lets_the_attempt_end(
    serve: Serve, world: World, task_queue: str, temporal: Cli
) -> None:
    """`temporal activity pause` of a running step doesn't interrupt it: its result counts, once."""
    async with serve(*DEFINITIONS, heartbeat_timeout=timedelta(seconds=2)) as client:
        handle = await start(client, Waits, 7, id=new_id(), task_queue=task_queue)
        await eventually(lambda: len(world.calls) == 1)
        await asyncio.to_thread(temporal, "activity", "pause", "-w", handle.id, "-a", "slow")
        await asyncio.sleep(2)
        world.switch("go-slow")
        assert await handle.result() == 7
    assert len(world.calls) == 1


async def test_an_operation_that_a_worker_lacks_waits_for_one_that_has_it(
    serve: Serve, world: World, task_queue: str, dev_address: str
) -> None:
    """A deploy isn't a business failure: a worker without the operation gets its task first."""
    async with serve(*DEFINITIONS) as client:
        handle = await start(client, Waits, 7, id=new_id(), task_queue="waits-flows")
        without = CounterstepPlugin(Registry(Waits), deps=world)
        lacking = await type(client).connect(dev_address, plugins=[without])
        async with Worker(lacking, task_queue="waits-flows"):
            while "ACTIVITY_TASK_FAILED" not in await events_of(handle):
                await asyncio.sleep(0.05)
        world.switch("go-slow")
        async with Worker(client, task_queue="waits-flows"):
            assert await asyncio.wait_for(handle.result(), 60) == 7
    assert len(world.calls) == 1
