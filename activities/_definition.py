"""What names an operation or a flow: id, semantic version, description."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from semver import Version

from activities._errors import DefinitionError

_NAME = "[A-Za-z0-9][A-Za-z0-9_-]{0,99}"
_ID = re.compile(rf"({_NAME}/)?{_NAME}(:{_NAME})?\Z")


@dataclass(frozen=True)
class Definition:
    """Names an operation or a flow (seed operations: ``Definition``).

    Attributes:
        id: letters, digits, ``-`` and ``_``; at most 100. Those of actions and of their jobs have parts:
            ``application/action``, ``application/action:job``.
        version: a full semantic version, such as ``1.0.0`` (https://semver.org).
        description: free text; no part of equality.

    Raises:
        DefinitionError: when id or version is malformed.
    """

    id: str
    version: str
    description: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        for wrong in malformed(self.id, self.version):
            raise DefinitionError(wrong)

    def __str__(self) -> str:
        """Give ``id@version``, the name on Temporal."""
        return f"{self.id}@{self.version}"

    @classmethod
    def parse(cls, name: str) -> Definition:
        """Read ``id@version`` back.

        Raises:
            DefinitionError: when it isn't one.
        """
        id_, _, version = name.partition("@")
        return cls(id_, version)

    @property
    def semver(self) -> Version:
        """The version, to be compared."""
        return Version.parse(self.version)


def declared(id: str, version: str, description: str = "") -> Definition:
    """Make the definition of what a user declares: its id has no parts.

    Raises:
        DefinitionError: when id or version is malformed.
    """
    if "/" in id or ":" in id:
        raise DefinitionError(_malformed_id(id))
    return Definition(id, version, description)


def malformed(id: str, version: str) -> Iterator[str]:
    """Say what is wrong with an id and with a version."""
    if not _ID.match(id):
        yield _malformed_id(id)
    if not Version.is_valid(version):
        yield f"version {version[:120]!r} of {id[:120]} must be a full one, such as '1.0.0'"


def _malformed_id(id: str) -> str:
    return f"id {id[:120]!r} must be letters, digits, '-' and '_', at most 100 of them"
