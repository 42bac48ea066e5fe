"""What can be called, as far as its types go."""

from __future__ import annotations

from typing import Any, Protocol

from activities import Definition
from activities._schema import Schema


class Declaration(Protocol):
    """An operation, a sequence class or a saga."""

    @property
    def definition(self) -> Definition:
        """Id, version, description."""
        ...

    @property
    def input(self) -> Schema[Any]:
        """The type of its input."""
        ...

    @property
    def output(self) -> Schema[Any]:
        """The type of its output."""
        ...
