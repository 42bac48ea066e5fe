"""Version ranges on top of ``semver``, which has none: ``^1.2``, ``~1.2``, ``1``, ``1.2``, ``>=1.2,<2``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from semver import Version

_PART = re.compile(
    r"(?P<op>\^|~|>=|<=|==|!=|=|>|<|)\s*v?(?P<version>\d+(\.\d+){0,2}(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?)\Z"
)


def newest(versions: Iterable[Version], range_: str | None) -> Version | None:
    """Pick the newest version in a range.

    As in npm, a pre-release only counts when the range names one of the same ``major.minor.patch``, and a
    short version stands for all that begin with it. A full one means that very version, build metadata
    included.

    Args:
        versions: what there is.
        range_: comma-separated comparisons, all of which must hold; ``None`` takes any.

    Returns:
        The newest that fits, or ``None``.

    Raises:
        ValueError: when the range can't be read.
    """
    parts = [] if range_ is None else [_Part.read(part.strip()) for part in range_.split(",")]
    asked = {part.low.to_tuple()[:3] for part in parts if part.low.prerelease}
    fits = [v for v in versions if not v.prerelease or v.to_tuple()[:3] in asked]
    return max(
        (v for v in fits if all(p.holds(v) for p in parts)), default=None, key=lambda v: (v, v.build or "")
    )


@dataclass(frozen=True)
class _Part:
    """One comparison: an operator, a version, and how many of its numbers were given."""

    operator: str
    low: Version
    given: int

    @classmethod
    def read(cls, part: str) -> _Part:
        match = _PART.match(part)
        if not match:
            raise ValueError(f"can't read the version range {part!r}; write ^1.2, ~1.2, 1, 1.2 or >=1.2,<2")
        text = match["version"]
        given = len(re.split(r"[-+]", text)[0].split("."))
        return cls(match["op"], Version.parse(text, optional_minor_and_patch=True), given)

    def holds(self, version: Version) -> bool:
        low, full = self.low, self.given == 3
        tilde = low.bump_major() if self.given == 1 else low.bump_minor()
        inside = (version, version.build) == (low, low.build) if full else low <= version < tilde
        above = version > low if full else version >= tilde
        answers = {"^": low <= version < self._caret(), "~": low <= version < tilde, "!=": not inside}
        answers |= {">": above, "<=": not above, ">=": version >= low, "<": version < low}
        return bool(answers.get(self.operator, inside))

    def _caret(self) -> Version:
        if self.low.major or self.given == 1:
            return self.low.bump_major()
        return self.low.bump_minor() if self.low.minor or self.given == 2 else self.low.bump_patch()
