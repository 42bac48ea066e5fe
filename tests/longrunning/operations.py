"""Long-running operations that tests share."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from pydantic import BaseModel
from temporalio import workflow

from activities import Context, DefinitionError, EmptyInput, Outcome, operation
from flows import Dag, LongRunning, Policy, Sequence, Stuck, no_undo, saga

with workflow.unsafe.imports_passed_through():
    from tests.sample import FAST, a, b, c
    from tests.support import World

HOUR = timedelta(hours=1)


class Places(BaseModel):
    """The state: where a run has been."""

    been: list[str] = []


class Progress(BaseModel):
    percent: int = 0


class Wide(Progress):
    text: str = ""


class Journey(LongRunning[int, list[str], Places, Progress], id="journey", version="1.0.0"):
    """One step in each of four legs."""

    async def run(self, input: int) -> list[str]:
        if self.resume_point == "":
            await self._visit("start", 10)
            await self.wait(resume_point="x")
        if self.resume_point == "x":
            await self._visit("x", 40)
            await self.wait(HOUR, resume_point="y")
        if self.resume_point == "y":
            await self._visit("y", 70)
            await self.wait(resume_point="z")
        await self.execute(b, input)
        await self._visit("z", 100)
        return self.state.been

    async def _visit(self, place: str, percent: int) -> None:
        await self.execute(a, len(self.state.been))
        self.state.been.append(place)
        self.metadata = Progress(percent=percent)


class Many(LongRunning[int, int, int, None], id="many", version="1.0.0"):
    """Resume as often as it is asked."""

    async def run(self, input: int) -> int:
        if self.state < input:
            self.state += 1
            await self.wait(resume_point="again")
        return self.state


@operation(id="keyed", version="1.0.0")
async def keyed(ctx: Context[World], input: str) -> None:
    """Record the step and its key."""
    ctx.deps.record(ctx.step, ctx.idempotency_key)
    if ctx.deps.is_on(f"fail-{input}"):
        raise RuntimeError(f"{input} is down")


@keyed.undo(retry=FAST)
async def undo_keyed(ctx: Context[World], input: str, outcome: Outcome[None]) -> None:
    ctx.deps.record(f"undo {ctx.step}", ctx.idempotency_key)
    if ctx.deps.is_on(f"fail-undo-{input}"):
        raise RuntimeError(f"undo of {input} is down")


class Legs(LongRunning[int, str, int, None], id="legs", version="1.0.0"):
    """The same step in each leg, with its own input; the last one waits for its end."""

    async def run(self, input: int) -> str:
        await self.execute(keyed, f"leg-{self.state}", step="same")
        self.state += 1
        if self.state < input:
            await self.wait(resume_point=f"p{self.state}")
        await self.wait(HOUR, name="long")
        return "over"


class Forgiving(LongRunning[int, int, None, None], id="forgiving", version="1.0.0"):
    """Go on after an undo that failed; the second leg is another step."""

    async def run(self, input: int) -> int:
        if self.resume_point == "":
            with contextlib.suppress(Stuck):
                await self.undo(await self.execute(a, input))
            await self.wait(resume_point="second")
        return (await self.execute(b, input)).output


class Parent(Sequence[int, str], id="parent", version="1.0.0"):
    """A long-running child of some legs, then a step."""

    async def run(self, input: int) -> str:
        child = await self.execute(Short, input, child=True)
        await self.execute(keyed, "after", step="after")
        return child.output


class Short(LongRunning[int, str, int, None], id="short", version="1.0.0"):
    """The same step in each leg."""

    async def run(self, input: int) -> str:
        await self.execute(keyed, f"leg-{self.state}", step="same")
        self.state += 1
        if self.state < input:
            await self.wait(resume_point=f"p{self.state}")
        return "over"


class Kid(Sequence[str, None], id="kid", version="1.0.0"):
    """One step, as a child."""

    async def run(self, input: str) -> None:
        await self.execute(keyed, input, step="x")


class Families(LongRunning[int, int, int, None], id="families", version="1.0.0"):
    """The same child in each leg, with its own input; then a step."""

    async def run(self, input: int) -> int:
        await self.execute(Kid, f"leg-{self.state}", child=True)
        self.state += 1
        if self.state < input:
            await self.wait(resume_point=f"p{self.state}")
        await self.execute(keyed, "last", step="last")
        return self.state


class Around(Sequence[int, None], id="around", version="1.0.0"):
    """Children of a long-running child, then a step."""

    async def run(self, input: int) -> None:
        await self.execute(Families, input, child=True)
        await self.execute(keyed, "after", step="after")


class Waits(Sequence[int, str], id="waits", version="1.0.0"):
    """A child of some legs, of which the last one waits."""

    async def run(self, input: int) -> str:
        return (await self.execute(Legs, input, child=True)).output


class Held(LongRunning[int, int, int, None], id="held", version="1.0.0", policy=Policy(on_failure="hold")):
    """A step in each of two legs; a failure waits for an operator."""

    async def run(self, input: int) -> int:
        if self.resume_point == "":
            self.state = (await self.execute(a, input)).output
            await self.wait(resume_point="second")
        return (await self.execute(b, self.state)).output


class Sets(LongRunning[list[int], None, None, Progress], id="sets", version="1.0.0"):
    """Set the metadata to each number in turn; then try once more, after the end."""

    def __init__(self) -> None:
        self.late = "not tried"

    @workflow.query
    def seen(self) -> str:
        """Tell what the late try came to."""
        return self.late

    async def run(self, input: list[int]) -> None:
        for percent in input:
            self.metadata = Progress(percent=percent)
            await self.approval(f"after-{percent}")
        self.task = asyncio.create_task(self._try_late())

    async def _try_late(self) -> None:
        while True:
            await asyncio.sleep(0)
            try:
                self.metadata = self.metadata
            except DefinitionError as error:
                self.late = error.message
                return


class Wordy(LongRunning[list[int], None, None, Wide], id="wordy", version="1.0.0"):
    """Set metadata that is too large."""

    async def run(self, input: list[int]) -> None:
        self.metadata = Wide(text="x" * 20_000)


class Timely(
    LongRunning[EmptyInput, None, None, None], id="timely", version="1.0.0",
    policy=Policy(deadline=HOUR * 1.5),
):  # fmt: skip
    """A step and an hour in each leg, for ever; but it has an hour and a half."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(a, 1)
        await self.wait(HOUR, resume_point="more")


