"""The author's own signal and update handlers: early ones wait, failing ones unwind, and late ones begin nothing."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from activities import CounterstepError, EmptyInput
from flows import Dag, LongRunning, Policy, Sequence, saga, start
from tests.conftest import Serve
from tests.sample import a, b, c
from tests.support import World, causes, events_of, failure_of, new_id


class Told(Sequence[int, int], id="told", version="1.0.0"):
    """a, then whatever it is told to."""

    sum = 0

    async def run(self, input: int) -> int:
        await self.execute(a, input)
        await workflow.wait_condition(lambda: self.sum > 100)
        return self.sum

    @workflow.signal
    async def do_b(self, input: int) -> None:
        output = (await self.execute(b, input)).output
        self.sum += output

    @workflow.signal
    def refuse(self, why: str) -> None:
        raise ApplicationError(why)

    @workflow.signal
    async def begin_again(self) -> None:
        workflow.continue_as_new(1)

    @workflow.update
    async def do_c(self, input: int) -> int:
        return (await self.execute(c, input)).output


class Keeps(Told, id="told-keeps", version="1.0.0", policy=Policy(on_failure="keep")):
    """The same; a failure keeps everything."""


class Counts(LongRunning[int, int, dict[str, int], dict[str, int]], id="counts", version="1.0.0"):
    """Two legs, between which it may be told something."""

    async def run(self, request: int) -> int:
        if self.resume_point == "":
            await self.execute(a, request)
            await self.wait(resume_point="second")
        await workflow.wait_condition(lambda: self.state.get("told", 0) > 0)
        return self.state["told"]

    @workflow.signal
    def tell(self, number: int) -> None:
        self.state = {"told": self.state.get("told", 0) + number}


async def began(serve_client: Any, world: World, flow: Any, task_queue: str) -> WorkflowHandle[Any, Any]:
    handle = await start(serve_client, flow, 1, id=new_id(), task_queue=task_queue)
    await world.until("a", 1)
    return handle


@pytest.mark.parametrize(
    ("signal", "args", "cause"),
    [
        ("refuse", ["no more"], ("ApplicationError", "no more")),
        ("do_b", [2], ("OperationFailed", "step b (b@1.0.0) failed after 1 attempt: RuntimeError: b down")),
        (
            "begin_again", [],
            ("DefinitionError", "told@1.0.0 continued as new by itself, so nothing in it could be undone"),
        ),
    ],
)  # fmt: skip
async def test_a_signal_that_fails_unwinds(
    serve: Serve,
    world: World,
    task_queue: str,
    cache: int,
    signal: str,
    args: list[Any],
    cause: tuple[str, str],
) -> None:
    """Section 4: as if the body had failed: what it did is undone, and the cause is told."""
    world.switch("fail-b")
    async with serve(a, b, c, Told, cache=cache) as client:
        handle = await began(client, world, Told, task_queue)
        await handle.signal(signal, args=args)
        told = causes(await failure_of(handle))
    assert [told[0][0], told[1][1]] == ["RolledBack", cause[1]]
    assert world.calls[-1] == ("undo a", 1, "done", 2)


async def test_a_signal_that_fails_keeps_where_the_policy_does(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """Section 5: `keep` leaves everything, whoever failed."""
    async with serve(a, b, c, Keeps, cache=cache) as client:
        handle = await began(client, world, Keeps, task_queue)
        await handle.signal("refuse", "no more")
        told = causes(await failure_of(handle))
    assert [kind for kind, _ in told] == ["Kept", "ApplicationError"]
    assert world.calls == [("a", 1)]


async def test_what_a_handler_did_is_undone(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """A handler's step is a step of the flow."""
    async with serve(a, b, c, Told, cache=cache) as client:
        handle = await began(client, world, Told, task_queue)
        assert await handle.execute_update("do_c", 5) == 10
        await handle.signal("refuse", "enough")
        assert causes(await failure_of(handle))[0][0] == "RolledBack"
    assert world.calls == [("a", 1), ("c", 5), ("undo c", 5, "done", 10), ("undo a", 1, "done", 2)]


