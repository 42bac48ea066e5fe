"""The worker for tests: faults by step name, recorded calls, fakes, refusals."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities import Context, DefinitionError, EmptyInput, Outcome, Registry, Unrecoverable, operation
    from activities._wire import HEADER, StepHeader
    from examples.quickstart import Booking, BookSeat, Desk, Ticket, charge_card, take_seat
    from flows import Dag, Sequence, no_undo, saga
    from flows.testing import (
        BodyFailed,
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
    from flows.testing._faults import error_first
    from flows.testing._rig import Rig, _place
    from flows.testing._trial import Place, Trial
    from flows.testing._worker import collected
    from tests.kit.planted import Shop, card, mail, of_three, seat
    from tests.sample import local_a
    from tests.support import new_id

BOOKING = Booking(seat="12A", card="4242")
FAILED = ["take-seat", "charge-card"]
UNWOUND = [*FAILED, "undo of take-seat"]
UNWOUND_TWICE = [*FAILED, "undo of charge-card", "undo of take-seat"]
FORWARD: dict[str, tuple[Fault, str, list[str]]] = {
    "error": (error(), "rolled_back", UNWOUND),
    "error after": (error(after=True), "rolled_back", UNWOUND_TWICE),
    "timeout": (timeout(), "rolled_back", UNWOUND_TWICE),
    "cancel": (cancel("in"), "cancelled", UNWOUND_TWICE),
    "crash": (crash(), "completed", [*FAILED, "charge-card"]),
    "repeat": (repeat(3), "completed", FAILED),
    "slow": (slow(), "completed", FAILED),
}
UNDO: dict[str, tuple[Fault, str, list[int]]] = {
    "error": (error(), "stuck", [0]),
    "error after": (error(after=True), "stuck", [1]),
    "timeout": (timeout(), "rolled_back", [1, 1]),
    "cancel": (cancel("in"), "rolled_back", [1]),
    "crash": (crash(), "rolled_back", [1, 1]),
    "repeat": (repeat(3), "rolled_back", [3]),
    "slow": (slow(), "rolled_back", [1]),
}


@pytest.fixture(params=["dev", "skipping"])
def server(request: pytest.FixtureRequest, temporal: Temporal) -> Temporal:
    """Each kind of server: users have the time-skipping one unless they say otherwise."""
    return temporal if request.param == "dev" else Temporal()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A ticket desk of the test's own."""
    return Desk(tmp_path)


@pytest.mark.parametrize("name", FORWARD)
async def test_a_step_goes_wrong_as_injected(name: str, server: Temporal, desk: Desk) -> None:
    """G43: each fault gives its end, and its calls, in order; what is unwound leaves no file."""
    fault, end, called = FORWARD[name]
    async with serving("examples.quickstart", temporal=server, deps=desk) as worker:
        worker.inject("charge-card", fault)
        ran = await worker.run(BookSeat, BOOKING)
        assert (ran.state, ran.called) == (end, called)
        assert ran.calls[1].effects == (3 if name == "repeat" else 0 if name == "error" else 1)
        assert len(list(desk.root.iterdir())) == (2 if end == "completed" else 0)
        clean = await worker.run(BookSeat, Booking(seat="12B", card="1"))
    assert (clean.state, clean.output) == ("completed", Ticket(seat="12B"))


@pytest.mark.parametrize("name", UNDO)
async def test_an_undo_goes_wrong_in_each_way(name: str, server: Temporal, desk: Desk) -> None:
    """G43: each fault in an undo gives its end, and its executions; only what never took effect leaves its file."""
    fault, end, effects = UNDO[name]
    async with serving("examples.quickstart", temporal=server, deps=desk) as worker:
        worker.inject("charge-card", error())
        worker.inject("take-seat", fault, undo=True)
        ran = await worker.run(BookSeat, BOOKING)
    assert (ran.state, ran.called) == (end, [*FAILED, *["undo of take-seat"] * len(effects)])
    assert [call.effects for call in ran.calls[2:]] == effects
    assert [call.fault for call in ran.calls[2:]] == [fault.name, *[None] * (len(effects) - 1)]
    assert [file.name for file in desk.root.iterdir()] == (["seat-12A"] if name == "error" else [])