class LegsChanged(LongRunning[int, str, dict[str, int], None], id="legs", version="1.0.0"):
    """`Legs`, whose state was changed without a new version."""

    async def run(self, input: int) -> str:
        return "never"


class Heavy(LongRunning[EmptyInput, None, str, None], id="heavy", version="1.0.0"):
    """Leave a state that is too large."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(a, 1)
        self.state = workflow.random().randbytes(1_500_000).hex()
        await self.wait(resume_point="never")


class Polite(LongRunning[EmptyInput, int, int, None], id="polite", version="1.0.0"):
    """End a leg while a handler is at work, which changes the state."""

    @workflow.update
    async def linger(self) -> int:
        """Take a second, then count."""
        await workflow.sleep(1)
        self.state += 1
        return self.state

    async def run(self, input: EmptyInput) -> int:
        if self.resume_point == "":
            await self.approval("go")
            await self.wait(resume_point="then")
        return self.state


class Kinder(LongRunning[EmptyInput, list[str], None, Progress], id="kinder", version="1.0.0"):
    """Try what a leg may not do, and give the refusals."""

    @workflow.update
    async def leave(self) -> str:
        """Try to end the leg from a handler."""
        try:
            await self.wait(resume_point="out")
        except DefinitionError as error:
            return error.message
        return "it ended the leg"

    async def run(self, input: EmptyInput) -> list[str]:
        found = []
        calls: list[Callable[[], Awaitable[Any]]] = [
            lambda: self.wait(resume_point="no name!"),
            lambda: self.gather(self.wait(HOUR / 3600, name="side"), self.wait(resume_point="beside")),
            lambda: self.execute(Many, 3),
        ]
        for call in calls:
            try:
                await call()
            except DefinitionError as error:
                found.append(error.message)
        await self.approval("go")
        return found


@operation(id="gated", version="1.0.0")
async def gated(ctx: Context[World], input: EmptyInput) -> None:
    """Wait for the test."""
    await ctx.deps.wait("gate")


class Plain(Sequence[EmptyInput, None], id="plain", version="1.0.0"):
    """Two steps, the second of which waits for the test."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(a, 1)
        await self.execute(gated, input)


@saga(id="two", version="1.0.0")
def two(dag: Dag, params: EmptyInput) -> None:
    """A constant, a step, and one that waits for the test."""
    dag.constant("one", 1)
    dag.append("a", a, 1)
    dag.append("gated", gated, {}, undo=no_undo)


__all__ = ["FAST", "HOUR", "a", "b", "c"]
