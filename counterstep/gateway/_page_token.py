"""Page tokens: opaque, URL-safe, bound to everything of the request but the page size (AIP-158).

They hold a place in the list and nothing of Temporal's. The checksum tells an altered or foreign token from a mistake of
ours; it is no secret, since a place is none.
"""

from __future__ import annotations

import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from hashlib import blake2b
from uuid import UUID

from counterstep.gateway._errors import invalid

_LAYOUT = struct.Struct(">BqqQ16s")
_VERSION = 1
_CHECK = 12
_MAXIMUM = 1 << 62


@dataclass(frozen=True)
class Place:
    """Where a list goes on: below a run, in the order of start times, newest first.

    Attributes:
        bound: start of the newest run when the list began, in microseconds since the epoch.
        start: of the last run that was looked at.
        run_id: of that run.
        width: microseconds of the last window; a hint for the next.
    """

    bound: int
    start: int
    run_id: str
    width: int = 0

    def token(self, scope: str) -> str:
        """Write it, for requests of the same scope."""
        data = _LAYOUT.pack(_VERSION, self.bound, self.start, self.width, UUID(self.run_id).bytes)
        return urlsafe_b64encode(data + _checksum(data, scope)).decode()


def read_token(token: str, scope: str) -> Place:
    """Read a token back.

    Args:
        token: as it came.
        scope: filter and parent of the request it came with.

    Raises:
        GatewayError: INVALID_ARGUMENT, unless it was given for the same scope.
    """
    refused = invalid(
        "page_token", "isn't a token of this list; begin again without one", "INVALID_PAGE_TOKEN"
    )
    try:
        data = urlsafe_b64decode(token.encode("ascii"))
    except ValueError:
        raise refused from None
    body, check = data[:-_CHECK], data[-_CHECK:]
    canonical = urlsafe_b64encode(data).decode() == token
    if len(body) != _LAYOUT.size or not canonical or check != _checksum(body, scope):
        raise refused
    version, bound, start, width, run = _LAYOUT.unpack(body)
    if version != _VERSION or not 0 <= start <= bound < _MAXIMUM:
        raise refused
    return Place(bound, start, str(UUID(bytes=run)), min(width, _MAXIMUM))


def _checksum(data: bytes, scope: str) -> bytes:
    return blake2b(data + scope.encode(), digest_size=_CHECK, person=b"counterstep").digest()
