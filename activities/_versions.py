"""Version ranges on top of ``semver``, which has none: ``^1.2``, ``~1.2``, ``1``, ``1.2``, ``>=1.2,<2``."""

from __future__ import annotations

import re
from collections.abc import Iterable

from semver import Version

_PART = re.compile(r"(?P<op>\^|~|>=|<=|==|!=|=|>|<|)\s*v?(?P<version>\d+(\.\d+){0,2}(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?)\Z")


def newest(versions: Iterable[Version], range_: str | None) -> Version | None:
    """Pick the newest version in a range.

    Pre-releases only count when the range names one. Caret and tilde are npm's; a short version stands for
    all that begin with it.

    Args:
        versions: what there is.
        range_: comma-separated comparisons, all of which must hold; ``None`` takes any.

    Returns:
        The newest that fits, or ``None``.

    Raises:
        ValueError: when the range can't be read.
    """
    parts = [] if range_ is None else [_bounds(part.strip()) for part in range_.split(",")]
    pre = any(low is not None and low.prerelease for low, _, _ in parts)
    fits = [v for v in versions if (pre or not v.prerelease) and all(_inside(v, *part) for part in parts)]
    return max(fits, default=None, key=lambda v: (v, v.build or ""))


def _inside(version: Version, low: Version | None, high: Version | None, spec: str) -> bool:
    if spec and not version.match(spec):
        return False
    return (low is None or version >= low) and (high is None or version < high)


def _bounds(part: str) -> tuple[Version | None, Version | None, str]:
    match = _PART.match(part)
    if not match:
        raise ValueError(f"can't read the version range {part!r}; write ^1.2, ~1.2, 1, 1.2 or >=1.2,<2")
    operator, text = match["op"], match["version"]
    low = Version.parse(text, optional_minor_and_patch=True)
    given = len(re.split(r"[-+]", text)[0].split("."))
    if operator == "^":
        return low, _caret(low, given), ""
    if operator == "~":
        return low, low.bump_major() if given == 1 else low.bump_minor(), ""
    if operator in ("", "=", "==") and given < 3:
        return low, low.bump_major() if given == 1 else low.bump_minor(), ""
    return (low if low.prerelease else None), None, f"{operator if operator not in ('', '=') else '=='}{low}"


def _caret(low: Version, given: int) -> Version:
    if low.major or given == 1:
        return low.bump_major()
    return low.bump_minor() if low.minor or given == 2 else low.bump_patch()
