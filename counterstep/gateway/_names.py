"""Names of operations as callers send them: ``operations/{workflow id, percent-encoded}``, or with a parent in front."""

from __future__ import annotations

import re
from urllib.parse import unquote

from counterstep.gateway._errors import invalid
from flows._operation_name import operation_name

COLLECTION = "operations"
NAME_LIMIT = 4096
ID_LIMIT = 1000
"""Bytes that Temporal takes for a workflow id."""

PARENT_LIMIT = 8
"""Segments before the collection."""

_ID = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+\Z")
_SEGMENT = re.compile(r"[A-Za-z0-9._~-]+\Z")


def parse_name(name: str) -> tuple[str, str]:
    """Take an operation's name apart.

    Returns:
        What stands before the collection, mostly nothing; the workflow id.

    Raises:
        GatewayError: INVALID_ARGUMENT, saying what is wrong with the name.
    """
    if len(name) > NAME_LIMIT:
        raise _refused(f"has {len(name)} characters, {NAME_LIMIT} are allowed")
    head, _, id_ = name.rpartition("/")
    parent, _, collection = head.rpartition("/")
    if collection != COLLECTION or name.startswith("/"):
        raise _refused("an operation is named operations/ID")
    check_parent(parent)
    if not _ID.match(id_):
        raise _refused("an operation's ID is the workflow id, percent-encoded")
    return parent, _workflow_id(id_)


def is_collection(name: str) -> bool:
    """Whether a name is that of operations, not of one of them."""
    segments = name.split("/")
    return segments[-1] == COLLECTION and segments[-2:-1] != [COLLECTION]


def parent_of(collection: str) -> str:
    """Read whose operations are asked for: nothing, ``operations``, a parent, or ``PARENT/operations``.

    Raises:
        GatewayError: INVALID_ARGUMENT.
    """
    parent = collection
    if collection.rpartition("/")[2] == COLLECTION:
        parent = collection.removesuffix(COLLECTION).removesuffix("/")
    check_parent(parent)
    return parent


def check_parent(parent: str) -> None:
    """Refuse what can't stand before the collection.

    Raises:
        GatewayError: INVALID_ARGUMENT.
    """
    segments = parent.split("/") if parent else []
    if len(segments) > PARENT_LIMIT or not all(map(_SEGMENT.match, segments)):
        raise _refused(
            f"a parent is at most {PARENT_LIMIT} segments of letters, digits, '-', '_', '.' and '~'"
        )


def full_name(workflow_id: str, parent: str) -> str:
    """Give an operation's name, with its parent if it was asked for with one."""
    return f"{parent}/{operation_name(workflow_id)}" if parent else operation_name(workflow_id)


def _workflow_id(id_: str) -> str:
    try:
        found = unquote(id_, errors="strict")
    except UnicodeDecodeError:
        raise _refused("an operation's ID must be UTF-8 where it is percent-encoded") from None
    if len(found.encode()) > ID_LIMIT:
        raise _refused(f"an operation's ID stands for at most {ID_LIMIT} bytes")
    return found


def _refused(said: str) -> Exception:
    return invalid("name", said, "INVALID_NAME")
