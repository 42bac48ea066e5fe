"""What a sweep says of a run that isn't as it must be: a right run passes, and each way to differ has its line (H, M)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from activities import Definition, Failure, Status
from counterstep.reports import Planned, Report, RunInfo
from flows import Policy
from flows.testing import Call, Mode, Place, Ran, error
from flows.testing._checks import Expected, difference, problems
from flows.testing._planning import Case
from flows.testing._steps import Step
from flows.testing._trial import Trial

OP = Definition("op", "1.0.0")
BOOM = Failure(type="Boom", message="it broke")
PLAN = (Planned("seat", "operation"), Planned("card", "operation", after=("seat",)))


def told(name: str, ends: Status, seconds: tuple[int, int], undo: Any = None) -> Report[Any, Any]:
    """Tell of a step, or of an undo, between two seconds."""
    asked, ended = (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=one) for one in seconds)
    bad = BOOM if ends in (Status.FAILED, Status.UNKNOWN) else None
    return Report(name, OP, name, None, ends, error=bad, scheduled=asked, finished=ended, undo=undo)


SEAT = told("seat", Status.DONE, (0, 1), undo=told("seat", Status.DONE, (6, 7)))
CARD = told("card", Status.UNKNOWN, (2, 3), undo=told("card", Status.DONE, (4, 5)))
CALLED = (("seat", False), ("card", False), ("card", True), ("seat", True))
FAULTS = {Place("card"): (error(unknown=True),)}
CASE = Case("card", Mode.UNKNOWN, FAULTS, frozenset({"rolled_back"}), frozenset({"card"}))


def ran(*steps: Report[Any, Any], state: str = "rolled_back", failure: Failure | None = None) -> Ran:
    """Give a run of a seat and a card that told of these steps."""
    run = RunInfo("default", "w", "r", "r", "buy@1.0.0", "failed", state, 40)
    flow = Report("w", OP, "", None, Status.FAILED, children=steps, is_flow=True, run=run, plan=PLAN)
    return Ran(cast(Any, None), flow, (), failure=failure)


def trial(called: Any = CALLED, keys: Mapping[int, str] | None = None) -> Trial:
    """Give what was called; some calls with a key of their own."""
    calls = [
        Call(Place(step, undo), str(OP), (keys or {}).get(number, step), 1, None)
        for number, (step, undo) in enumerate(called)
    ]
    return Trial("w", cast(Any, None), calls=calls)


def step(name: str, policy: Policy) -> Step:
    """Give a step with an undo."""
    before = frozenset({"seat"} if name == "card" else ())
    none: frozenset[str] = frozenset()
    return Step(
        name, str(OP), undoable=True, attempts=1, final=True, undo_final=False, seconds=0.1, once=False, local=False,
        before=before, siblings=none, skipped=False, gone=none, pivoted=False, races=False, policy=policy,
    )  # fmt: skip


def said(run: Ran, called: Trial | None = None, case: Case = CASE, **policy: Any) -> list[str]:
    """Give what a sweep says of a run."""
    rules = Policy(**policy)
    expected = Expected({name: step(name, rules) for name in ("seat", "card")}, rules)
    return list(problems(expected, case, run, called or trial()))


def test_a_right_run_passes() -> None:
    """A seat and a card, whose outcome is unknown, and both undone: nothing is said."""
    assert said(ran(SEAT, CARD)) == []


def test_a_fault_that_is_not_reached_is_told() -> None:
    """Also one that was reached, and held its effect back for an undo that never came."""
    left, held = trial(), trial()
    left.inject({Place("card"): (error(),), Place("seat", undo=True): (error(),)})
    assert said(ran(SEAT, CARD), left) == ["never reached: card, undo of seat"]
    held.inject({Place("card"): (error(),)})
    held.next(Place("card"))
    held.hold_back("card", cast(Any, None))
    assert said(ran(SEAT, CARD), held) == ["never reached: card"]


def test_a_fault_that_lasts_comes_again() -> None:
    """One whose answer came too late, on a busy machine, doesn't let the step succeed in the end."""
    busy, once = trial(), replace(error(), lasts=False)
    lasting = replace(once, lasts=True)
    busy.inject({Place("card"): (once, lasting), Place("seat"): (lasting, once)})
    assert [busy.next(Place("card")) for _ in range(3)] == [once, lasting, lasting]
    assert [busy.next(Place("seat")) for _ in range(3)] == [lasting, once, None]
    assert busy.missed == []


@pytest.mark.parametrize("case", [CASE, replace(CASE, ends=frozenset({"rolled_back", "kept"}))])
def test_another_end_is_told(case: Case) -> None:
    """With the first line of the failure, if there is one."""
    ends = " or ".join(sorted(case.ends))
    caught = "; if the flow catches the failure on purpose, name the step in `survives`"
    assert said(ran(SEAT, CARD, state="completed"), case=case) == [f"it ended completed, not {ends}{caught}"]
    nothing = replace(case, failed=frozenset())
    assert said(ran(SEAT, replace(CARD, outcome=Status.DONE), state="completed"), case=nothing) == [
        f"it ended completed, not {ends}"
    ]
    failure = Failure(type="Stuck", message="buy@1.0.0: seat is left\nand more")
    assert said(ran(SEAT, CARD, state="stuck", failure=failure), case=case) == [
        f"it ended stuck, not {ends}: buy@1.0.0: seat is left"
    ]


