"""Right flows of shapes that a sweep must know: steps on the worker itself, children at once, what is for once only, policies."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities import Context, EmptyInput, Outcome, Unrecoverable, operation
    from flows import Dag, LongRunning, Policy, Sequence, saga
    from flows.testing import QUICK, Coverage, Mode, Temporal
    from flows.testing._faults import HANGS
    from tests.kit.planted import (
        Shop,
        _once,
        card,
        charge,
        charging,
        made,
        mail,
        of_three,
        seat,
        sell,
        take_back,
    )
    from tests.kit.test_strange import letter, sequence, swept
    from tests.sample import FAST


@operation(id="note", version="1.0.0", placement="local")
async def note(ctx: Context[Shop], input: EmptyInput) -> None:
    """Write it down, once or never: no failure of it is tried again."""
    sell(ctx.deps, ctx)


@note.undo(retry=FAST)
async def unnote(ctx: Context[Shop], input: EmptyInput, outcome: Outcome[None]) -> None:
    take_back(ctx.deps, ctx, outcome)


@operation(id="sign", version="1.0.0", retry=FAST)
async def sign(ctx: Context[Shop], input: EmptyInput) -> None:
    """Sign."""
    sell(ctx.deps, ctx)


@sign.undo(retry=FAST)
async def unsign(ctx: Context[Shop], input: EmptyInput, outcome: Outcome[None]) -> None:
    """Take it back, slowly."""
    await asyncio.sleep(0.5)
    take_back(ctx.deps, ctx, outcome)


class Errand(Sequence[EmptyInput, None], id="errand", version="1.0.0"):
    """A seat, and a signature that is slow to be undone."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(seat, input)
        await self.execute(sign, input)


class Errands(Sequence[EmptyInput, None], id="errands", version="1.0.0"):
    """Two children at once, then a mail."""

    async def run(self, input: EmptyInput) -> None:
        await self.gather(
            self.execute(Errand, input, child=True),
            self.execute(Errand, input, child=True, force=True),
        )
        await self.execute(mail, input)


@saga(id="within", version="1.0.0")
def within(dag: Dag, params: EmptyInput) -> None:
    """A child."""
    dag.flow("errand", Errand, {})


@saga(id="deep", version="1.0.0")
def deep(dag: Dag, params: EmptyInput) -> None:
    """A child in a subsaga, then a mail."""
    dag.subsaga("n", within, {})
    dag.append("mail", mail, {})


@saga(id="stops", version="1.0.0", policy=Policy(on_undo_failure="stop"))
def stops(dag: Dag, params: EmptyInput) -> None:
    """A seat, a card and a mail; an undo that fails ends the unwinding."""
    for op in (seat, card, mail):
        dag.append(op.definition.id, op, {})


@saga(id="once-beside", version="1.0.0")
def once_beside(dag: Dag, params: EmptyInput) -> None:
    """A letter beside a card, then a mail."""
    dag.append_parallel(dag.step("letter", letter, {}), dag.step("card", card, {}))
    dag.append("mail", mail, {})


class Days(Sequence[EmptyInput, None], id="days", version="1.0.0"):
    """Notes with days between them."""

    async def run(self, input: EmptyInput) -> None:
        for name in ("one", "two", "three"):
            await self.execute(note, input, step=name, force=True)
            await self.wait(timedelta(days=2), name=f"after-{name}")
            await self.execute(seat, input, step=f"seat-{name}", force=True)
        await self.execute(note, input, step="four", force=True)
        await self.execute(note, input, step="five", force=True)


def _take_rack(shop: Shop, ctx: Context[Shop], outcome: Outcome[None]) -> None:
    """A rack can't go while something hangs on it."""
    if "coat" in shop.sold.values():
        raise Unrecoverable("not empty")
    take_back(shop, ctx, outcome)


rack, coat = made("rack", sell, _take_rack), made("coat", sell, take_back)


@saga(id="beside-nested", version="1.0.0")
def beside_nested(dag: Dag, params: EmptyInput) -> None:
    """A local step beside steps one after another, which begin in later tasks."""
    dag.append_parallel(dag.step("note", note, {}), dag.step("node", sequence(seat, card, mail), {}))


