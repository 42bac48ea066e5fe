"""Sweeps: all modes on one flow, guards against weak sweeps (H, M)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, cast

import pytest
from temporalio import workflow
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle

with workflow.unsafe.imports_passed_through():
    from activities import Context, EmptyInput, Retry, Unrecoverable, operation
    from flows import Dag, Policy, Sequence, saga
    from flows.testing import ALL, QUICK, Cell, Coverage, Mode, NoSuchStep, NotHeld, Temporal, _bench, sweep
    from tests.kit.planted import (
        card,
        look,
        made,
        mail,
        of_three,
        seat,
        sell,
        selling,
        shop,
        take_back,
    )

FEW = (Mode.FAILS, Mode.UNDO_REPEATED)
UNNAMED = "`late` doesn't name it: nothing says that it has no effect once it was undone"


@saga(id="beside", version="1.0.0")
def beside(dag: Dag, params: EmptyInput) -> None:
    """A seat and a card beside each other, then a mail."""
    dag.append_parallel(dag.step("seat", seat, {}), dag.step("card", card, {}))
    dag.append("mail", mail, {})


@saga(id="kept", version="1.0.0", policy=Policy(on_failure="keep"))
def kept(dag: Dag, params: EmptyInput) -> None:
    """A seat, kept whatever happens."""
    dag.append("seat", seat, {})


@saga(id="alone", version="1.0.0")
def alone(dag: Dag, params: EmptyInput) -> None:
    """A seat, and nothing else."""
    dag.append("seat", seat, {})


class Around(Sequence[EmptyInput, None], id="around", version="1.0.0"):
    """A seat, and a saga inline."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(seat, input, step="first")
        await self.execute(beside, input)


async def swept(flow: Any, temporal: Temporal | None, **options: Any) -> Coverage:
    """Sweep a flow of the shop."""
    given = {"world": look, "lifespan": shop, "serve": [seat, card, mail], "modes": FEW, **options}
    return await sweep(flow, EmptyInput(), temporal=temporal, **given)


@pytest.mark.parametrize("cache", [1000, pytest.param(0, marks=pytest.mark.nightly)])
async def test_every_mode_holds(temporal: Temporal, cache: int) -> None:
    """A right step, in every mode, restarts and resets too: each cell is held, also where every task replays."""
    coverage = await swept(beside, temporal, steps=["card"], modes=ALL, cache=cache)
    status = {mode: coverage.cell("card", mode) for mode in ALL}
    assert {mode for mode in ALL if status[mode].status != "held"} == {Mode.LATE}
    assert status[Mode.LATE] == Cell("not applicable", why=(UNNAMED,))
    assert status[Mode.SIBLINGS].runs == status[Mode.UNDOS_FAIL].runs == 1
    assert (
        status[Mode.UNDO_FAILS].runs == 3
    )  # its own failure after the effect, that of mail, and mail never happened


async def test_a_saga_inline_in_a_sequence_holds(temporal: Temporal) -> None:
    """Each step around and in it: its order is that of its plan; what has no siblings has none.

    A cancel while it unwinds itself ends the run cancelled: its sequence could still have gone on.
    """
    modes = QUICK
    coverage = await swept(Around, temporal, modes=modes, serve=[seat, card, mail, beside])
    names = ("first", "beside/seat", "beside/card", "beside/mail")
    wrong = {(n, m): c.status for n in names for m in modes if (c := coverage.cell(n, m)).status != "held"}
    nowhere = {(name, Mode.LATE): "not applicable" for name in names}
    alone = {(name, Mode.SIBLINGS): "not applicable" for name in ("first", "beside/mail")}
    assert wrong == nowhere | alone | {("beside/mail", Mode.CRASH_UNDONE): "not applicable"}


