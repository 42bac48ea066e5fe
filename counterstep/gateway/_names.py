"""Names of operations as callers send them; what can't be one is refused."""

from __future__ import annotations

from counterstep.gateway._errors import GatewayError, invalid
from flows._operation_name import COLLECTION, check_parent, parse_operation_name

NAME_LIMIT = 4096


def parse_name(name: str) -> tuple[str, str]:
    """Take an operation's name apart.

    Returns:
        What stands before the collection, mostly nothing; the workflow id.

    Raises:
        GatewayError: INVALID_ARGUMENT, saying what is wrong with the name.
    """
    if len(name) > NAME_LIMIT:
        raise _refused(f"has {len(name)} characters, {NAME_LIMIT} are allowed")
    try:
        return parse_operation_name(name)
    except ValueError as error:
        raise _refused(str(error)) from None


def is_collection(name: str) -> bool:
    """Whether a name is that of operations, not of one of them, which may itself be called ``operations``."""
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
    try:
        check_parent(parent)
    except ValueError as error:
        raise _refused(str(error)) from None
    return parent


def _refused(said: str) -> GatewayError:
    return invalid("name", said, "INVALID_NAME")
