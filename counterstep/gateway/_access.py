"""Who may do what: bearer tokens, by their digests, each with permissions."""

from __future__ import annotations

import hmac
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any

from google.rpc import code_pb2

from counterstep.gateway._errors import GatewayError

_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


class Permission(StrEnum):
    """What a call needs."""

    READ = "read"
    """Get, List, Wait, and metrics."""
    CANCEL = "cancel"
    """Cancel and Delete."""
    START = "start"
    """Starting flows."""


EVERYTHING = frozenset(Permission)


class AccessError(ValueError):
    """The access file can't be used; the message says why."""


@dataclass(frozen=True)
class Token:
    """A bearer token.

    Attributes:
        name: for people.
        digest: sha256 of the token, in hex; the token itself is nowhere.
        allow: what it may do.
    """

    name: str
    digest: str
    allow: frozenset[Permission]


@dataclass(frozen=True)
class Access:
    """Who may do what.

    Attributes:
        tokens: one of them is needed, if there are any.
        allow: what a caller may do who needs none: on loopback, or with a client certificate.
    """

    tokens: tuple[Token, ...] = ()
    allow: frozenset[Permission] = EVERYTHING

    def check(self, authorization: str | None, needed: Permission) -> None:
        """Refuse a caller who may not do it.

        Args:
            authorization: the header, if there is one.
            needed: what the call needs.

        Raises:
            GatewayError: UNAUTHENTICATED, or PERMISSION_DENIED.
        """
        allowed = self._token(authorization).allow if self.tokens else self.allow
        if needed not in allowed:
            raise GatewayError(
                code_pb2.PERMISSION_DENIED,
                "PERMISSION_DENIED",
                f"this needs the permission {needed}",
                {"permission": str(needed)},
            )

    def _token(self, authorization: str | None) -> Token:
        """Find the token; every one is compared, each in constant time."""
        scheme, _, given = (authorization or "").partition(" ")
        digest = sha256(given.strip().encode(errors="replace")).hexdigest()
        found = [token for token in self.tokens if hmac.compare_digest(token.digest, digest)]
        if not found or scheme.lower() != "bearer":
            raise GatewayError(
                code_pb2.UNAUTHENTICATED, "UNAUTHENTICATED", "send a known token: authorization: Bearer TOKEN"
            )
        return found[0]


def read_tokens(file: Path) -> tuple[Token, ...]:
    """Read tokens from a TOML file: ``[[token]]`` tables with ``name``, ``sha256`` and ``allow``.

    Raises:
        AccessError: saying what is wrong with it.
    """
    try:
        tables = tomllib.loads(file.read_text()).get("token", [])
    except OSError as error:
        raise AccessError(f"can't read {file}: {error.strerror}") from None
    except ValueError as error:
        raise AccessError(f"{file} isn't TOML: {error}") from None
    if not isinstance(tables, list) or not tables:
        raise AccessError(f"{file} has no [[token]]")
    return tuple(_token(table, f"{file}: token {number}") for number, table in enumerate(tables, 1))


def permissions(words: Iterable[str], where: str) -> frozenset[Permission]:
    """Read permissions by their words.

    Raises:
        AccessError: naming the one that isn't known.
    """
    known = {str(permission): permission for permission in Permission}
    for word in words:
        if word not in known:
            raise AccessError(f"{where}: {word!r} is no permission; known are {', '.join(known)}")
    return frozenset(known[word] for word in words)


def _token(table: dict[str, Any], where: str) -> Token:
    digest, allow = table.get("sha256"), table.get("allow")
    if not isinstance(digest, str) or not _DIGEST.match(digest):
        raise AccessError(f"{where}: sha256 must be 64 hex digits: printf %s TOKEN | sha256sum")
    if not isinstance(allow, list):
        raise AccessError(f"{where}: allow must be a list of permissions")
    return Token(str(table.get("name", "")), digest, permissions(allow, where))