async def test_the_time_skipping_server_sweeps_what_it_can() -> None:
    """On the time-skipping server runs go one by one; what it can't do is said, not left out."""
    modes = (Mode.FAILS_AFTER, Mode.CANCEL_AFTER, Mode.RESTART_IN, Mode.RESET_UNWOUND)
    coverage = await swept(beside, Temporal(), steps=["mail"], modes=modes)
    assert [coverage.cell("mail", mode).status for mode in modes] == ["held", *["not applicable"] * 3]
    assert coverage.cell("mail", Mode.RESET_UNWOUND).why == ("the time-skipping server can't reset",)


async def test_a_policy_that_keeps_is_no_leak(temporal: Temporal) -> None:
    """What is kept on purpose isn't held against the flow; its undo modes say why they don't apply."""
    coverage = await swept(kept, temporal)
    assert [coverage.cell("seat", mode).status for mode in FEW] == ["held", "not applicable"]
    assert coverage.cell("seat", FEW[1]).why == ("no failure that the policy unwinds leaves it to be undone",)


async def test_what_is_not_tried_where_undos_fail_or_operations_come_late(temporal: Temporal) -> None:
    """A step that is undone alone, policies that stop there, keep, or leave what is unknown: each says so."""
    modes = (Mode.UNDOS_FAIL, Mode.LATE)
    coverage = await swept(kept, temporal, modes=modes, late=["seat"])
    left = ("no failure that the policy unwinds leaves it to be undone",)
    assert [coverage.cell("seat", mode).why for mode in modes] == [left, left]

    stopping = of_three(card, policy=Policy(on_undo_failure="stop", undo_failed_step="never"))
    coverage = await swept(stopping, temporal, modes=modes, late=["card", "mail"])
    assert coverage.cell("card", modes[0]).why == ("the policy stops at the first undo that fails",)
    assert [coverage.cell(name, modes[1]).why for name in coverage.steps] == [(UNNAMED,), left, left]

    coverage = await swept(alone, temporal, modes=modes)
    assert coverage.cell("seat", modes[0]).why == ("no other step is undone with it",)


@pytest.mark.parametrize("placement", ["remote", "local"])
async def test_what_comes_late_comes_after_the_undo(temporal: Temporal, placement: Any) -> None:
    """Once for the run: also in a thread, and of a local step; that it is refused then is no failure of the run."""
    refused = []

    @operation(id="card", version="1.0.0", placement=placement, retry=Retry(max_attempts=2))
    def card(ctx: Context[Any], input: EmptyInput) -> None:
        if ctx.idempotency_key in ctx.deps.refunded:
            refused.append(ctx.step)
            raise Unrecoverable("it was undone")
        sell(ctx.deps, ctx)

    @card.undo
    def back(ctx: Context[Any], input: EmptyInput, outcome: Any) -> None:
        ctx.deps.refunded.add(ctx.idempotency_key)
        take_back(ctx.deps, ctx, outcome)

    flow, late = of_three(card), [Mode.LATE]
    coverage = await swept(
        flow, temporal, serve=[seat, card, mail], steps=["card"], late=["card"], modes=late
    )
    assert coverage.cell("card", Mode.LATE) == Cell("held", 1)
    assert refused == ["card"]


async def test_a_world_that_shows_nothing_is_refused(temporal: Temporal) -> None:
    """A snapshot that is the same before and after couldn't show a leak: nothing is swept."""
    with pytest.raises(NotHeld) as refused:
        await swept(beside, temporal, world=lambda shop: None)
    assert refused.value.coverage.problems == [
        "`world` shows no difference after a run without faults, so it would show no leak"
    ]
    assert refused.value.coverage.runs == 1


async def test_a_world_that_differs_by_itself_is_refused(temporal: Temporal) -> None:
    """A snapshot with keys in it differs from run to run: it is said so, before the faults."""
    with pytest.raises(
        NotHeld, match="the world isn't the same after two runs without faults: leave out what differs"
    ):
        await swept(beside, temporal, world=lambda shop: dict(shop.sold))


