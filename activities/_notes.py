"""What a handler leaves for reports beside its output: metadata, and errors that it dealt with."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, field

from activities._errors import NotSerializable
from activities._failure import cut

METADATA_LIMIT = 64 * 1024
ERRORS_LIMIT = 32
"""So many errors of a step are kept, the newest of them."""

LINE_LIMIT = 1024
"""Bytes that one of them has at most."""


class Metadata(MutableMapping[str, bytes]):
    """Named bytes of a step, for its report (seed automa: ``StepReport.Metadata``); at most 64 KB in all."""

    def __init__(self, encoded: dict[str, str] | None = None) -> None:
        """Begin with what earlier attempts left."""
        self._values = {key: b64decode(value) for key, value in (encoded or {}).items()}

    def __getitem__(self, key: str) -> bytes:
        """Give a value."""
        return self._values[key]

    def __setitem__(self, key: str, value: bytes) -> None:
        """Keep a value.

        Raises:
            NotSerializable: when the name is no text, the value no bytes, or there is no room for it.
        """
        if {type(key), type(value)} != {str, bytes}:
            kinds = f"{type(key).__name__} and {type(value).__name__}"
            raise NotSerializable(f"metadata has names of text and values of bytes, not {kinds}")
        others = sum(len(k.encode()) + len(v) for k, v in self._values.items() if k != key)
        if others + len(key.encode()) + len(value) > METADATA_LIMIT:
            raise NotSerializable(
                f"metadata {key[:100]!r}: a step has room for {METADATA_LIMIT} bytes in all"
            )
        self._values[key] = value

    def __delitem__(self, key: str) -> None:
        """Take a value out."""
        del self._values[key]

    def __iter__(self) -> Iterator[str]:
        """Give the names."""
        return iter(self._values)

    def __len__(self) -> int:
        """Count the values."""
        return len(self._values)

    def encoded(self) -> dict[str, str] | None:
        """Give it as JSON: base64 by name; ``None`` when there is none."""
        return {key: b64encode(value).decode() for key, value in self._values.items()} or None


@dataclass
class Notes:
    """What one step's handler notes, over all attempts.

    Attributes:
        metadata: named bytes.
        errors: a line each, oldest first.
    """

    metadata: Metadata = field(default_factory=Metadata)
    errors: list[str] = field(default_factory=list)
    _last: BaseException | None = field(default=None, repr=False)

    def error(self, error: BaseException, line: str) -> None:
        """Note an error; the one that was noted last isn't noted again."""
        if error is not self._last:
            self._last = error
            self.errors = [*self.errors, cut(line, LINE_LIMIT)][-ERRORS_LIMIT:]
