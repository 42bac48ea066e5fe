"""A sequence runs its steps in order, fails as its policy says, and undoes what took effect."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

from temporalio import workflow

from flows import Policy, Sequence, start
from tests.conftest import Serve
from tests.support import World, causes, failure_of, new_id

with workflow.unsafe.imports_passed_through():
    from tests.sample import a, b, c


class Three(Sequence[int, int], id="three", version="1.0.0"):
    """Double three times."""

    async def run(self, input: int) -> int:
        first = await self.execute(a, input)
        second = await self.execute(b, first.output)
        return (await self.execute(c, second.output)).output


class ThreeKept(Sequence[int, int], id="three-kept", version="1.0.0", policy=Policy(on_failure="keep")):
    """Double three times, keep on failure."""

    async def run(self, input: int) -> int:
        first = await self.execute(a, input)
        second = await self.execute(b, first.output)
        return (await self.execute(c, second.output)).output


async def test_three_steps_run_in_order(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """A→B→C doubles 3 three times, each called once, in order."""
    async with serve(a, b, c, Three, cache=cache) as client:
        handle = await start(client, Three, 3, id=new_id(), task_queue=task_queue)
        assert await handle.result() == 24
    assert world.calls == [("a", 3), ("b", 6), ("c", 12)]


async def test_failure_unwinds_newest_first(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """C fails for good: B and A are undone with their outputs, C is not; the error names step and cause."""
    world.switch("fail-c")
    async with serve(a, b, c, Three, cache=cache) as client:
        handle = await start(client, Three, 3, id=new_id(), task_queue=task_queue)
        failure = await failure_of(handle)
    assert world.calls[3:] == [("undo b", 6, "done", 12), ("undo a", 3, "done", 6)]
    step = "step c (c@1.0.0) failed after 1 attempt: RuntimeError: c down"
    assert causes(failure) == [
        ("RolledBack", f"three@1.0.0 rolled back: {step}"),
        ("OperationFailed", step),
        ("RuntimeError", "c down"),
    ]


async def test_resume_goes_on_where_the_kept_run_failed(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """B fails and A is kept; resumed: B and C only; a third resumes and calls nothing."""
    world.switch("fail-b")
    async with serve(a, b, c, ThreeKept, cache=cache) as client:
        first = await start(client, ThreeKept, 3, id=new_id("first"), task_queue=task_queue)
        assert [kind for kind, _ in causes(await failure_of(first))] == [
            "Kept",
            "OperationFailed",
            "RuntimeError",
        ]
        assert world.calls == [("a", 3), ("b", 6)]
        world.switch("fail-b", on=False)
        second = await start(
            client, ThreeKept, 3, id=new_id("second"), task_queue=task_queue, memo={"resume_from": first.id}
        )
        assert await second.result() == 24
        assert world.calls[2:] == [("b", 6), ("c", 12)]
        third = await start(
            client, ThreeKept, 3, id=new_id("third"), task_queue=task_queue, memo={"resume_from": second.id}
        )
        assert await third.result() == 24
        assert world.calls[4:] == []


async def test_status_through_the_cli(
    serve: Serve, task_queue: str, temporal: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """The Temporal CLI starts the sequence by range and asks for its status."""
    async with serve(a, b, c, Three) as client:
        id = new_id("cli")
        import asyncio

        def cli() -> Any:
            temporal(
                "workflow", "execute", "--type", "three@^1", "--task-queue", task_queue, "-w", id, "-i", "3"
            )
            answer = temporal("workflow", "query", "-w", id, "--type", "status", "-o", "json")
            return json.loads(answer.stdout)

        answer = await asyncio.to_thread(cli)
        assert answer["queryResult"] == [
            {"flow": "three@1.0.0", "state": "completed", "steps": {"a": "done", "b": "done", "c": "done"}}
        ]
        assert client
