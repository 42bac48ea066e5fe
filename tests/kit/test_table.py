"""The table of a sweep: what makes it fail, what it says first, and its three forms."""

from __future__ import annotations

import json

from flows.testing import ALL, QUICK, Cell, Coverage, Mode, NotHeld

FEW = (Mode.FAILS, Mode.UNDO_REPEATED)
CELLS = {("seat", Mode.FAILS): Cell("held", 2), ("card", Mode.FAILS): Cell("broken", 1, ("<it> leaks",))}


def test_a_missing_cell_fails() -> None:
    """A cell that no run filled, and that nobody explained, makes the table fail."""
    coverage = Coverage("buy@1.0.0", ["seat"], FEW, CELLS)
    assert [(step, mode, cell.status) for step, mode, cell in coverage.found] == [
        ("seat", Mode.UNDO_REPEATED, "missing")
    ]
    assert not coverage.holds
    assert "seat × undo repeated: no run tried it, and nothing says why" in str(NotHeld(coverage))


def test_what_keeps_a_sweep_from_running_is_told_alone() -> None:
    """Where the flow as a whole has a problem, nobody is told of each cell that nothing filled."""
    coverage = Coverage("buy@1.0.0", ["seat"], FEW, {}, ["it has no steps"])
    assert coverage.complaints() == ["", "it has no steps"]
    assert str(NotHeld(coverage)).startswith("it has no steps\n\nbuy@1.0.0: ")


def test_a_step_whose_cells_are_crowded_comes_after_the_one_that_fails() -> None:
    """Under a policy that undoes what failed, too, the next step's own undo may be what is wrong."""
    cells = {
        ("seat", Mode.FAILS): Cell("held", 1),
        ("seat", Mode.UNDO_REPEATED): Cell("broken", 1, ("it leaks",), crowded=True),
        ("card", Mode.FAILS): Cell("broken", 1, ("it leaks",)),
        ("card", Mode.UNDO_REPEATED): Cell("held", 1),
    }
    coverage = Coverage("buy@1.0.0", ["seat", "card"], FEW, cells)
    assert [(name, mode) for name, mode, _ in coverage.found] == [
        ("card", Mode.FAILS),
        ("seat", Mode.UNDO_REPEATED),
    ]


def test_the_table_as_text_json_and_html() -> None:
    """All three say the same of each cell; the page holds no markup of a message's."""
    coverage = Coverage("buy@1.0.0", ["seat", "card"], [Mode.FAILS], CELLS, runs=3, seconds=1.2)
    assert coverage.text().splitlines() == [
        "buy@1.0.0: 2 steps × 1 modes: 1 held, 1 broken, 0 not applicable, 0 missing; 3 runs in 1 s",
        "",
        "  1 seat",
        "  2 card",
        "",
        "                         1   2",
        "fails before its effect  ✓   ✗",
        "",
        "✓ held  ✗ broken  · not applicable  ? missing",
        "",
        "card × fails before its effect: <it> leaks",
    ]
    told = json.loads(coverage.json())
    assert told["cells"] == [
        {"step": "seat", "mode": "fails before its effect", "status": "held", "runs": 2, "why": []},
        {
            "step": "card",
            "mode": "fails before its effect",
            "status": "broken",
            "runs": 1,
            "why": ["<it> leaks"],
        },
    ]
    page = coverage.html()
    assert page.count('<td class="held"') == 1 and page.count('<td class="broken"') == 1
    assert "<it>" not in page and "&lt;it&gt; leaks" in page
    assert "http" not in page


def test_every_mode_is_quick_a_restart_or_a_reset() -> None:
    """The quick modes are all but those that replace the worker or reset the run."""
    assert [mode for mode in ALL if mode not in QUICK] == [
        Mode.REPLAYED, Mode.RESTART_BEFORE, Mode.RESTART_IN, Mode.RESTART_AFTER,
        Mode.UNDO_RESTART_BEFORE, Mode.UNDO_RESTART_IN, Mode.UNDO_RESTART_AFTER,
        Mode.RESET_COMPLETED, Mode.RESET_UNWOUND,
    ]  # fmt: skip


def test_the_step_that_is_to_blame_comes_first() -> None:
    """What can only be its own fault comes before what later steps take part in, and what wasn't reached comes last."""
    modes = (Mode.FAILS_AFTER, Mode.CANCEL_IN, Mode.UNDO_REPEATED, Mode.UNDO_FAILS)
    places = [
        ("seat", Mode.UNDO_FAILS),
        ("seat", Mode.CANCEL_IN),
        ("card", Mode.UNDO_REPEATED),
        ("mail", Mode.FAILS_AFTER),
    ]
    cells = {(name, mode): Cell("held", 1) for name in ("seat", "card", "mail") for mode in modes}
    cells |= {place: Cell("broken", 1, ("it leaks",)) for place in places}
    cells["seat", Mode.FAILS_AFTER] = Cell("broken", 1, ("never reached: seat",), reached=False)
    coverage = Coverage("buy@1.0.0", ["seat", "card", "mail"], modes, cells)
    assert [(name, mode) for name, mode, _ in coverage.found] == [
        ("card", Mode.UNDO_REPEATED),
        ("mail", Mode.FAILS_AFTER),
        ("seat", Mode.CANCEL_IN),
        ("seat", Mode.UNDO_FAILS),
        ("seat", Mode.FAILS_AFTER),
    ]
