"""Flows that a sweep must not blame, and mistakes that it must blame on the right step, in few words."""

from __future__ import annotations

import asyncio
import contextlib
import random
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError

with workflow.unsafe.imports_passed_through():
    from activities import (
        Context,
        DefinitionError,
        EmptyInput,
        Operation,
        Outcome,
        Retry,
        Retryable,
        Skip,
        operation,
    )
    from flows import Dag, OperationFailed, Policy, Sequence, saga
    from flows.testing import (
        BodyFailed,
        Cell,
        Coverage,
        Mode,
        NotHeld,
        NotReached,
        Temporal,
        _bench,
        crash,
        error,
        serving,
        sweep,
    )
    from tests.kit.planted import Shop, card, charge, look, made, mail, seat, sell, shop, take_back
    from tests.sample import FAST

OK = EmptyInput()


async def swept(flow: Any, temporal: Temporal, *serve: Any, **options: Any) -> Coverage:
    """Sweep a flow of the shop; give the table, whatever it says."""
    given = {"world": look, "lifespan": shop, "serve": [seat, card, mail, *serve], **options}
    try:
        return await sweep(flow, OK, temporal=temporal, **given)
    except NotHeld as found:
        return found.coverage


def sequence(*ops: Operation[EmptyInput, Any]) -> Any:
    """Make a flow of operations, one after another."""

    @saga(id="one-by-one", version="1.0.0")
    def one_by_one(dag: Dag, params: EmptyInput) -> None:
        """One after another."""
        for op in ops:
            dag.append(op.definition.id, op, {})

    return one_by_one


def _letters(shop: Shop, ctx: Context[Shop], outcome: Outcome[None]) -> None:
    for key in [key for key, what in shop.sold.items() if what == "letter"]:
        del shop.sold[key]


@operation(id="letter", version="1.0.0", at_most_once=True)
async def letter(ctx: Context[Shop], input: EmptyInput) -> None:
    """Send a letter; a second call sends a second one."""
    ctx.deps.sold[str(uuid4())] = "letter"


@letter.undo
async def unsend(ctx: Context[Shop], input: EmptyInput, outcome: Outcome[None]) -> None:
    _letters(ctx.deps, ctx, outcome)


async def test_what_is_for_once_isn_t_repeated(temporal: Temporal) -> None:
    """An operation with `at_most_once` needn't be idempotent: nothing calls it twice but a reset, whose world is left open."""
    modes = (Mode.REPEATED, Mode.CRASH, Mode.RESET_COMPLETED)
    coverage = await swept(sequence(seat, letter), temporal, letter, steps=["letter"], modes=modes)
    assert [coverage.cell("letter", mode) for mode in modes] == [
        Cell("not applicable", why=("it is never dispatched again",)),
        Cell("held", 1),
        Cell("held", 2),  # the task that schedules it, and the last one
    ]


@operation(id="already", version="1.0.0", retry=FAST)
async def already(ctx: Context[Shop], input: EmptyInput) -> None:
    """Find that there is nothing to do."""
    raise Skip("it is there")


@already.undo
async def unneeded(ctx: Context[Shop], input: EmptyInput, outcome: Outcome[None]) -> None:
    """Undo nothing."""


async def test_a_step_that_is_skipped_has_no_effect_to_try(temporal: Temporal) -> None:
    """What needs its effect doesn't apply, and says so; the rest is tried."""
    modes = (
        Mode.FAILS,
        Mode.FAILS_AFTER,
        Mode.CRASH_FAILS,
        Mode.UNKNOWN,
        Mode.UNDO_FAILS,
        Mode.CANCEL_BEFORE,
    )
    coverage = await swept(sequence(seat, already, mail), temporal, already, steps=["already"], modes=modes)
    never = Cell("not applicable", why=("it is skipped, and has no effect",))
    assert [coverage.cell("already", mode) for mode in modes] == [
        Cell("held", 1), never, never, Cell("held", 1), never, Cell("held", 1),
    ]  # fmt: skip


def polling() -> Operation[EmptyInput, None]:
    """Make an operation that isn't ready at first."""

    @operation(id="polling", version="1.0.0", retry=Retry(max_attempts=9, initial=timedelta(milliseconds=10)))
    async def op(ctx: Context[Shop], input: EmptyInput) -> None:
        if ctx.attempt < 3 and ctx.idempotency_key not in ctx.deps.sold:
            raise Retryable("not ready", after=timedelta(milliseconds=10))
        sell(ctx.deps, ctx)

    @op.undo(retry=FAST)
    async def back(ctx: Context[Shop], input: EmptyInput, outcome: Outcome[None]) -> None:
        take_back(ctx.deps, ctx, outcome)

    return op