async def test_a_handler_begins_nothing_while_it_unwinds(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """Nothing that is begun now would be undone: the update fails and the signal is dropped."""
    world.switch("hold-undo-a")
    async with serve(a, b, c, Told, cache=cache) as client:
        handle = await began(client, world, Told, task_queue)
        await handle.signal("refuse", "enough")
        await world.until("undo a", 1, "done", 2)
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await handle.execute_update("do_c", 5)
        await handle.signal("do_b", 5)
        world.switch("go-undo-a")
        assert causes(await failure_of(handle))[0][0] == "RolledBack"
    message = "the flow has ended or unwinds, so that no step can begin, or be undone by hand"
    assert causes(refused.value.cause)[0] == (CounterstepError.__name__, message)
    assert world.calls == [("a", 1), ("undo a", 1, "done", 2)]


@pytest.mark.parametrize("end", ["cancel", "refuse"])
async def test_what_a_handler_has_in_flight_ends_before_it_is_undone(
    serve: Serve, world: World, task_queue: str, cache: int, end: str
) -> None:
    """Section 5: steps in flight settle, then what took effect is undone; a cancel doesn't wait for them."""
    world.switch("hold-b")
    async with serve(a, b, c, Told, cache=cache) as client:
        handle = await began(client, world, Told, task_queue)
        await handle.signal("do_b", 7)
        await world.until("b", 7)
        await (handle.cancel() if end == "cancel" else handle.signal("refuse", "enough"))
        if end == "refuse":
            await asyncio.sleep(0.5)  # time for an undo that didn't wait
            assert len(world.calls) == 2
            world.switch("go-b")
        await failure_of(handle)
    undo_b = ("undo b", 7, "unknown", None) if end == "cancel" else ("undo b", 7, "done", 14)
    assert world.calls == [("a", 1), ("b", 7), undo_b, ("undo a", 1, "done", 2)]


async def test_a_signal_that_comes_first_waits_for_the_flow(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """Sent with the start, before the first task: the handler runs once the flow has begun."""
    async with serve(a, b, c, Counts, Told, cache=cache) as client:
        counts = await client.start_workflow(
            "counts@1.0.0", 1, id=new_id(), task_queue=task_queue, start_signal="tell", start_signal_args=[5]
        )
        told = await client.start_workflow(
            "told@1.0.0",
            1,
            id=new_id(),
            task_queue=task_queue,
            start_signal="refuse",
            start_signal_args=["no"],
        )
        assert await asyncio.wait_for(counts.result(), 60) == 5
        assert causes(await failure_of(told))[0][0] == "RolledBack"


class Beside(Sequence[int, None], id="beside", version="1.0.0"):
    """An inner flow beside a step that fails, awaited by asyncio alone."""

    async def run(self, input: int) -> None:
        await asyncio.gather(self.execute(Inner, input), self.execute(c, input))


@saga(id="inner-plan", version="1.0.0")
def inner_plan(dag: Dag, params: EmptyInput) -> None:
    """a, b, an approval, a."""
    for number, one in enumerate((a, b), start=1):
        dag.append(f"s{number}", one, number)
    dag.approval("never", timeout=timedelta(days=365))
    dag.append("s3", a, 3)


class BesideAPlan(Sequence[int, None], id="beside-a-plan", version="1.0.0"):
    """A saga inline beside a step that fails."""

    async def run(self, input: int) -> None:
        await asyncio.gather(self.execute(inner_plan, EmptyInput()), self.execute(c, input))


class Undoes(Sequence[int, None], id="undoes", version="1.0.0"):
    """a, which a handler may undo, then whatever it is told to."""

    async def run(self, input: int) -> None:
        self.report = await self.execute(a, input)
        await workflow.wait_condition(lambda: False)

    @workflow.signal
    async def undo_a(self) -> None:
        await self.undo(self.report)

    @workflow.signal
    def refuse(self) -> None:
        raise ApplicationError("enough")


class Ends(Sequence[int, None], id="ends", version="1.0.0"):
    """a; a handler's step may be in flight when it returns."""

    async def run(self, input: int) -> None:
        await self.execute(a, input)
        await workflow.wait_condition(lambda: self.begun)

    begun = False

    @workflow.signal
    async def do_b(self, input: int) -> None:
        self.begun = True
        await self.execute(b, input)


class Parent(Sequence[int, None], id="parent-of-ends", version="1.0.0"):
    """A child that ends while a handler of it is at work, then c."""

    async def run(self, input: int) -> None:
        await self.execute(Ends, input, child=True)
        await self.execute(c, input)


class Inner(Sequence[int, None], id="inner", version="1.0.0"):
    """a, b, a."""

    async def run(self, input: int) -> None:
        for number, one in enumerate((a, b, a)):
            await self.execute(one, input + number)


async def test_an_inner_flow_that_nobody_awaits_is_unwound(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """Its step in flight settles, it begins no other, and all of it is undone."""
    for switch in ("hold-b", "fail-c", "hold-c"):
        world.switch(switch)
    async with serve(a, b, c, Inner, Beside, cache=cache) as client:
        handle = await start(client, Beside, 1, id=new_id(), task_queue=task_queue)
        await world.until("b", 2)
        world.switch("go-c")
        await asyncio.sleep(0.5)
        world.switch("go-b")
        assert causes(await failure_of(handle))[0][0] == "RolledBack"
    calls = [call for call in world.calls if call != ("c", 1)]
    assert calls == [("a", 1), ("b", 2), ("undo b", 2, "done", 4), ("undo a", 1, "done", 2)]


async def test_an_inline_saga_that_nobody_awaits_begins_no_other_step(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """Its step in flight settles, what comes after it never begins, not even the wait for an operator."""
    for switch in ("hold-b", "fail-c", "hold-c"):
        world.switch(switch)
    async with serve(a, b, c, inner_plan, BesideAPlan, cache=cache) as client:
        handle = await start(client, BesideAPlan, 1, id=new_id(), task_queue=task_queue)
        await world.until("b", 2)
        world.switch("go-c")
        await world.until("c", 1)
        await asyncio.sleep(0.5)
        world.switch("go-b")
        assert causes(await failure_of(handle))[0][0] == "RolledBack"
    calls = [call for call in world.calls if call != ("c", 1)]
    assert calls == [("a", 1), ("b", 2), ("undo b", 2, "done", 4), ("undo a", 1, "done", 2)]


async def test_what_a_handler_undoes_is_undone_once(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """A failure while it is being undone by hand waits for that."""
    world.switch("hold-undo-a")
    async with serve(a, b, c, Undoes, cache=cache) as client:
        handle = await began(client, world, Undoes, task_queue)
        while "ACTIVITY_TASK_COMPLETED" not in await events_of(handle):
            await asyncio.sleep(0.02)
        await handle.signal("undo_a")
        await world.until("undo a", 1, "done", 2)
        await handle.signal("refuse")
        await asyncio.sleep(0.3)
        world.switch("go-undo-a")
        assert causes(await failure_of(handle))[0][0] == "RolledBack"
    assert world.calls == [("a", 1), ("undo a", 1, "done", 2)]


async def test_a_flow_ends_after_what_its_handlers_have_in_flight(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """A child's too: its parent undoes it in its place."""
    world.switch("hold-b")
    world.switch("fail-c")
    async with serve(a, b, c, Ends, Parent, cache=cache) as client:
        handle = await began(client, world, Parent, task_queue)
        child = client.get_workflow_handle(f"{handle.id}/ends")
        await child.signal("do_b", 2)
        await world.until("b", 2)
        await asyncio.sleep(0.3)
        world.switch("go-b")
        assert causes(await failure_of(handle))[0][0] == "RolledBack"
    assert world.calls == [
        ("a", 1), ("b", 2), ("c", 1), ("undo b", 2, "done", 4), ("undo a", 1, "done", 2),
    ]  # fmt: skip
