"""Which version a range picks."""

from __future__ import annotations

import pytest
from semver import Version

from activities._versions import newest

THERE = [
    "0.0.3", "0.0.4", "0.2.0", "0.2.9", "0.3.0", "1.0.0", "1.0.0+abc", "1.2.0-rc.1", "1.2.0-rc.2", "1.2.0",
    "1.2.3", "1.3.0", "2.0.0-beta", "2.0.0", "2.1.0-rc.1",
]  # fmt: skip


def pick(range_: str | None, there: list[str] = THERE) -> str | None:
    found = newest(map(Version.parse, there), range_)
    return None if found is None else str(found)


@pytest.mark.parametrize(
    ("range_", "picked"),
    [
        ("^1.2", "1.3.0"),
        ("^1.2.3", "1.3.0"),
        ("^1", "1.3.0"),
        ("^0.2", "0.2.9"),
        ("^0.2.1", "0.2.9"),
        ("^0.0.3", "0.0.3"),
        ("^0.0", "0.0.4"),
        ("^0", "0.3.0"),
        ("~1.2", "1.2.3"),
        ("~1.2.1", "1.2.3"),
        ("~1", "1.3.0"),
        ("1", "1.3.0"),
        ("v1", "1.3.0"),
        ("1.2", "1.2.3"),
        ("=1.2", "1.2.3"),
        ("1.2.0", "1.2.0"),
        ("v1.2.0", "1.2.0"),
        (">=1.2,<2", "1.3.0"),
        (">= 1.2 , < 1.3", "1.2.3"),
        (">1.2,<2", "1.3.0"),
        (">1.2.0,<1.3", "1.2.3"),
        ("<=1.2", "1.2.3"),
        ("<=1.2.0", "1.2.0"),
        ("<1.2", "1.0.0+abc"),
        ("!=2.0.0", "1.3.0"),
        ("!=2", "1.3.0"),
        (">=3", None),
        ("1.4", None),
        (None, "2.0.0"),
    ],
)
def test_range_picks_the_newest_that_fits(range_: str | None, picked: str | None) -> None:
    """Caret, tilde, short versions and comparisons pick the newest inside."""
    assert pick(range_) == picked


@pytest.mark.parametrize(
    ("range_", "picked"),
    [
        ("1.2.0-rc.1", "1.2.0-rc.1"),
        (">=1.2.0-rc.1,<1.2.0", "1.2.0-rc.2"),
        ("<1.2.0-rc.2", "1.2.0-rc.1"),
        ("<=1.2.0-rc.2", "1.2.0-rc.2"),
        ("^1.2.0-rc.1", "1.3.0"),
        ("^1.2.0-rc.1,<2", "1.3.0"),
        (">=2.1.0-rc.1", "2.1.0-rc.1"),
        (">=2.0.1-0", None),
        ("^2.0.0-alpha", "2.0.0"),
    ],
)
def test_prereleases_only_when_asked_for(range_: str, picked: str | None) -> None:
    """A pre-release counts where the range names one of the same major.minor.patch; so does a bound."""
    assert pick(range_) == picked


def test_a_pre_release_that_is_alone_needs_asking() -> None:
    """Where only 2.0.0-beta is there: ^2, 2 and no range find nothing, ^2.0.0-0 finds it."""
    there = ["2.0.0-beta"]
    assert [pick(r, there) for r in ("^2", "2", None, "^2.0.0-0")] == [None, None, None, "2.0.0-beta"]


def test_a_full_version_is_exact_to_its_build() -> None:
    """1.0.0 isn't 1.0.0+abc, and the other way round; a range takes either, the newest build of them."""
    assert pick("1.0.0", ["1.0.0+abc"]) is None
    assert pick("1.0.0+abc", ["1.0.0"]) is None
    assert pick("1.0.0+b", ["1.0.0", "1.0.0+a", "1.0.0+b"]) == "1.0.0+b"
    assert pick("^1", ["1.0.0+b", "1.0.0", "1.0.0+a"]) == "1.0.0+b"


@pytest.mark.parametrize("range_", ["", "latest", "1.x", "1.2.3.4", "^^1", ">=", "1,", "1.2.0 ||2", "-1"])
def test_a_range_that_cannot_be_read_says_what_can(range_: str) -> None:
    """Anything else is refused, quoting the part and showing what is understood."""
    with pytest.raises(
        ValueError, match=r"^can't read the version range '.*'; write \^1\.2, ~1\.2, 1, 1\.2 or >=1\.2,<2$"
    ):
        pick(range_)