async def test_a_fault_waits_for_the_effect_that_it_follows(temporal: Temporal) -> None:
    """An operation that polls fails by itself at first; what goes wrong after its effect does so once it has one."""
    op = polling()
    modes = (Mode.FAILS_AFTER, Mode.CRASH, Mode.CANCEL_IN, Mode.CANCEL_AFTER, Mode.UNDO_FAILS)
    coverage = await swept(sequence(seat, op), temporal, op, steps=["polling"], modes=modes)
    assert [coverage.cell("polling", mode) for mode in modes] == [Cell("held", 1)] * 5
    flow = sequence(op)
    async with serving(op, flow, temporal=temporal, deps=Shop()) as worker:
        worker.inject("polling", crash())
        ran = await worker.run(flow, OK)
        assert [(call.fault, call.effects) for call in ran.calls] == [
            (None, 1), (None, 1), ("crash", 1), (None, 1),
        ]  # fmt: skip
        worker.inject("polling", *[error()] * 2, crash())
        with pytest.raises(NotReached):
            await worker.run(flow, OK)


class Locked(Sequence[EmptyInput, None], id="locked", version="1.0.0"):
    """A seat, a card while a lock is held, a mail."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(seat, input)
        lock = await self.execute(card, input, step="lock")
        await self.execute(card, input, key="paid", step="card")
        await self.undo(lock)
        await self.execute(mail, input)


async def test_what_the_flow_undoes_itself_is_no_disorder(temporal: Temporal) -> None:
    """A lock that is given back in the middle: all failures hold; a reset of such a run is refused, as it should be."""
    modes = (Mode.FAILS, Mode.UNDO_REPEATED, Mode.UNDO_FAILS, Mode.RESET_COMPLETED, Mode.RESET_UNWOUND)
    coverage = await swept(Locked, temporal, modes=modes)
    assert (coverage.found, coverage.count("held")) == ([], 20)
    # its own failure after the effect, that of card, and card never happened
    assert coverage.cell("lock", Mode.UNDO_FAILS).runs == 3


@saga(id="pay", version="1.0.0")
def pay(dag: Dag, params: EmptyInput) -> None:
    """A card, with no way back, beside a mail."""
    dag.append_parallel(dag.step("card", card, {}, pivot=True), dag.step("mail", mail, {}))


@saga(id="outer", version="1.0.0")
def outer(dag: Dag, params: EmptyInput) -> None:
    """A seat; what has a pivot, as a child; a mail."""
    dag.append("seat", seat, {})
    dag.flow("pay", pay, OK)
    dag.append("after", mail, {})


async def test_a_child_s_pivot_counts_for_what_comes_after_it() -> None:
    """Failures after it end kept, those before it rolled back, and those beside it as it happens."""
    coverage = await swept(outer, Temporal(), pay, modes=(Mode.FAILS, Mode.UNDO_REPEATED))
    assert coverage.found == []
    assert {name: coverage.cell(name, Mode.FAILS).status for name in coverage.steps} == dict.fromkeys(
        ("seat", "pay/card", "pay/mail", "after"), "held"
    )
    assert coverage.cell("after", Mode.UNDO_REPEATED).why == (
        "no failure that the policy unwinds leaves it to be undone",
    )


class Never(Sequence[EmptyInput, None], id="never", version="1.0.0", policy=Policy(undo_failed_step="never")):
    """A card; one that may have been charged is left."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(card, input)


class Around(Sequence[EmptyInput, None], id="around", version="1.0.0"):
    """A seat, and an inner flow with a policy of its own."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(seat, input)
        await self.execute(Never, input, child=True)


async def test_an_inner_flow_fails_by_its_own_policy(temporal: Temporal) -> None:
    """What it leaves on purpose is no leak of the flow around it."""
    modes = (Mode.FAILS_AFTER, Mode.CANCEL_IN, Mode.UNDO_FAILS)
    coverage = await swept(Around, temporal, Never, steps=["never/card", "seat"], modes=modes)
    assert coverage.found == []
    assert [coverage.cell("never/card", mode).status for mode in modes] == ["held", "held", "not applicable"]


class Swallows(Sequence[EmptyInput, None], id="swallows", version="1.0.0"):
    """A seat, and a card if it may be."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(seat, input)
        try:
            await self.execute(card, input)
        except OperationFailed:
            return


async def test_the_step_whose_failure_is_swallowed_is_blamed(temporal: Temporal) -> None:
    """Not the one before it, whose undo was waited for in vain."""
    coverage = await swept(Swallows, temporal, modes=(Mode.FAILS, Mode.UNDO_REPEATED))
    assert [(step, mode.value) for step, mode, _ in coverage.found] == [
        ("card", "fails before its effect"),
        ("seat", "undo repeated"),
        ("card", "undo repeated"),
    ]
    assert coverage.found[0][2].why[0] == (
        "(card: error before) it ended completed, not rolled_back; "
        "if the flow catches the failure on purpose, name the step in `survives`"
    )


