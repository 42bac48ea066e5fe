"""Names of steps: readable, unique in a run."""

from __future__ import annotations

import re

from temporalio import workflow

from activities import DefinitionError
from flows._control import DEADLINE

EXPLICIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}\Z")
NAME_LIMIT = 200
OURS = (DEADLINE,)
"""Names that no wait and no approval may have: timers and holds of ours have them."""


class Names:
    """The names that a run has given out."""

    def __init__(self) -> None:
        """Begin with none."""
        self._taken: set[str] = set()
        self._explicit: set[str] = set()

    def reserve(self, name: str) -> None:
        """Take a name that an earlier run gave."""
        self._taken.add(name)

    def give(self, path: str, wanted: str) -> str:
        """Give a name; one that is taken gets ``.2``, ``.3``, … in call order.

        Raises:
            DefinitionError: when flows are nested so deep that the name would be too long.
        """
        base = name = path + wanted
        count = 1
        while name in self._taken:
            count += 1
            name = f"{base}.{count}"
        if len(name) > NAME_LIMIT:
            raise DefinitionError(
                f"step name {name[:60]}… has {len(name)} characters, {NAME_LIMIT} are allowed"
            )
        self._taken.add(name)
        return name

    def explicit(self, path: str, step: str) -> str:
        """Give the name that the author chose.

        Raises:
            DefinitionError: when it is malformed, or was used before in this run.
        """
        check_name("step", step)
        if path + step in self._explicit:
            raise DefinitionError(f"step name {path + step!r} is used twice; each needs its own")
        self._explicit.add(path + step)
        return self.give(path, step)


def check_name(what: str, name: str) -> None:
    """Refuse a name of the author's that would be read as something else, such as a path.

    Raises:
        DefinitionError: naming it.
    """
    if not EXPLICIT.match(name):
        raise DefinitionError(_malformed(what, name))


def check_waiting(what: str, name: str) -> None:
    """Refuse a name of a wait or an approval, whose timer would be read as something else.

    A run that began before there was this rule goes on.

    Raises:
        DefinitionError: naming it.
    """
    malformed = not EXPLICIT.match(name)
    if (malformed or name in OURS) and workflow.patched("names-of-waits"):
        raise DefinitionError(
            _malformed(what, name) if malformed else f"{what} name {name!r} is ours; choose another"
        )


def _malformed(what: str, name: str) -> str:
    return f"{what} name {name[:120]!r} must be letters, digits, '-' and '_', at most 100 of them"
