"""Small flows whose reports are looked at: waits, approvals, retries, subsagas, children."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from temporalio import workflow

from activities import EmptyInput
from flows import Dag, Policy, Sequence, Step, saga

with workflow.unsafe.imports_passed_through():
    from activities import Context, Outcome, operation
    from tests.sagas.operations import Given, Made
    from tests.sample import FAST, a, b, local_a
    from tests.support import World

SHORT = timedelta(milliseconds=20)


@operation(id="work", version="1.0.0")
async def work(ctx: Context[World], input: Given) -> Made:
    """Do as switches say: ``hold-STEP`` until ``go-STEP``, ``fail-STEP``. Only they end it, however slow a machine is."""
    world = ctx.deps
    world.record(ctx.step)
    if world.is_on(f"hold-{ctx.step}"):
        await world.wait(f"go-{ctx.step}")
    if world.is_on(f"fail-{ctx.step}"):
        raise RuntimeError(f"{ctx.step} down")
    return Made(id=input.number + sum(input.others), name=ctx.step)


@work.undo(retry=FAST)
async def undo_work(ctx: Context[World], input: Given, outcome: Outcome[Made]) -> None:
    world = ctx.deps
    world.record(f"undo {ctx.step}", str(outcome.status))
    if world.is_on(f"fail-undo-{ctx.step}"):
        raise RuntimeError(f"undo of {ctx.step} down")
    world.record(f"undone {ctx.step}")


@operation(id="third-time", version="1.0.0", retry=FAST)
async def third_time(ctx: Context[World], input: int) -> int:
    """Work on the third attempt."""
    return _third(ctx, input)


@operation(id="third-local", version="1.0.0", retry=FAST, placement="local")
async def third_local(ctx: Context[World], input: int) -> int:
    """Work on the third attempt, as a local step."""
    return _third(ctx, input)


def _third(ctx: Context[World], input: int) -> int:
    if ctx.deps.record(ctx.step, input) < 3:
        raise RuntimeError(f"not yet, {ctx.attempt}")
    return input


class Tries(Sequence[int, int], id="tries", version="1.0.0"):
    """The same, remote and local."""

    async def run(self, input: int) -> int:
        await self.execute(third_time, input)
        return (await self.execute(third_local, input)).output


class Waits(Sequence[int, int], id="waits", version="1.0.0"):
    """A step, a short wait, an approval with a timeout, one without, a step."""

    async def run(self, input: int) -> int:
        await self.execute(a, input)
        await self.wait(SHORT, name="soak")
        await self.approval("go-live", timeout=timedelta(days=2))
        await self.approval("really")
        return (await self.execute(b, input)).output


class Child(Sequence[int, int], id="child", version="1.0.0"):
    """A flow of its own."""

    async def run(self, input: int) -> int:
        return (await self.execute(local_a, input)).output


class Parent(Sequence[int, int], id="parent", version="1.0.0"):
    """A step, and a child workflow."""

    async def run(self, input: int) -> int:
        await self.execute(a, input)
        id = f"{workflow.info().workflow_id}-child"
        given: Any = input
        return int(await workflow.execute_child_workflow("child@1.0.0", given, id=id))


@saga(id="gated", version="1.0.0")
def gated(dag: Dag, params: EmptyInput) -> Step[Made]:
    """first, then a wait beside an approval, then a subsaga with an approval of its own, then last."""
    first = dag.append("first", work, {"number": 1})
    dag.wait("pause", SHORT, after=[first])
    dag.approval("go", after=[first])
    dag.subsaga("inner", inner, {"number": first.ref("id")})
    return dag.append("last", work, {})


@saga(id="inner", version="2.0.0")
def inner(dag: Dag, params: Given) -> Step[Made]:
    """Two steps, the second gives the result."""
    dag.append("x", work, {"number": params.number})
    return dag.append("y", work, {"number": params.number})


@saga(id="careful", version="1.0.0", policy=Policy(on_failure="hold", on_undo_failure="park"))
def careful(dag: Dag, params: EmptyInput) -> Step[Made]:
    """a, b and c in a line; failures wait for an operator."""
    dag.append("a", work, {"number": 1})
    dag.append("b", work, {"number": 2})
    return dag.append("c", work, {"number": 3})


@saga(id="plain", version="1.0.0")
def plain(dag: Dag, params: EmptyInput) -> Step[Made]:
    """a; b beside c, with a's output; d."""
    first = dag.append("a", work, {"number": 1})
    dag.append_parallel(dag.step("b", work, {"number": first.ref("id")}), dag.step("c", work, {}))
    return dag.append("d", work, {})


DEFINITIONS = (
    *(a, b, local_a, work, third_time, third_local),
    *(Tries, Waits, Child, Parent, gated, inner, careful, plain),
)