def _forget(shop: Shop, ctx: Context[Shop], outcome: Outcome[None]) -> None:
    """Give nothing back."""


tip = made("tip", charge, _forget)


@saga(id="beside", version="1.0.0")
def beside(dag: Dag, params: EmptyInput) -> None:
    """A seat, then a card beside a tip that nobody gives back, then a mail."""
    dag.append("seat", seat, {})
    dag.append_parallel(dag.step("card", card, {}), dag.step("tip", tip, {}))
    dag.append("mail", mail, {})


async def test_a_step_of_a_stage_is_blamed_before_what_came_before_the_stage(temporal: Temporal) -> None:
    """The seat is undone where the card fails, and so is the tip: the steps that ran beside each other come first."""
    coverage = await swept(beside, temporal, tip)
    assert list(dict.fromkeys(step for step, _, _ in coverage.found)) == ["card", "tip", "mail", "seat"]
    assert coverage.cell("tip", Mode.UNDO_REPEATED).status == "broken"


def _with_the_seat(shop: Shop, ctx: Context[Shop], outcome: Outcome[None]) -> None:
    for key in [key for key, what in shop.sold.items() if what in ("seat", "card")]:
        del shop.sold[key]


async def test_an_undo_that_takes_another_step_s_effect_is_found(temporal: Temporal) -> None:
    """In the end all is gone, either way: it shows where the other step's undo fails."""
    greedy = made("card", sell, _with_the_seat)
    coverage = await swept(
        sequence(seat, greedy, mail), temporal, greedy, modes=(Mode.FAILS, Mode.UNDO_FAILS)
    )
    assert [(step, mode.value, cell.why) for step, mode, cell in coverage.found] == [
        (
            "card",
            "undo fails",
            (
                "(card: unknown before; undo of seat: error before) the world isn't what seat alone left: undoing card, "
                "which never happened, takes back something:\n"
                "    -{'money': 100, 'price': 3, 'sold': [\"ann's seat\", 'seat']}\n"
                "    +{'money': 100, 'price': 3, 'sold': [\"ann's seat\"]}",
                "(mail: error before; undo of seat: error before) the world isn't what seat alone left: undoing card "
                "takes back more than its own effect, or less:\n"
                "    -{'money': 100, 'price': 3, 'sold': [\"ann's seat\", 'seat']}\n"
                "    +{'money': 100, 'price': 3, 'sold': [\"ann's seat\"]}",
            ),
        )
    ]


class Buggy(Sequence[EmptyInput, None], id="buggy", version="1.0.0"):
    """A seat and a card; a card that is refused shows a bug."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(seat, input)
        try:
            await self.execute(card, input)
        except OperationFailed as failed:
            raise KeyError(failed.report.step) from None


class BuggyInside(Sequence[EmptyInput, None], id="buggy-inside", version="1.0.0"):
    """The same, as a child."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(Buggy, input, child=True)


@pytest.mark.parametrize(("flow", "step"), [(Buggy, "card"), (BuggyInside, "buggy/card")])
async def test_a_body_with_a_bug_is_told_soon(temporal: Temporal, flow: Any, step: str) -> None:
    """Its run would stay open for ever: it is ended, in sweeps and in single runs, and the error named."""
    said = "a bug in its body, or it differs from its history: KeyError: 'card'"
    coverage = await swept(flow, temporal, Buggy, steps=[step], modes=[Mode.FAILS])
    assert coverage.cell(step, Mode.FAILS).why == (f"({step}: error before) BodyFailed: {said}",)
    async with serving(seat, card, Buggy, flow, temporal=temporal, deps=Shop()) as worker:
        worker.inject(step, error())
        with pytest.raises(BodyFailed) as failed:
            await worker.run(flow, OK)
    assert failed.value.message == said


class Wavers(Sequence[EmptyInput, None], id="wavers", version="1.0.0"):
    """Two steps in an order that differs each time."""

    async def run(self, input: EmptyInput) -> None:
        for number in range(6):
            with workflow.unsafe.sandbox_unrestricted():
                ops = random.SystemRandom().sample([seat, card], 2)
            for op in ops:
                await self.execute(op, input, key=str(number))


class WaversLater(Sequence[EmptyInput, None], id="wavers-later", version="1.0.0"):
    """The same, once a mail was refused."""

    async def run(self, input: EmptyInput) -> None:
        try:
            await self.execute(mail, input)
        except OperationFailed:
            await self.execute(Wavers, input)
            raise


