"""Ratios of pairs: median, and its 95 % interval by order statistics (no distribution is assumed)."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from statistics import median


@dataclass(frozen=True)
class Ratio:
    """A median ratio and its interval."""

    median: float
    low: float
    high: float
    pairs: int

    def __str__(self) -> str:
        """Give it as text."""
        return f"{self.median:.3f} [{self.low:.3f}, {self.high:.3f}]"


def ratio(pairs: list[tuple[float, float]]) -> Ratio:
    """Give the median of ours / theirs over pairs."""
    values = sorted(ours / theirs for ours, theirs in pairs)
    rank = _rank(len(values))
    return Ratio(median(values), values[rank], values[-1 - rank], len(values))


def _rank(count: int) -> int:
    """Give how many values may be cut at each end so that 95 % confidence is left."""
    tail, rank = 0.0, 0
    for k in range(count // 2):
        tail += comb(count, k) / 2**count
        if tail > 0.025:
            break
        rank = k
    return rank