async def test_what_is_local_is_tried_again_soon(temporal: Temporal) -> None:
    """As what is remote is: an undo that never works has spent its ten attempts at once, not after 50 seconds."""

    @operation(id="here", version="1.0.0", placement="local")
    async def here(ctx: Context[None], input: EmptyInput) -> None:
        """Do nothing."""

    @here.undo
    async def undo(ctx: Context[None], input: EmptyInput, outcome: Outcome[None]) -> None:
        raise RuntimeError("nothing to undo")

    @operation(id="down", version="1.0.0")
    async def down(ctx: Context[None], input: EmptyInput) -> None:
        """Fail."""
        raise Unrecoverable("down")

    @saga(id="line", version="1.0.0")
    def line(dag: Dag, params: EmptyInput) -> None:
        """One after the other."""
        dag.append("here", here, {})
        dag.append("down", down, {}, undo=no_undo)

    async with serving(line, here, down, temporal=temporal) as worker:
        ran = await worker.run(line, EmptyInput())
        timers = [
            event.timer_started_event_attributes.start_to_fire_timeout.ToTimedelta()
            async for event in ran.handle.fetch_history_events()
            if event.HasField("timer_started_event_attributes")
        ]
    assert ran.called == ["here", "down", *["undo of here"] * 10]
    assert timers == [timedelta(milliseconds=20)] * 9


async def test_what_is_slow_begins_late(temporal: Temporal) -> None:
    """The handler begins no sooner than that after the step before it, though nothing else keeps it waiting."""
    began: list[float] = []

    def noted(result: Any) -> Any:
        return lambda input: began.append(time.monotonic()) or result

    faked = fake(take_seat, noted(Ticket(seat="1"))), fake(charge_card, noted("charge-1"))
    async with serving("examples.quickstart", *faked, temporal=temporal) as worker:
        worker.inject("charge-card", slow(timedelta(seconds=1)))
        ran = await worker.run(BookSeat, BOOKING)
    assert (ran.state, ran.calls[1].fault, ran.calls[1].effects) == ("completed", "slow", 1)
    assert began[1] - began[0] > 0.99
    assert ran.calls[1].seconds > 0.99


async def test_what_is_slow_does_nothing_until_then() -> None:
    """It waits before its effect, not after it."""
    done: list[str] = []

    async def effect() -> None:
        done.append("effect")

    acting = asyncio.ensure_future(slow(timedelta(hours=1)).act(effect, Trial("x", None)))  # type: ignore[arg-type]
    await asyncio.sleep(0.01)
    assert (done, acting.done()) == ([], False)
    acting.cancel()
    await slow(timedelta(0)).act(effect, Trial("x", None))  # type: ignore[arg-type]
    assert done == ["effect"]


@pytest.mark.parametrize(
    "injects",
    [[[error()], [repeat()]], [[repeat()], [error()]], [[error(), repeat()]], [[repeat(), error()]]],
    ids=["error then repeat", "repeat then error", "error and repeat", "repeat and error"],
)
async def test_an_error_wins_over_a_repeat(
    injects: list[list[Fault]], temporal: Temporal, desk: Desk
) -> None:
    """S83: in whichever order both are injected, the handler isn't called, and the repeat isn't missed."""
    async with serving("examples.quickstart", temporal=temporal, deps=desk) as worker:
        for faults in injects:
            worker.inject("charge-card", *faults)
        ran = await worker.run(BookSeat, BOOKING)
    assert (ran.state, ran.called) == ("rolled_back", UNWOUND)
    assert [(call.fault, call.effects) for call in ran.calls] == [(None, 1), ("error before", 0), (None, 1)]


