"""Flows whose histories are kept in this folder, one for each way to end. Never change one: add another."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel
from temporalio import workflow

from activities import EmptyInput
from flows import Dag, LongRunning, Policy, Sequence, Step, saga

with workflow.unsafe.imports_passed_through():
    from tests.sagas.operations import Made, work
    from tests.sample import FAST, a, b, c, local_a


class Recorded(Sequence[int, int], id="recorded", version="1.0.0"):
    """A local step, a remote one, an inline flow, two at once."""

    async def run(self, input: int) -> int:
        first = await self.execute(local_a, input)
        second = await self.execute(a, first.output)
        both = await self.gather(self.execute(b, second.output), self.execute(b, second.output + 1))
        return (await self.execute(RecordedInner, both[0].output)).output


class RecordedInner(Sequence[int, int], id="recorded-inner", version="1.0.0"):
    """One step."""

    async def run(self, input: int) -> int:
        return (await self.execute(c, input)).output


class RecordedKept(Sequence[int, int], id="recorded-kept", version="1.0.0", policy=Policy(on_failure="keep")):
    """Two steps, kept on failure."""

    async def run(self, input: int) -> int:
        first = await self.execute(a, input)
        return (await self.execute(c, first.output)).output


@saga(id="recorded-saga", version="1.0.0")
def recorded_saga(dag: Dag, params: EmptyInput) -> Step[Made]:
    """a, then b beside c, then d."""
    first = dag.append("a", work, {"number": 1})
    dag.append_parallel(dag.step("b", work, {"number": first.ref("id")}), dag.step("c", work, {}))
    return dag.append("d", work, {})


@saga(id="recorded-holding", version="1.0.0", policy=Policy(on_failure="hold"))
def recorded_holding(dag: Dag, params: EmptyInput) -> Step[Made]:
    """The same, held on failure."""
    return recorded_saga.builder(dag, params)  # type: ignore[return-value]


class Stations(BaseModel):
    """The state of a long-running operation."""

    been: list[str] = []


class Percent(BaseModel):
    """The metadata of a long-running operation."""

    percent: int = 0


class RecordedLegs(LongRunning[int, list[str], Stations, Percent], id="recorded-legs", version="1.0.0"):
    """A step and a wait, then, as new, two steps."""

    async def run(self, input: int) -> list[str]:
        if self.resume_point == "":
            await self.execute(a, input)
            self.state.been.append("start")
            self.metadata = Percent(percent=50)
            await self.wait(timedelta(milliseconds=50), resume_point="half")
        await self.execute(b, input)
        await self.execute(c, input)
        self.state.been.append(self.resume_point)
        return self.state.been


class RecordedAround(Sequence[int, int], id="recorded-around", version="1.0.0"):
    """A step, the saga inline, a step."""

    async def run(self, input: int) -> int:
        first = await self.execute(a, input)
        made = await self.execute(recorded_saga, EmptyInput(), step="stack")
        return (await self.execute(c, first.output + made.output.id)).output


@saga(id="recorded-keeping", version="1.0.0", policy=Policy(on_failure="keep"))
def recorded_keeping(dag: Dag, params: EmptyInput) -> Step[Made]:
    """The same, kept on failure."""
    return recorded_saga.builder(dag, params)  # type: ignore[return-value]


@saga(id="recorded-mistaken", version="1.0.0")
def recorded_mistaken(dag: Dag, params: EmptyInput) -> None:
    """A plan with a mistake: two steps of one name."""
    dag.append("a", work, {})
    dag.append("a", work, {})


@saga(id="recorded-hurried", version="1.0.0", policy=Policy(deadline=timedelta(seconds=1)))
def recorded_hurried(dag: Dag, params: EmptyInput) -> Step[Made]:
    """The same as the first, with a deadline."""
    return recorded_saga.builder(dag, params)  # type: ignore[return-value]


@saga(id="recorded-pivoting", version="1.0.0")
def recorded_pivoting(dag: Dag, params: EmptyInput) -> Step[Made]:
    """a, the pivot b, then c."""
    dag.append("a", work, {})
    dag.append("b", work, {}, pivot=True)
    return dag.append("c", work, {}, retry=FAST)


@saga(id="recorded-line", version="1.0.0")
def recorded_line(dag: Dag, params: EmptyInput) -> Step[Made]:
    """Six steps in a line, each with what the one before gave: two runs, where a run may have 30 events."""
    last = dag.append("n0", work, {"number": 1})
    for number in range(1, 6):
        last = dag.append(f"n{number}", work, {"number": last.ref("id")})
    return last


@saga(id="recorded-parent", version="1.0.0")
def recorded_parent(dag: Dag, params: EmptyInput) -> Step[Made]:
    """A step, a sequence beside a saga, both child flows, and a step."""
    dag.append("a", work, {"number": 1})
    inner = dag.flow("inner", RecordedInner, 3, after=[Step("a")])
    dag.append_parallel(inner, dag.flow("stack", recorded_keeping, {}, after=[Step("a")]))
    return dag.append("d", work, {"number": inner.ref()})


@saga(id="recorded-parking", version="1.0.0", policy=Policy(on_undo_failure="park"))
def recorded_parking(dag: Dag, params: EmptyInput) -> Step[Made]:
    """The same as the first; an undo that fails waits for an operator."""
    return recorded_saga.builder(dag, params)  # type: ignore[return-value]


@saga(id="recorded-stopping", version="1.0.0", policy=Policy(on_undo_failure="stop"))
def recorded_stopping(dag: Dag, params: EmptyInput) -> Step[Made]:
    """The same; an undo that fails ends unwinding."""
    return recorded_saga.builder(dag, params)  # type: ignore[return-value]


class RecordedHeld(Sequence[int, int], id="recorded-held", version="1.0.0", policy=Policy(on_failure="hold")):
    """Two steps, held on failure."""

    async def run(self, input: int) -> int:
        first = await self.execute(a, input)
        return (await self.execute(c, first.output)).output


_STEPS = (a, b, c, local_a, work)
DEFINITIONS = (
    *_STEPS, Recorded, RecordedInner, RecordedKept, recorded_saga, recorded_holding, RecordedLegs, RecordedAround,
    recorded_keeping, recorded_mistaken, recorded_hurried, recorded_pivoting, recorded_line, recorded_parent,
    recorded_parking, recorded_stopping, RecordedHeld,
)  # fmt: skip
