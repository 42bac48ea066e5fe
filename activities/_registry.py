"""What a worker offers, built explicitly and looked up by id, version or range."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from semver import Version

from activities._definition import Definition
from activities._errors import DefinitionExists, OperationNotFound, near
from activities._operation import Operation
from activities._versions import newest


class Defined(Protocol):
    """What can be registered: operations and flows."""

    @property
    def definition(self) -> Definition:
        """Its id and version."""
        ...


class Registry:
    """Operations and flows by id and version (seed operations: ``OperationRegistry``; nothing is global)."""

    def __init__(self, *definitions: Defined) -> None:
        """Begin with some definitions.

        Raises:
            DefinitionExists: when two have the same id and version.
        """
        self._entries: dict[str, dict[str, Any]] = {}
        self.register(*definitions)

    def register(self, *definitions: Defined, replace: bool = False) -> None:
        """Add definitions.

        Args:
            definitions: operations and flow classes.
            replace: whether one with the same id and version may be replaced.

        Raises:
            DefinitionExists: naming the one that is there already.
        """
        for entry in definitions:
            versions = self._entries.setdefault(entry.definition.id, {})
            known = versions.get(entry.definition.version)
            if known is not None and known is not entry and not replace:
                raise DefinitionExists(
                    f"{entry.definition} is registered already, as {known!r}; give one a new version"
                )
            versions[entry.definition.version] = entry

    def retrieve(self, name: Definition | str) -> Any:
        """Look up a definition.

        Args:
            name: a definition, ``id@1.2.0``, ``id@^1.2`` (newest that fits) or ``id`` (newest).

        Returns:
            The operation or flow; pre-releases only when asked for.

        Raises:
            OperationNotFound: listing near names.
        """
        id_, at, range_ = str(name).partition("@")
        versions = self._entries.get(id_, {})
        try:
            found = (
                range_ if range_ in versions else newest(map(Version.parse, versions), range_ if at else None)
            )
        except ValueError as error:
            raise OperationNotFound(f"{name}: {error}") from None
        if found is None:
            raise OperationNotFound(
                f"{name} isn't registered; {near(str(name), map(str, self.definitions()))}"
            )
        return versions[str(found)]

    def definitions(self) -> Iterator[Definition]:
        """Give every definition, by id and version."""
        return (entry.definition for entry in self)

    def operations(self) -> Iterable[Operation[Any, Any]]:
        """Give the operations."""
        return [entry for entry in self if isinstance(entry, Operation)]

    def flows(self) -> list[Any]:
        """Give the flows."""
        return [entry for entry in self if not isinstance(entry, Operation)]

    def __iter__(self) -> Iterator[Any]:
        """Walk over all entries, by id and version."""
        for _, versions in sorted(self._entries.items()):
            yield from (versions[v] for v in sorted(versions, key=lambda v: (Version.parse(v), v)))