def _keep_what_failed(shop: Shop, ctx: Context[Shop], outcome: Outcome[None]) -> None:
    """Leave a mark where the step failed."""
    take_back(shop, ctx, outcome)
    if outcome.status == "failed":
        shop.money -= 1


class NoteTwice(Sequence[EmptyInput, None], id="note-twice", version="1.0.0"):
    """Two notes in one task, then a mail."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(note, input)
        await self.execute(note, input, step="more", force=True)
        await self.execute(mail, input)


class TwoLegs(LongRunning[EmptyInput, None, EmptyInput, EmptyInput], id="two-legs", version="1.0.0"):
    """A seat, and in a leg of its own another one and a mail."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(seat, input)
        if self.resume_point == "":
            await self.wait(timedelta(milliseconds=1), resume_point="second")
        await self.execute(mail, input)


@saga(id="around-legs", version="1.0.0")
def around_legs(dag: Dag, params: EmptyInput) -> None:
    """A card, the legs as a child, a letter."""
    dag.append("card", card, {})
    dag.flow("import", TwoLegs, {})
    dag.append("letter", letter, {})


KEEPS = Policy(on_failure="keep")
UNDOS = (Mode.UNDO_REPEATED, Mode.UNDO_FAILS, Mode.UNDO_TRANSIENT, Mode.UNDO_CRASH, Mode.CRASH_UNDONE)


def wrong(coverage: Coverage) -> dict[tuple[str, Mode], tuple[str, ...]]:
    """Give what a table finds wrong."""
    assert coverage.runs > len(coverage.steps)
    return {(step, mode): cell.why for step, mode, cell in coverage.found}


async def test_a_worker_that_is_replaced_waits_for_its_local_steps(temporal: Temporal) -> None:
    """No failure of this step is tried again, and none comes of that."""
    modes = [mode for mode in Mode if "restart" in mode]
    coverage = await swept(sequence(seat, note, mail), temporal, note, steps=["note"], modes=modes)
    assert wrong(coverage) == {}
    assert [coverage.cell("note", mode).status for mode in modes] == ["held"] * 6


@pytest.mark.parametrize("flow", [Errands, deep])
async def test_children_are_undone_whole(temporal: Temporal, flow: Any) -> None:
    """Two children at once: which of their steps came first says nothing of the order of undos; one in a subsaga."""
    coverage = await swept(flow, temporal, Errand, within, sign, modes=QUICK)
    assert wrong(coverage) == {}
    names = {Errands: ("errand", "errand.2"), deep: ("n/errand",)}[flow]
    assert coverage.steps == [*sorted(f"{n}/{s}" for n in names for s in ("seat", "sign")), "mail"] or (
        {*coverage.steps} == {*(f"{n}/{s}" for n in names for s in ("seat", "sign")), "mail"}
    )


async def test_a_policy_that_stops_at_an_undo_that_fails(temporal: Temporal) -> None:
    """What `undo` calls afterwards, to look whether the rest can be undone, isn't held against the run."""
    modes = (Mode.UNDO_FAILS, Mode.UNDOS_FAIL)
    coverage = await swept(stops, temporal, modes=modes)
    assert wrong(coverage) == {}
    assert [coverage.cell("card", mode).status for mode in modes] == ["held", "not applicable"]


async def test_what_is_for_once_beside_others(temporal: Temporal) -> None:
    """A reset to where it was in flight loses it: the run unwinds, and every later reset is refused."""
    coverage = await swept(once_beside, temporal, letter, modes=(Mode.RESET_COMPLETED,))
    assert wrong(coverage) == {}
    assert {coverage.cell(name, Mode.RESET_COMPLETED).status for name in coverage.steps} == {"held"}


@pytest.mark.parametrize("flow", [sequence(note, mail), NoteTwice], ids=["saga", "sequence"])
async def test_a_cancel_while_local_undos_end_a_run(temporal: Temporal, flow: Any) -> None:
    """The task that undid them is done again, and told of the cancel first: the run may end cancelled as well."""
    modes = (Mode.UNDO_CANCEL_BEFORE, Mode.UNDO_CANCEL_IN, Mode.UNDO_CANCEL_AFTER)
    coverage = await swept(flow, temporal, note, modes=modes)
    assert wrong(coverage) == {}
    assert {coverage.cell("note", mode).status for mode in modes} == {"held"}