async def test_worlds_that_are_used_twice_are_found(temporal: Temporal) -> None:
    """A lifespan that gives the same world again isn't fresh: the second run finds what the first left."""
    async with shop() as one:

        @asynccontextmanager
        async def same() -> AsyncIterator[Any]:
            yield one

        with pytest.raises(NotHeld, match="the same after two runs without faults"):
            await swept(beside, temporal, lifespan=same)


async def test_a_flow_that_fails_without_faults_is_refused(temporal: Temporal) -> None:
    """A flow that never completes would fail early in each run, and show nothing."""

    def refuse(shop: Any, ctx: Any) -> None:
        raise RuntimeError("never")

    wrong = made("card", refuse, None)
    with pytest.raises(NotHeld) as refused:
        await swept(of_three(wrong), temporal, serve=[seat, wrong, mail])
    assert refused.value.coverage.problems[0].startswith(
        "without faults it ended rolled_back: RolledBack: buy@1.0.0"
    )


def brittle(shop: Any) -> Any:
    """Look at a shop, and be at a loss where somebody has a card and no mail."""
    if {"card"} == {"card", "mail"} & set(shop.sold.values()):
        raise LookupError("a card without a mail")
    return look(shop)


async def test_a_world_that_can_t_be_looked_at_breaks_its_cell(temporal: Temporal) -> None:
    """An error of `world` in a state that a bug left names the step and the mode; the other cells are tried."""
    leaving = made("card", sell, None)
    modes = (Mode.FAILS_AFTER, Mode.REPEATED, Mode.RESET_UNWOUND)
    with pytest.raises(NotHeld) as refused:
        await swept(
            of_three(leaving),
            temporal,
            serve=[seat, leaving, mail],
            world=brittle,
            modes=modes,
            steps=["card"],
        )
    coverage = refused.value.coverage
    said = "LookupError: a card without a mail"
    assert [coverage.cell("card", mode) for mode in modes] == [
        Cell("broken", 1, (f"(card: error after) {said}",)),
        Cell("held", 1),
        Cell("broken", 1, (f"(event 11) {said}",)),
    ]


async def test_a_world_that_can_t_be_made_is_a_problem(temporal: Temporal) -> None:
    """Nothing is tried then, and the table says why."""

    @asynccontextmanager
    async def closed() -> AsyncIterator[Any]:
        raise LookupError("no shop")
        yield

    with pytest.raises(NotHeld) as refused:
        await swept(beside, temporal, lifespan=closed)
    assert refused.value.coverage.problems == ["the run without faults: LookupError: no shop"]


class Idle(Sequence[EmptyInput, None], id="idle", version="1.0.0"):
    """Nothing at all."""

    async def run(self, input: EmptyInput) -> None:
        """Have no steps."""


async def test_a_flow_without_steps_is_refused(temporal: Temporal) -> None:
    """A sweep over no steps would be green for ever."""
    with pytest.raises(NotHeld) as refused:
        await swept(Idle, temporal)
    assert refused.value.coverage.problems == ["it has no steps"]
    assert refused.value.coverage.runs == 1


async def test_an_input_is_copied_for_each_run() -> None:
    """What a run does to an input that was given as a value, the next one doesn't see."""
    given = ["12A"]
    bench = _bench.Bench(cast(Any, None), None, given, look, shop, None, asyncio.Semaphore(2), 0)
    async with bench.fresh() as one, bench.fresh() as other:
        one.input.append("12B")
        assert (one.input, other.input, given) == (["12A", "12B"], ["12A"], ["12A"])


class Slept(Sequence[EmptyInput, None], id="slept", version="1.0.0"):
    """A seat, in a year."""

    async def run(self, input: EmptyInput) -> None:
        await self.wait(timedelta(days=365))
        await self.execute(seat, input)


