"""Names of flows as long-running operations: ``operations/{workflow id}``, URL-safe (AIP-122, AIP-151).

Letters, digits, ``-``, ``_`` and ``.`` stand for themselves; every other byte of the id is ``~`` and two hex digits. ``%``
would be decoded, or encoded again, by proxies and HTTP libraries on the way; ``~`` never is (RFC 3986, 2.3).
"""

from __future__ import annotations

import re
import string

COLLECTION = "operations"
ID_LIMIT = 1000
"""Bytes that Temporal takes for a workflow id."""

PARENT_LIMIT = 8
"""Segments before the collection."""

_PLAIN = frozenset((string.ascii_letters + string.digits + "-_.").encode())
_ESCAPE = re.compile(r"~([0-9A-F]{2})")
_SEGMENT = re.compile(r"(?:[A-Za-z0-9_.-]|~[0-9A-F]{2})+\Z")


def operation_name(workflow_id: str, parent: str = "") -> str:
    """Give the name of a flow's operation.

    Args:
        workflow_id: of the flow.
        parent: what stands before the collection, if anything: ``projects/p``.
    """
    escaped = "".join(chr(byte) if byte in _PLAIN else f"~{byte:02X}" for byte in workflow_id.encode())
    if escaped.startswith("."):  # "." and ".." mean something in a path
        escaped = f"~2E{escaped[1:]}"
    return f"{parent}/{COLLECTION}/{escaped}" if parent else f"{COLLECTION}/{escaped}"


def parse_operation_name(name: str) -> tuple[str, str]:
    """Take an operation's name apart.

    Returns:
        What stands before the collection, mostly nothing; the workflow id.

    Raises:
        ValueError: saying what is wrong with the name.
    """
    head, _, escaped = name.rpartition("/")
    parent, _, collection = head.rpartition("/")
    if collection != COLLECTION or name.startswith("/"):
        raise ValueError("an operation is named operations/ID")
    check_parent(parent)
    if not _SEGMENT.match(escaped):
        raise ValueError("an operation's ID is letters, digits, '-', '_', '.', and '~XX' for other bytes")
    return parent, _unescaped(escaped)


def check_parent(parent: str) -> None:
    """Refuse what can't stand before the collection.

    Raises:
        ValueError: saying what is wrong with it.
    """
    segments = parent.split("/") if parent else []
    if len(segments) > PARENT_LIMIT or not all(map(_SEGMENT.match, segments)):
        raise ValueError(
            f"a parent is at most {PARENT_LIMIT} segments of letters, digits, '-', '_', '.' and '~XX'"
        )


def _unescaped(escaped: str) -> str:
    data = _ESCAPE.sub(lambda found: chr(int(found[1], 16)), escaped).encode("latin-1")
    if len(data) > ID_LIMIT:
        raise ValueError(f"an operation's ID stands for at most {ID_LIMIT} bytes")
    try:
        found = data.decode()
    except UnicodeDecodeError:
        raise ValueError("an operation's ID must be UTF-8 where it is escaped") from None
    if operation_name(found).rpartition("/")[2] != escaped:
        raise ValueError("an operation's ID must escape what needs it, and nothing else")
    return found


def workflow_id_of(name: str) -> str | None:
    """Give the workflow id of one of our own operations; ``None`` if it is no such name."""
    try:
        parent, workflow_id = parse_operation_name(name)
    except ValueError:
        return None
    return None if parent else workflow_id