def test_a_step_that_fails_by_itself_is_told() -> None:
    """Unless that is left open, or the policy cancels what is in flight when a step fails."""
    seat = replace(SEAT, outcome=Status.FAILED, error=BOOM)
    line = "step seat failed, and nothing was injected there: Boom: it broke"
    assert said(ran(seat, CARD)) == [line]
    assert said(ran(seat, CARD), case=replace(CASE, failed=frozenset())) == [
        "step card failed, and nothing was injected there: Boom: it broke",
        line,
    ]
    assert said(ran(seat, CARD), case=replace(CASE, failed=None)) == []
    assert said(ran(seat, CARD), settle="cancel") == []


def test_a_step_that_was_to_fail_and_did_not_is_told() -> None:
    """The flow survived what was injected, or it was injected elsewhere."""
    card = replace(CARD, outcome=Status.DONE, error=None)
    assert said(ran(SEAT, card)) == ["step card was to fail, and didn't"]


def test_what_is_left_is_told() -> None:
    """Also where its undo failed; not where that is left open, or where it was to fail."""
    bare, failed = replace(SEAT, undo=None), replace(SEAT, undo=told("seat", Status.FAILED, (6, 7)))
    assert said(ran(bare, CARD), trial(CALLED[:-1])) == ["step seat is done, and isn't undone"]
    assert said(ran(failed, CARD)) == ["step seat is done, and isn't undone"]
    assert said(ran(failed, CARD), case=replace(CASE, leaves=True)) == []
    stuck = replace(CASE, ends=frozenset({"stuck"}), stuck=frozenset({"seat"}))
    assert said(ran(failed, CARD, state="stuck"), case=stuck) == []


def test_what_is_left_beside_what_was_to_be_stuck_is_told() -> None:
    """Beside the steps whose undo was to fail only those that came before them, and were tried; unless the policy stops there."""
    undone = (told("seat", Status.FAILED, (6, 7)), told("card", Status.FAILED, (4, 5)))
    seat, card = replace(SEAT, undo=undone[0]), replace(CARD, undo=undone[1])
    stuck = replace(CASE, ends=frozenset({"stuck"}), stuck=frozenset({"card"}))
    both = replace(stuck, stuck=frozenset({"seat", "card"}))
    run = ran(seat, card, state="stuck")
    assert said(run, case=both) == []
    assert said(run, case=stuck) == []
    untried = ran(replace(SEAT, undo=None), card, state="stuck")
    assert said(untried, trial(CALLED[:-1]), stuck) == ["step seat is done, and isn't undone"]
    assert said(untried, trial(CALLED[:-1]), stuck, on_undo_failure="stop") == []
    first = replace(stuck, stuck=frozenset({"seat"}))
    assert said(run, case=first) == ["step card is unknown, and isn't undone"]
    assert said(ran(seat, CARD, state="stuck"), case=both) == [
        "step card is undone, although its undo was to fail"
    ]


def test_undos_out_of_order_are_told() -> None:
    """An undo waits until what came after its step is undone."""
    early = replace(SEAT, undo=told("seat", Status.DONE, (4, 6)))
    assert said(ran(early, CARD)) == ["the undo of seat began before card, which came after it, was undone"]


def test_calls_that_the_history_does_not_tell_of_are_told() -> None:
    """And undos that it tells of, and that nobody called."""
    assert said(ran(SEAT, CARD), trial((("mail", False), *CALLED))) == [
        "step mail was called, and the history doesn't tell of it"
    ]
    assert said(ran(SEAT, CARD), trial((*CALLED, ("mail", True)))) == [
        "the undo of mail was called, and the history says otherwise"
    ]
    assert said(ran(SEAT, CARD), trial(CALLED[:-1])) == [
        "the undo of seat was not called, and the history says otherwise"
    ]


def test_a_call_after_the_undo_is_told() -> None:
    """Nothing runs after its undo."""
    assert said(ran(SEAT, CARD), trial((*CALLED, ("card", False)))) == ["step card was called after its undo"]


def test_a_key_that_changes_is_told() -> None:
    """Also between a step and its undo."""
    assert said(ran(SEAT, CARD), trial(keys={2: "other"})) == ["the idempotency key of card changed"]


def test_a_world_that_differs_is_shown() -> None:
    """Its first lines, and how many there are more."""
    assert list(difference([1], [1], "as before")) == []
    assert list(difference([1], [2], "as before")) == ["the world isn't as before:\n    -[1]\n    +[2]"]
    (line,) = difference([], ["a long name of a file"] * 20, "as before")
    assert line.splitlines()[-1] == "    … and 9 lines more"
