"""Who may do what: bearer tokens, by their digests, and client certificates, by their names, each with permissions."""

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
_NOTHING = sha256(b"").hexdigest()
"""What the digest of a token comes to whose variable isn't set."""


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
class Certificate:
    """A caller with a client certificate.

    Attributes:
        name: the certificate's common name.
        allow: what the caller may do.
    """

    name: str
    allow: frozenset[Permission]


@dataclass(frozen=True)
class Caller:
    """Who calls.

    Attributes:
        authorization: the header, if there is one.
        certificate: the common name of the client certificate, which TLS has checked, if there is one.
    """

    authorization: str | None = None
    certificate: str | None = None


@dataclass(frozen=True)
class Access:
    """Who may do what.

    Attributes:
        tokens: one of them is needed, if there are any, by whoever isn't known by a certificate.
        allow: what a caller may do who needs none: on loopback, or with a client certificate.
        certificates: callers that are known by name; if there are any, the others need a token, or may do nothing.
    """

    tokens: tuple[Token, ...] = ()
    allow: frozenset[Permission] = EVERYTHING
    certificates: tuple[Certificate, ...] = ()

    def check(self, caller: Caller, needed: Permission) -> None:
        """Refuse a caller who may not do it.

        Args:
            caller: who calls.
            needed: what the call needs.

        Raises:
            GatewayError: UNAUTHENTICATED, or PERMISSION_DENIED.
        """
        allowed = self._allowed(caller)
        if needed not in allowed:
            raise GatewayError(
                code_pb2.PERMISSION_DENIED,
                "PERMISSION_DENIED",
                f"this needs the permission {needed}",
                {"permission": str(needed)},
            )

    def _allowed(self, caller: Caller) -> frozenset[Permission]:
        """Say what a caller may do; a token counts before the certificate."""
        known = next((c.allow for c in self.certificates if c.name == caller.certificate), None)
        if self.tokens and (known is None or caller.authorization):
            return self._token(caller.authorization).allow
        if known is not None:
            return known
        return frozenset() if self.certificates else self.allow

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


def read_access(file: Path, allow: frozenset[Permission] = EVERYTHING) -> Access:
    """Read callers from a TOML file.

    It has ``[[token]]`` tables with ``name``, ``sha256`` and ``allow``, and ``[[certificate]]`` tables with ``name`` and
    ``allow``.

    Args:
        file: its path.
        allow: what a caller may do whom the file doesn't concern.

    Raises:
        AccessError: saying what is wrong with it.
    """
    try:
        read = tomllib.loads(file.read_text())
    except OSError as error:
        raise AccessError(f"can't read {file}: {error.strerror}") from None
    except ValueError as error:
        raise AccessError(f"{file} isn't TOML: {error}") from None
    tokens, certificates = (read.get(kind, []) for kind in ("token", "certificate"))
    if not (isinstance(tokens, list) and isinstance(certificates, list)) or not (tokens or certificates):
        raise AccessError(f"{file} has no [[token]]")
    return Access(
        tuple(_token(table, f"{file}: token {number}") for number, table in enumerate(tokens, 1)),
        allow,
        tuple(_certificate(table, f"{file}: certificate {n}") for n, table in enumerate(certificates, 1)),
    )


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
    digest = table.get("sha256")
    if not isinstance(digest, str) or not _DIGEST.match(digest):
        raise AccessError(f"{where}: sha256 must be 64 hex digits: printf %s TOKEN | sha256sum")
    if digest == _NOTHING:
        raise AccessError(f"{where}: sha256 is that of an empty token, which everybody has")
    return Token(str(table.get("name", "")), digest, _allow(table, where))


def _certificate(table: dict[str, Any], where: str) -> Certificate:
    name = table.get("name")
    if not isinstance(name, str) or not name:
        raise AccessError(f"{where}: name must be the certificate's common name")
    return Certificate(name, _allow(table, where))


def _allow(table: dict[str, Any], where: str) -> frozenset[Permission]:
    allow = table.get("allow")
    if not isinstance(allow, list):
        raise AccessError(f"{where}: allow must be a list of permissions")
    return permissions(allow, where)
