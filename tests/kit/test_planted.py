"""A sweep finds planted bugs, names the step and the mode, and passes the corrected versions (H, M)."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities import EmptyInput
    from flows.testing import QUICK, Coverage, Mode, NotHeld, Temporal, sweep
    from tests.kit.planted import BUGS, Bug, card, look, mail, seat, shop

FOUND = [
    "a missing undo",
    "an undo that looks only at what is unknown",
    "an undo that takes back the newest",
    "an undo that remembers only the last",
    "an operation that takes its own effect for what was before",
    "an operation that tells its own effect as what was before",
    "an operation that comes after its undo",
    "a body that goes on without what it needs",
]
PASSED = [
    "an operation that comes after its undo",
    "an operation that tells its own effect as what was before",
]


def cases(sample: list[str]) -> list[Any]:
    """Give all bugs, those outside of a sample for the night."""
    return [pytest.param(name, marks=() if name in sample else pytest.mark.nightly) for name in BUGS]


async def swept(flow: Any, temporal: Temporal, **options: Any) -> Coverage:
    """Sweep a flow of the shop; give the table, whatever it says."""
    served = [seat, mail, card] if isinstance(flow, type) else [seat, mail, *_operations(flow)]
    options.setdefault("modes", QUICK)
    try:
        return await sweep(
            flow, EmptyInput(), world=look, lifespan=shop, serve=served, temporal=temporal, **options
        )
    except NotHeld as error:
        return error.coverage


def _operations(flow: Any) -> list[Any]:
    from flows import Dag

    dag = Dag()
    flow.build(dag, EmptyInput())
    return [op for op in dag.all.operations.values() if op not in (seat, mail)]


def first(coverage: Coverage) -> tuple[str, str]:
    """Give where a sweep shows something first."""
    step, mode, _ = coverage.found[0]
    return step, mode.value


@pytest.mark.parametrize("name", cases(FOUND))
async def test_a_planted_bug_is_found(name: str, temporal: Temporal) -> None:
    """All steps are swept: the first broken cell is at the one that has the bug, and says what is wrong."""
    bug: Bug = BUGS[name]
    coverage = await swept(bug.wrong, temporal, late=bug.late)
    assert {"seat", "card"} <= set(coverage.steps)
    assert first(coverage) == ("card", bug.mode)
    assert bug.says in coverage.cell("card", Mode(bug.mode)).why[0]


@pytest.mark.parametrize("name", cases(PASSED))
async def test_its_corrected_version_passes(name: str, temporal: Temporal) -> None:
    """Corrected, every cell is held, or says why it doesn't apply."""
    bug = BUGS[name]
    coverage = await swept(bug.right, temporal, late=bug.late)
    assert (coverage.found, coverage.problems) == ([], [])
    assert coverage.count("held") + coverage.count("not applicable") == len(coverage.steps) * len(QUICK)
    shown = (Mode.UNDO_REPEATED, Mode.UNDOS_FAIL, *([Mode.LATE] if bug.late else []))
    assert [coverage.cell("card", mode).status for mode in shown] == ["held"] * len(shown)
