"""The worker for tests: faults by step name, recorded calls, fakes, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities import Context, DefinitionError, EmptyInput, Registry
    from activities._wire import HEADER, StepHeader
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
    from flows.testing._rig import Rig, _place
    from flows.testing._trial import Place, Trial
    from flows.testing._worker import collected
    from tests.kit.planted import card, mail, of_three, seat
    from tests.sample import local_a
    from tests.support import new_id

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


@pytest.mark.parametrize("id", ["tenants/x", "a/b/c"])
async def test_a_workflow_id_may_have_slashes(temporal: Temporal, desk: Desk, id: str) -> None:
    """What is called in such a run is recorded, and goes wrong as injected."""
    async with serving("examples.quickstart", temporal=temporal, deps=desk) as worker:
        worker.inject("charge-card", error())
        ran = await worker.run(BookSeat, BOOKING, id=new_id(id))
    assert ran.called == ["take-seat", "charge-card", "undo of take-seat"]


def test_a_child_s_steps_belong_to_the_longest_id_that_is_known() -> None:
    """A child's id is its parent's and a name; a run whose id begins like another's is its own."""
    rig, trials = Rig(), {id: Trial(id, None) for id in ("tenants", "tenants/x")}  # type: ignore[arg-type]
    rig.trials = trials
    own = StepHeader(run="r")
    found = {id: rig.trial(own, id) for id in ("tenants/x", "tenants/x/pay/2", "tenants/y", "other/x")}
    assert found == {
        "tenants/x": trials["tenants/x"],
        "tenants/x/pay/2": trials["tenants/x"],
        "tenants/y": trials["tenants"],
        "other/x": None,
    }
    assert rig.trial(StepHeader(run="r", workflow="tenants/x/pay"), "z") is trials["tenants/x"]


@pytest.mark.parametrize(
    ("type", "activity", "header", "place"),
    [
        ("a@1.0.0/undo", "leg:0/c.undo", {}, Place("c", undo=True)),
        ("a@1.0.0/undo", "leg:1/c.undo", {"leg": 1}, Place("leg:1/c", undo=True)),
        ("a@1.0.0/undo", "leg:0/c.undo", {"path": "pay/"}, Place("pay/c", undo=True)),
        ("a@1.0.0", "c", {"leg": 2}, Place("leg:2/c")),
        ("a@1.0.0", "c.undo", {}, Place("c.undo")),
    ],
)
def test_a_step_is_scheduled_under_the_name_that_it_is_called_by(
    type: str, activity: str, header: dict[str, Any], place: Place
) -> None:
    """Also an undo of the first leg, which a later leg names with its leg: its fault shortens its timeouts."""
    found = _place(type, {HEADER: StepHeader(run="r", **header).payload()}, activity)
    assert found is not None and found[1] == place


@pytest.mark.parametrize("later", [take_seat, "examples.quickstart"], ids=["object", "module"])
def test_what_comes_later_replaces_what_came_before(later: Any) -> None:
    """A fake goes before what comes after it, whether that is an operation or a module; what is before it is replaced."""
    made = fake(take_seat, Ticket(seat="1"))
    registry, _ = collected([made, later])
    assert registry.retrieve("take-seat") is take_seat
    registry, _ = collected([later, made])
    assert registry.retrieve("take-seat") is made


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
    assert [call.fault for call in ran.calls] == [None, "unknown before", None, None]
    assert told == [("undo of charge-card", "unknown", 1), ("undo of take-seat", "done", 1)]
    assert take_seat(Context.of(desk), ran.calls[0].input) == Ticket(seat="12A")
