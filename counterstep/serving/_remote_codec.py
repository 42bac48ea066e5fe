"""A codec server, as Temporal's CLI and UI use it: payloads are encoded and decoded by HTTP, elsewhere."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from google.protobuf import json_format
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.converter import PayloadCodec

_ANSWER = 30.0


class CodecError(Exception):
    """The codec server didn't do what was asked; the message says why."""


@dataclass(frozen=True)
class RemoteCodec(PayloadCodec):
    """Asks a codec server (``POST ENDPOINT/encode`` and ``/decode``, each with a JSON ``Payloads``).

    Attributes:
        endpoint: its URL; ``{namespace}`` in it stands for the namespace.
        namespace: sent in the header ``X-Namespace``.
        headers: of every request, such as ``Authorization``.
    """

    endpoint: str
    namespace: str
    headers: Mapping[str, str] = field(default_factory=dict)

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """See base class."""
        return await asyncio.to_thread(self._ask, "encode", payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """See base class."""
        return await asyncio.to_thread(self._ask, "decode", payloads)

    def _ask(self, what: str, payloads: Sequence[Payload]) -> list[Payload]:
        url = f"{self.endpoint.rstrip('/').replace('{namespace}', self.namespace)}/{what}"
        body = json_format.MessageToJson(Payloads(payloads=payloads)).encode()
        headers = {"Content-Type": "application/json", "X-Namespace": self.namespace, **self.headers}
        try:
            with urllib.request.urlopen(
                urllib.request.Request(url, body, headers), timeout=_ANSWER
            ) as answer:
                return list(json_format.Parse(answer.read(), Payloads()).payloads)
        except urllib.error.HTTPError as error:
            raise CodecError(f"the codec server {url} answers {error.code} {error.reason}") from None
        except OSError as error:
            why = error.reason if isinstance(error, urllib.error.URLError) else error
            raise CodecError(f"can't reach the codec server {url}: {why}") from None
        except (json_format.ParseError, ValueError) as error:
            raise CodecError(f"the codec server {url} answers what is no payload: {error}") from None
