"""The list of faults fits the code as it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants.__main__ import ROOT, with_fault
from tests.mutants.faults import MUTANTS, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_fault_changes_its_file(mutant: Mutant) -> None:
    """What it replaces stands there once, what comes of it is Python, and its tests are there."""
    text = (ROOT / mutant.path).read_text()
    changed = with_fault(mutant, text)
    assert changed != text
    compile(changed, mutant.path, "exec")
    assert [test for test in mutant.tests if not (Path(ROOT) / test).exists()] == []
