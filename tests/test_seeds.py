"""docs/seeds.md names, for each behaviour of a seed, tests that are there and say so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROW = re.compile(
    r"^\| ((?:OPS|ACT|LRO|A|F|G|S|V|P)-?\d+\w?(?:, \w+-?\d+)*|H, M) \| .* \| ([^|]*) \|$", re.MULTILINE
)
ROWS = ROW.findall((ROOT / "docs" / "seeds.md").read_text())


def claimed(text: str) -> set[str]:
    """Give the rows that a test file names; ``G27–G31`` names all between."""
    found = set(re.findall(r"(?<![\w-])(?:[A-Z]+-)?[A-Z]*\d+\w?(?![\w-])", text))
    for kind, first, last in re.findall(r"(?<![\w-])([A-Z]+)(\d+)–[A-Z]*(\d+)", text):
        found |= {f"{kind}{number}" for number in range(int(first), int(last) + 1)}
    return found


@pytest.mark.parametrize(("ids", "where"), ROWS, ids=[ids for ids, _ in ROWS])
def test_each_row_has_the_tests_it_names(ids: str, where: str) -> None:
    """There is a test, nothing is still to be built, and each file is there and says the row's id."""
    files = re.findall(r"`([^`]+\.py)`", where)
    assert files
    assert "not built" not in where
    for file in files:
        text = (ROOT / "tests" / file).read_text()
        assert claimed(text) & set(ids.split(", ")) or f"({ids})" in text, file


def test_no_row_is_missing() -> None:
    """All rows of operations, compensate and steno are there, each once."""
    kinds = [re.sub(r"\W?\d.*", "", ids) for ids, _ in ROWS]
    assert len({ids for ids, _ in ROWS}) == len(ROWS)
    assert {kind: kinds.count(kind) for kind in ("OPS", "G", "S", "V")} == {
        "OPS": 50,
        "G": 25,
        "S": 37,
        "V": 2,
    }
