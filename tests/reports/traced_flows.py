"""Flows whose handlers make spans of their own, as an instrumented client does."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import workflow

from activities import EmptyInput
from flows import Dag, Policy, Sequence, no_undo, saga

with workflow.unsafe.imports_passed_through():
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from activities import Context, Outcome, operation
    from tests.support import World

MADE = InMemorySpanExporter()
"""What they made."""

_PROVIDER = TracerProvider()
_PROVIDER.add_span_processor(SimpleSpanProcessor(MADE))
TRACER = _PROVIDER.get_tracer("code inside operations")


@operation(id="calls", version="1.0.0")
async def calls(ctx: Context[World], input: int) -> int:
    """Make a span, as an instrumented client does."""
    with TRACER.start_as_current_span(f"call {ctx.step}"):
        await asyncio.sleep(0)
    return input


@calls.undo
async def uncall(ctx: Context[World], input: int, outcome: Outcome[int]) -> None:
    with TRACER.start_as_current_span(f"uncall {ctx.step}"):
        pass


@operation(id="calls-in-thread", version="1.0.0")
def calls_in_thread(ctx: Context[World], input: int) -> int:
    """The same in a thread."""
    with TRACER.start_as_current_span(f"call {ctx.step}"):
        return input


@calls_in_thread.undo
def uncall_in_thread(ctx: Context[World], input: int, outcome: Outcome[int]) -> None:
    with TRACER.start_as_current_span(f"uncall {ctx.step}"):
        pass


@operation(id="calls-locally", version="1.0.0", placement="local")
async def calls_locally(ctx: Context[World], input: int) -> int:
    """The same as a local step."""
    with TRACER.start_as_current_span(f"call {ctx.step}"):
        return input


@calls_locally.undo
async def uncall_locally(ctx: Context[World], input: int, outcome: Outcome[int]) -> None:
    with TRACER.start_as_current_span(f"uncall {ctx.step}"):
        pass


@operation(id="breaks", version="1.0.0")
async def breaks(ctx: Context[World], input: int) -> int:
    """Fail while a switch is on."""
    if ctx.deps.is_on("break"):
        raise RuntimeError("broken")
    return input


@operation(id="flaky", version="1.0.0")
async def flaky(ctx: Context[World], input: int) -> int:
    """Make a span; fail while a switch is on."""
    with TRACER.start_as_current_span(f"call {ctx.step}"):
        if ctx.deps.is_on("break"):
            raise RuntimeError("broken")
    return input


class Again(Sequence[int, int], id="again", version="1.0.0", policy=Policy(on_failure="keep")):
    """A step, and one that may fail and runs again in a run that goes on from this one."""

    async def run(self, input: int) -> int:
        await self.execute(calls, input)
        return (await self.execute(flaky, input)).output


class Inside(Sequence[int, int], id="inside", version="1.0.0"):
    """A flow that others have inside."""

    async def run(self, input: int) -> int:
        return (await self.execute(calls, input)).output


class Calling(Sequence[int, int], id="calling", version="1.0.0"):
    """Every kind of step, an inline flow, a child flow; then it may break."""

    async def run(self, input: int) -> int:
        await self.execute(calls, input)
        await self.execute(calls_in_thread, input)
        await self.execute(calls_locally, input)
        await self.execute(Inside, input + 1)
        await self.execute(Inside, input + 2, step="child", child=True)
        await self.wait(timedelta(milliseconds=20), name="soak")
        return (await self.execute(breaks, input)).output


class Many(Sequence[int, int], id="many", version="1.0.0"):
    """Seven steps, the last of them in a child flow."""

    async def run(self, input: int) -> int:
        for number in range(3):
            await self.execute(calls, number)
        await self.execute(Inside, 10)
        for number in range(3, 5):
            await self.execute(calls, number)
        await self.execute(Inside, 11, step="child", child=True)
        return (await self.execute(breaks, input)).output


@saga(id="line", version="1.0.0")
def line(dag: Dag, params: EmptyInput) -> None:
    """Nine steps in a line, in the last of them it may break."""
    for number in range(8):
        dag.append(f"s{number}", calls, number)
    dag.append("last", breaks, 1, undo=no_undo)


class Later(Sequence[int, int], id="later", version="1.0.0"):
    """A local and a remote step, and the same again a day later."""

    async def run(self, input: int) -> int:
        for number in (0, 10):
            await self.execute(calls_locally, number + 1)
            await self.execute(calls, number + 2)
            await self.wait(timedelta(days=1), name=f"a-day-{number}")
        return input


FLOWS = (calls, calls_in_thread, calls_locally, breaks, flaky, Again, Inside, Calling, Many)