@pytest.mark.parametrize("undo", [False, True])
async def test_what_is_injected_at_one_place_adds_up(undo: bool, temporal: Temporal) -> None:
    """S83: a repeat follows an error that leaves another attempt, and what is neither stays where it was."""
    flow = of_three(card)
    async with serving(seat, card, mail, flow, temporal=temporal, deps=Shop()) as worker:
        if undo:
            worker.inject("mail", error())
        for fault in (crash(), repeat(), error(retryable=True)):
            worker.inject("card", fault, undo=undo)
        ran = await worker.run(flow, EmptyInput())
    there = [(call.fault, call.effects) for call in ran.calls if call.place == Place("card", undo)]
    assert there == [("crash", 1), ("error before", 0), ("repeat 2", 2)]
    assert ran.state == ("rolled_back" if undo else "completed")


async def test_a_repeat_that_nothing_wins_over_is_missed(temporal: Temporal, desk: Desk) -> None:
    """Only an error keeps a repeat from happening; the second of two repeats never comes, and that is said."""
    async with serving("examples.quickstart", temporal=temporal, deps=desk) as worker:
        worker.inject("charge-card", repeat(), repeat())
        with pytest.raises(
            NotReached, match="never reached: charge-card; called were take-seat, charge-card"
        ):
            await worker.run(BookSeat, BOOKING)


def test_only_repeats_give_way() -> None:
    """S83: where there is no error, the order stays; errors keep theirs."""
    first, last, often, lost = error(), error(after=True), repeat(), crash()
    assert error_first([often, lost]) == [often, lost]
    assert error_first([often, first, lost, last]) == [first, lost, last, often]


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


async def test_a_local_operation_that_is_not_served_is_named(temporal: Temporal) -> None:
    """It isn't the body that has a bug: the test forgot it."""
    async with serving(Locally, temporal=temporal) as worker:
        with pytest.raises(BodyFailed) as failed:
            await worker.run(Locally, 1)
    assert (
        failed.value.message == "local-a@1.0.0 isn't served by this test: add it to what is, in serve=[...]"
    )


async def test_local_steps_can_be_lost_too(temporal: Temporal, world: Any) -> None:
    """A local step whose execution is lost runs again."""
    async with serving(local_a, Locally, temporal=temporal, deps=world) as worker:
        worker.inject("local-a", crash())
        ran = await worker.run(Locally, 2)
    assert (ran.output, ran.called, ran.calls[0].local) == (4, ["local-a", "local-a"], True)


async def test_a_step_that_does_not_exist_is_refused(temporal: Temporal, desk: Desk) -> None:
    """S84: of a sequence once it ran, of a saga before it starts; the message lists the steps."""
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


@saga(id="inner", version="1.0.0")
def inner(dag: Dag, params: EmptyInput) -> None:
    """A card, and a number."""
    dag.append("x", card, {})
    dag.constant("seven", 7)


@saga(id="of-kinds", version="1.0.0")
def of_kinds(dag: Dag, params: EmptyInput) -> None:
    """One step of each kind but a flow."""
    dag.constant("five", 5)
    dag.append("a", seat, {})
    dag.wait("pause", timedelta(milliseconds=1))
    dag.subsaga("s", inner, {})
    dag.approval("go")


@saga(id="with-flow", version="1.0.0")
def with_flow(dag: Dag, params: EmptyInput) -> None:
    """A child flow, whose steps the plan doesn't tell of."""
    dag.constant("five", 5)
    dag.flow("kid", inner, {})