async def test_what_an_operator_raises_is_told(temporal: Temporal, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, with its class; the run that it left behind is ended."""
    monkeypatch.setattr(_bench, "PATIENCE", 20.0)
    handles = []

    async def clumsy(handle: WorkflowHandle[Any, Any]) -> None:
        handles.append(handle)
        raise LookupError("no such approval")

    with pytest.raises(NotHeld) as refused:
        await swept(Slept, temporal, serve=[seat], operator=clumsy)
    assert refused.value.coverage.problems == ["the run without faults: LookupError: no such approval"]
    assert (await handles[0].describe()).status is WorkflowExecutionStatus.TERMINATED


async def test_an_operator_who_comes_too_late_is_no_problem(temporal: Temporal) -> None:
    """What it raises because its run has closed says nothing about the flow."""

    async def late(handle: WorkflowHandle[Any, Any]) -> None:
        await handle.result()
        raise LookupError("it is over")

    coverage = await swept(beside, temporal, steps=["mail"], modes=[Mode.REPEATED], operator=late)
    assert coverage.cell("mail", Mode.REPEATED) == Cell("held", 1)


async def test_a_policy_s_own_last_errors_are_not_injected(temporal: Temporal) -> None:
    """A transient error is one that may be tried again, also where a RuntimeError may not."""

    @operation(id="card", version="1.0.0", retry=Retry(max_attempts=3, non_retryable=[RuntimeError]))
    async def card(ctx: Context[Any], input: EmptyInput) -> None:
        sell(ctx.deps, ctx)

    @card.undo
    async def back(ctx: Context[Any], input: EmptyInput, outcome: Any) -> None:
        take_back(ctx.deps, ctx, outcome)

    coverage = await swept(
        of_three(card), temporal, serve=[seat, card, mail], steps=["card"], modes=[Mode.TRANSIENT]
    )
    assert coverage.cell("card", Mode.TRANSIENT) == Cell("held", 1)


@pytest.mark.parametrize("local", [False, True])
async def test_where_no_error_is_tried_again(temporal: Temporal, local: bool) -> None:
    """A policy that takes every error for the last one, by a class above all: none can be transient there."""
    never = Retry(max_attempts=3, non_retryable=[Exception])

    @operation(id="card", version="1.0.0", retry=never, placement="local" if local else "remote")
    async def card(ctx: Context[Any], input: EmptyInput) -> None:
        sell(ctx.deps, ctx)

    @card.undo(retry=never)
    async def back(ctx: Context[Any], input: EmptyInput, outcome: Any) -> None:
        take_back(ctx.deps, ctx, outcome)

    modes = [Mode.TRANSIENT, Mode.UNDO_TRANSIENT]
    coverage = await swept(of_three(card), temporal, serve=[seat, card, mail], steps=["card"], modes=modes)
    assert [coverage.cell("card", mode) for mode in modes] == [
        Cell("not applicable", 0, ("an error of it isn't tried again",)),
        Cell("not applicable", 0, ("an error of its undo isn't tried again",)),
    ]


async def test_steps_that_are_not_there_are_refused(temporal: Temporal) -> None:
    """A sweep of a step that the flow doesn't have says which it has."""
    for named in ("steps", "survives", "late"):
        with pytest.raises(NoSuchStep, match=r"no step 'cart' .*; its steps: "):
            await swept(beside, temporal, **{named: ["cart"]})


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ({"modes": ["explodes"]}, "'explodes' is not a valid Mode"),
        ({"parallel": 0}, "parallel=0: no run would ever"),
    ],
)
async def test_what_a_sweep_cannot_do_is_refused(temporal: Temporal, named: Any, says: str) -> None:
    """A mode that there isn't, and no run open at a time: refused before anything runs."""
    with pytest.raises(ValueError, match=says):
        await swept(beside, temporal, **named)


async def test_inputs_are_made_anew(temporal: Temporal) -> None:
    """The function that gives the input is called with each run's own world."""
    given = []

    def fresh(shop: Any) -> EmptyInput:
        given.append(shop)
        return EmptyInput()

    op = selling()
    coverage = await sweep(
        of_three(op), fresh, world=look, lifespan=shop, serve=[seat, op, mail],
        temporal=temporal, modes=[Mode.REPEATED],
    )  # fmt: skip
    assert coverage.runs == len(given) == len({id(shop) for shop in given}) == 5
