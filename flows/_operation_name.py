"""Names of flows as operations (AIP-151): ``operations/{workflow id}``, safe in a URL."""

from __future__ import annotations

from urllib.parse import quote, unquote

_PREFIX = "operations/"


def operation_name(workflow_id: str) -> str:
    """Give the name under which a flow is an operation.

    Args:
        workflow_id: of the flow.

    Returns:
        ``operations/`` and the id, percent-encoded: letters, digits, ``-``, ``.``, ``_`` and ``~`` stay.
    """
    return _PREFIX + quote(workflow_id, safe="")


def workflow_id_of(name: str) -> str | None:
    """Give the workflow id that an operation's name tells of; ``None`` if it is no such name."""
    return unquote(name[len(_PREFIX) :]) or None if name.startswith(_PREFIX) else None