async def test_a_body_that_differs_from_its_history_is_found(temporal: Temporal) -> None:
    """Where it has no faults before anything is tried, and elsewhere in the mode that replays each task."""
    coverage = await swept(Wavers, temporal, modes=[Mode.FAILS])
    differs = (
        "BodyFailed: a bug in its body, or it differs from its history: [TMPRL1100] Nondeterminism error"
    )
    assert coverage.problems[0].startswith(f"the run without faults, the second time: {differs}")
    modes = (Mode.FAILS, Mode.REPLAYED)
    coverage = await swept(WaversLater, temporal, Wavers, modes=modes)
    assert [coverage.cell("mail", mode).status for mode in modes] == ["held", "broken"]
    assert coverage.cell("mail", Mode.REPLAYED).why[0].startswith(f"(mail: error before) {differs}")


class Waits(Sequence[EmptyInput, None], id="waits", version="1.0.0"):
    """A seat in an hour."""

    async def run(self, input: EmptyInput) -> None:
        await self.wait(timedelta(hours=1))


class Unserved(Sequence[EmptyInput, None], id="unserved", version="1.0.0"):
    """Something that isn't served."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(already, input)


async def test_a_run_that_does_not_end_says_what_it_waits_for(
    temporal: Temporal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operation that nobody serves, and a time that doesn't pass."""
    monkeypatch.setattr(_bench, "PATIENCE", 3.0)

    said = "the run without faults: it didn't end within 3 s; called were no steps; "
    assert (await swept(Waits, temporal)).problems == [
        said + "where it waits for somebody, `operator` does what that one does, "
        "and `temporal=Temporal()` lets a time pass at once"
    ]
    assert (await swept(gated, temporal, modes=(Mode.TRANSIENT,))).problems == [
        said.replace("no steps", "seat")
        + "it waits for an operator: go isn't approved; let `operator` decide"
    ]
    coverage = await swept(Unserved, temporal)
    assert coverage.problems[0].startswith(said + "the last error of a step: ")
    assert "already@1.0.0" in coverage.problems[0]


@saga(id="gated", version="1.0.0")
def gated(dag: Dag, params: EmptyInput) -> None:
    """A seat; somebody's word within a day; a card, with no way back; a mail."""
    dag.append("seat", seat, {})
    dag.approval("go", timeout=timedelta(days=1))
    dag.append("card", card, {}, pivot=True)
    dag.append("mail", mail, {})


async def decide(handle: WorkflowHandle[Any, Any]) -> None:
    """Approve, and stop what is held."""
    approved = False
    while True:
        with contextlib.suppress(WorkflowUpdateFailedError):
            if not approved:
                await handle.execute_update("approve", {"name": "go"})
                approved = True
            elif "held" in (await handle.query("status"))["steps"].values():
                await handle.execute_update("stop")
        await asyncio.sleep(0.1)


async def test_an_operator_may_decide_of_what_is_held(temporal: Temporal) -> None:
    """A pivot, and an approval that can't wait for ever, where time doesn't pass at once; without an operator it is refused."""
    modes = (Mode.FAILS, Mode.UNDO_REPEATED)
    coverage = await swept(gated, temporal, modes=modes, operator=decide)
    assert (coverage.found, coverage.problems) == ([], [])
    assert [coverage.cell(name, Mode.FAILS).status for name in ("seat", "card", "mail")] == ["held"] * 3
    coverage = await swept(outer, temporal, pay, modes=modes)
    assert coverage.problems == [
        "its policy, or its pivot, waits for an operator: give one, or sweep it on the time-skipping server"
    ]


def test_what_broke_a_run_is_told_with_its_cause() -> None:
    """The sandbox's own error says nothing; what it comes from does."""
    broken = RuntimeError("Failed validating workflow buy@1.0.0")
    broken.__cause__ = ImportError("no module 'till'")
    assert _bench.told(broken) == (
        "RuntimeError: Failed validating workflow buy@1.0.0, since ImportError: no module 'till'"
    )


@pytest.mark.parametrize("faults", [(), (error,), (error(), None)], ids=["none", "function", "one of two"])
async def test_only_faults_can_be_injected(temporal: Temporal, faults: tuple[Any, ...]) -> None:
    """`error` instead of `error()` would keep the run open for ever, and nothing at all would show nothing."""
    async with serving(seat, temporal=temporal) as worker:
        with pytest.raises(DefinitionError) as refused:
            worker.inject("seat", *faults)
    given = ", ".join(map(repr, faults)) or "nothing"
    assert refused.value.message == f"inject takes faults, such as error() or crash(), not {given}"
