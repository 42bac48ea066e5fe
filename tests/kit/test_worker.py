"""The worker for tests: faults by step name, recorded calls, fakes, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities import Context, DefinitionError, EmptyInput, Registry
    from examples.quickstart import Booking, BookSeat, Desk, Ticket, charge_card, take_seat
    from flows import Sequence
    from flows.testing import (
        Fault,
        NoSuchStep,
        NotReached,
        Temporal,
        cancel,
        crash,
        error,
        fake,
        repeat,
        serving,
        slow,
        timeout,
    )
    from tests.kit.planted import card, mail, of_three, seat
    from tests.sample import local_a

BOOKING = Booking(seat="12A", card="4242")
FORWARD: dict[str, tuple[Fault, str, list[str]]] = {
    "error": (error(), "rolled_back", ["take-seat", "charge-card", "undo of take-seat"]),
    "error after": (
        error(after=True),
        "rolled_back",
        ["take-seat", "charge-card", "undo of charge-card", "undo of take-seat"],
    ),
    "timeout": (
        timeout(),
        "rolled_back",
        ["take-seat", "charge-card", "undo of charge-card", "undo of take-seat"],
    ),
    "cancel": (
        cancel("in"),
        "cancelled",
        ["take-seat", "charge-card", "undo of charge-card", "undo of take-seat"],
    ),
    "crash": (crash(), "completed", ["take-seat", "charge-card", "charge-card"]),
    "repeat": (repeat(3), "completed", ["take-seat", "charge-card"]),
    "slow": (slow(), "completed", ["take-seat", "charge-card"]),
}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A ticket desk of the test's own."""
    return Desk(tmp_path)


@pytest.mark.parametrize("name", FORWARD)
async def test_a_step_goes_wrong_as_injected(name: str, temporal: Temporal, desk: Desk) -> None:
    """G43: each fault gives its end, and its calls, in order; what is unwound leaves no file."""
    fault, end, called = FORWARD[name]
    async with serving("examples.quickstart", temporal=temporal, deps=desk) as worker:
        worker.inject("charge-card", fault)
        ran = await worker.run(BookSeat, BOOKING)
        assert (ran.state, ran.called) == (end, called)
        assert ran.calls[1].effects == (3 if name == "repeat" else 0 if name == "error" else 1)
        assert len(list(desk.root.iterdir())) == (2 if end == "completed" else 0)
        clean = await worker.run(BookSeat, Booking(seat="12B", card="1"))
    assert (clean.state, clean.output) == ("completed", Ticket(seat="12B"))


async def test_an_undo_goes_wrong_as_injected(temporal: Temporal, desk: Desk) -> None:
    """S81, S83: an undo that fails, is lost, and is called twice, as each fault says, undoes its step under one key."""
    async with serving("examples.quickstart", temporal=temporal, deps=desk) as worker:
        worker.inject("charge-card", error())
        worker.inject("take-seat", error(retryable=True), crash(), repeat(), undo=True)
        ran = await worker.run(BookSeat, BOOKING)
    assert ran.called == ["take-seat", "charge-card", *["undo of take-seat"] * 3]
    assert [call.fault for call in ran.calls] == [
        None,
        "error before",
        "error before",
        "crash",
        "repeat 2",
    ]
    assert [call.effects for call in ran.calls] == [1, 0, 0, 1, 2]
    assert len({call.key for call in ran.calls if call.place.step == "take-seat"}) == 1
    assert (ran.state, list(desk.root.iterdir())) == ("rolled_back", [])


class Locally(Sequence[int, int], id="locally", version="1.0.0"):
    """One local step."""

    async def run(self, input: int) -> int:
        return (await self.execute(local_a, input)).output


async def test_local_steps_can_be_lost_too(temporal: Temporal, world: Any) -> None:
    """A local step whose execution is lost runs again."""
    async with serving(local_a, Locally, temporal=temporal, deps=world) as worker:
        worker.inject("local-a", crash())
        ran = await worker.run(Locally, 2)
    assert (ran.output, ran.called, ran.calls[0].local) == (4, ["local-a", "local-a"], True)


async def test_a_step_that_does_not_exist_is_refused(temporal: Temporal, desk: Desk) -> None:
    """S84, S85: of a sequence once it ran, of a saga before it starts; the message lists the steps."""
    async with serving("examples.quickstart", temporal=temporal, deps=desk) as worker:
        worker.inject("charge-cart", error())
        with pytest.raises(NoSuchStep) as refused:
            await worker.run(BookSeat, BOOKING)
    assert refused.value.message == (
        "there is no step 'charge-cart' to inject anything into; its steps: take-seat, charge-card"
    )
    saga = of_three(card)
    async with serving(seat, card, mail, saga, temporal=temporal) as worker:
        worker.inject("cart", error(), undo=True)
        with pytest.raises(NoSuchStep, match="its steps: seat, card, mail"):
            await worker.run(saga, EmptyInput())


async def test_a_fault_that_is_not_reached_is_an_error(temporal: Temporal, desk: Desk) -> None:
    """An undo that never runs can't go wrong: the test would show nothing."""
    async with serving("examples.quickstart", temporal=temporal, deps=desk) as worker:
        worker.inject("take-seat", error(), undo=True)
        with pytest.raises(NotReached) as missed:
            await worker.run(BookSeat, BOOKING)
    assert missed.value.message == (
        "injected, but never reached: undo of take-seat; called were take-seat, charge-card"
    )


async def test_fakes_stand_in_for_operations(temporal: Temporal) -> None:
    """A fake has the operation's name and types, and none of its effects; what it raises fails the step."""

    def refuse(input: Any) -> str:
        raise RuntimeError(f"no {input.card}")

    seat = fake(take_seat, Ticket(seat="1"))
    async with serving("examples.quickstart", seat, fake(charge_card, refuse), temporal=temporal) as worker:
        ran = await worker.run(BookSeat, BOOKING)
    assert (ran.state, ran.called) == ("rolled_back", ["take-seat", "charge-card", "undo of take-seat"])
    assert ran.calls[0].output == Ticket(seat="1")
    assert ran.failure is not None and ran.failure.root.message == "no 4242"


def test_only_an_undo_that_is_there_can_be_faked() -> None:
    """A fake says so when it is given an undo that its operation lacks; the real one isn't touched."""
    from tests.sample import nothing

    with pytest.raises(DefinitionError, match=r"nothing@1\.0\.0 has no undo that could be faked"):
        fake(nothing, undo=lambda ctx, input, outcome: None)
    handler = take_seat.handler
    made = fake(take_seat, Ticket(seat="1"))
    assert take_seat.handler is handler
    assert Registry(made).retrieve("take-seat").definition == take_seat.definition


async def test_the_framework_counts_what_was_called(temporal: Temporal, desk: Desk) -> None:
    """Calls tell attempt, input and what the undo was told; a plain call needs no worker at all."""
    async with serving("examples.quickstart", temporal=temporal, deps=desk) as worker:
        worker.inject("charge-card", error(unknown=True))
        ran = await worker.run(BookSeat, BOOKING)
    told = [(str(call.place), call.outcome, call.attempt) for call in ran.calls if call.place.undo]
    assert told == [("undo of charge-card", "unknown", 1), ("undo of take-seat", "done", 1)]
    assert take_seat(Context.of(desk), ran.calls[0].input) == Ticket(seat="12A")