@pytest.mark.parametrize(
    ("flow", "step"), [(once_beside, "card"), (sequence(note, mail), "note")], ids=["beside", "local"]
)
async def test_a_cancel_that_may_meet_a_result_where_time_is_skipped(flow: Any, step: str) -> None:
    """That server hangs then: these modes don't apply there."""
    modes = (Mode.CANCEL_BEFORE, Mode.CANCEL_IN, Mode.CANCEL_AFTER)
    coverage = await swept(flow, Temporal(), letter, note, modes=modes)
    assert wrong(coverage) == {}
    assert {coverage.cell(step, mode).why for mode in modes} == {(HANGS,)}
    assert [coverage.cell("mail", mode).status for mode in modes] == ["held", "held", "not applicable"]


async def test_what_a_policy_keeps_is_undone_by_a_cancel(temporal: Temporal) -> None:
    """No failure is unwound there: a cancel before the next step is, and shows what an undo does wrong."""
    right = await swept(of_three(charging(), policy=KEEPS), temporal, charging(), modes=UNDOS)
    assert wrong(right) == {}
    assert [right.cell("card", mode).status for mode in UNDOS] == ["held"] * len(UNDOS)
    once = made("card", charge, _once)
    found = wrong(await swept(of_three(once, policy=KEEPS), temporal, once, modes=UNDOS))
    assert next(iter(found)) == ("card", Mode.UNDO_REPEATED)
    assert "it ended stuck, not cancelled" in found["card", Mode.UNDO_REPEATED][0]


async def test_the_undo_of_what_failed_is_blamed_first(temporal: Temporal) -> None:
    """Its policy undoes what failed, too: the step before it only suffers."""
    wrongly = made("card", sell, _keep_what_failed)
    flow = of_three(wrongly, policy=Policy(undo_failed_step="always"))
    coverage = await swept(flow, temporal, wrongly, modes=(Mode.FAILS, Mode.UNDO_REPEATED))
    assert [(step, mode) for step, mode, _ in coverage.found][:1] == [("card", Mode.FAILS)]


async def test_legs_are_reset_where_they_ran(temporal: Temporal) -> None:
    """Steps of the newest leg are in its run, those of an earlier one aren't."""
    coverage = await swept(TwoLegs, temporal, modes=(Mode.RESET_COMPLETED,))
    assert wrong(coverage) == {}
    found = {step: coverage.cell(step, Mode.RESET_COMPLETED).status for step in coverage.steps}
    assert found == {"seat": "not applicable", "leg:1/seat": "held", "leg:1/mail": "held"}


async def test_the_legs_of_a_child(temporal: Temporal) -> None:
    """A child of several legs is like any other: its steps are known by its path and their leg, also to its parent."""
    coverage = await swept(around_legs, temporal, TwoLegs, letter)
    assert wrong(coverage) == {}
    inside = ["import/seat", "import/leg:1/seat", "import/leg:1/mail"]
    assert coverage.steps == ["card", *inside, "letter"]
    assert {coverage.cell(step, mode).status for step in inside for mode in UNDOS} == {"held"}


async def test_local_steps_where_time_is_skipped() -> None:
    """Their times are those of a clock that knows nothing of the days: they are in order all the same."""
    coverage = await swept(Days, Temporal(), note, modes=(Mode.FAILS, Mode.UNDO_REPEATED))
    assert wrong(coverage) == {}


async def test_an_undo_that_waits_for_another(temporal: Temporal) -> None:
    """An undo that can't work while a later step's effect is there isn't blamed where that one's undo fails."""
    coverage = await swept(sequence(rack, coat), temporal, rack, coat, modes=(Mode.UNDO_FAILS,))
    assert wrong(coverage) == {}
    assert [coverage.cell(step, Mode.UNDO_FAILS).status for step in ("rack", "coat")] == ["held"] * 2


async def test_a_local_step_beside_steps_of_later_tasks(temporal: Temporal) -> None:
    """It fails together with those that begin with it; those that come later don't wait for it, nor it for them."""
    coverage = await swept(beside_nested, temporal, note, modes=(Mode.SIBLINGS,))
    assert coverage.found == []
    found = {step: coverage.cell(step, Mode.SIBLINGS).status for step in coverage.steps}
    later = dict.fromkeys(("node/card", "node/mail"), "not applicable")
    assert found == {"note": "held", "node/seat": "held", **later}
