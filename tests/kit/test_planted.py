"""A sweep finds planted bugs, names the step and the mode, and passes the corrected versions."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities import EmptyInput
    from flows.testing import QUICK, Coverage, Mode, NotHeld, Temporal, sweep
    from tests.kit.planted import BUGS, Bug, card, look, mail, seat, shop

SAMPLE = ["an undo that isn't idempotent", "a missing undo"]
CASES = [pytest.param(n, id=n, marks=() if n in SAMPLE else pytest.mark.nightly) for n in BUGS]


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


@pytest.mark.parametrize("name", CASES)
async def test_a_planted_bug_is_found(name: str, temporal: Temporal) -> None:
    """The first broken cell is at the step that has the bug, in the mode that shows it, and says what is wrong."""
    bug: Bug = BUGS[name]
    coverage = await swept(bug.wrong, temporal, steps=["card"])
    assert first(coverage) == ("card", bug.mode)
    assert bug.says in coverage.cell("card", Mode(bug.mode)).why[0]


@pytest.mark.parametrize(
    "name", [CASES[0], *(pytest.param(n, marks=pytest.mark.nightly) for n in list(BUGS)[1:])]
)
async def test_its_corrected_version_passes(name: str, temporal: Temporal) -> None:
    """Corrected, every cell is held, or says why it doesn't apply."""
    coverage = await swept(BUGS[name].right, temporal, steps=["card"])
    assert (coverage.found, coverage.problems) == ([], [])
    assert coverage.count("held") + coverage.count("not applicable") == len(coverage.steps) * len(QUICK)
    assert coverage.cell("card", Mode.UNDO_REPEATED).status == "held"