class OfKinds(Sequence[EmptyInput, None], id="of-kinds-in-line", version="1.0.0"):
    """A step, a wait, a saga inline, a child."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(seat, input, step="first")
        await self.wait(timedelta(milliseconds=1), name="pause")
        await self.execute(inner, input, step="line")
        await self.execute(inner, input, child=True, step="kid", key="again")


STEPS_OF_KINDS = "a, s/x"
STEPS_IN_LINE = "first, line/x, kid/x"


@pytest.mark.parametrize(
    ("flow", "step", "kind", "known"),
    [
        (of_kinds, "five", "a constant", STEPS_OF_KINDS),
        (of_kinds, "pause", "a wait", STEPS_OF_KINDS),
        (of_kinds, "go", "an approval", STEPS_OF_KINDS),
        (of_kinds, "s", "a subsaga", STEPS_OF_KINDS),
        (of_kinds, "s/seven", "a constant", STEPS_OF_KINDS),
        (with_flow, "five", "a constant", "none"),
        (with_flow, "kid", "a flow", "none"),
        (with_flow, "kid/seven", "a constant", "kid/x"),
        (OfKinds, "pause", "a wait", STEPS_IN_LINE),
        (OfKinds, "line", "a flow", STEPS_IN_LINE),
        (OfKinds, "line/seven", "a constant", STEPS_IN_LINE),
        (OfKinds, "kid", "a flow", STEPS_IN_LINE),
        (OfKinds, "kid/seven", "a constant", STEPS_IN_LINE),
    ],
)
@pytest.mark.parametrize("undo", [False, True])
async def test_where_there_is_no_operation_nothing_is_injected(
    flow: Any, step: str, kind: str, known: str, undo: bool, temporal: Temporal
) -> None:
    """S85: the message says what stands there, and where there is an operation; of a saga's own steps before it starts."""
    shop = Shop()
    async with serving(
        seat, card, inner, of_kinds, with_flow, OfKinds, temporal=temporal, deps=shop
    ) as worker:
        worker.inject(step, error(), undo=undo)
        with pytest.raises(NoSuchStep) as refused:
            await worker.run(flow, EmptyInput())
    assert refused.value.message == (
        f"{step!r} is {kind}, and has no operation to inject anything into; steps that have one: {known}"
    )
    assert (len(shop.sold) > 1) == (flow is OfKinds or step == "kid/seven")  # those ran


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
    given: Any = SimpleNamespace(
        activity=type, headers={HEADER: StepHeader(run="r", **header).payload()}, activity_id=activity
    )
    found = _place(Rig(), given, "w")
    assert found is not None and found[1] == place


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: slow(3), "slow takes a timedelta, not 3"),  # type: ignore[arg-type]
        (lambda: timeout(5), "timeout takes a timedelta longer than nothing, not 5"),  # type: ignore[arg-type]
        (
            lambda: crash(timedelta(0)),
            "crash takes a timedelta longer than nothing, not datetime.timedelta(0)",
        ),
        (lambda: error("boom"), "error takes an exception, such as ValueError('down'), not 'boom'"),  # type: ignore[arg-type]
        (lambda: cancel("now"), "cancel takes 'before', 'in' or 'after', not 'now'"),  # type: ignore[arg-type]
        (lambda: repeat(1), "repeat takes a number of calls from 2 on, not 1"),
    ],
    ids=["slow", "timeout", "crash", "error", "cancel", "repeat"],
)
def test_a_fault_that_would_do_something_else_is_refused(make: Any, message: str) -> None:
    """At once, where it is made: in a run it would be taken for what the flow does."""
    with pytest.raises(DefinitionError) as refused:
        make()
    assert refused.value.message == message


@pytest.mark.parametrize("how", ["after", "unknown"])
async def test_an_error_of_ones_own_may_say_that_the_outcome_is_unknown(
    temporal: Temporal, desk: Desk, how: str
) -> None:
    """It is the cause then: an error without a word means that nothing happened."""
    async with serving("examples.quickstart", temporal=temporal, deps=desk) as worker:
        worker.inject("take-seat", error(ValueError("lost"), **{how: True}))  # type: ignore[arg-type]
        ran = await worker.run(BookSeat, BOOKING)
    assert (ran.state, "undo of take-seat" in ran.called) == ("rolled_back", True)
    assert ran.failure is not None and ran.failure.root.message == "lost"


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


@pytest.mark.parametrize(
    ("step", "fault"), [("charge-card", cancel("after")), ("local-a", cancel("in"))], ids=["after", "local"]
)
async def test_a_cancel_that_would_hang_is_refused(step: str, fault: Fault, desk: Desk, world: Any) -> None:
    """On the time-skipping server a cancel can't meet a result: it is said at once, with what to do."""
    flow, input, deps = (BookSeat, BOOKING, desk) if step == "charge-card" else (Locally, 1, world)
    async with serving("examples.quickstart", Locally, local_a, deps=deps) as worker:
        worker.inject(step, fault)
        with pytest.raises(
            DefinitionError, match="hangs when a cancel meets a result: run this test on a dev"
        ):
            await worker.run(flow, input)
