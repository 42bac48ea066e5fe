"""The gateway's certificates: files in PEM, tried before anything listens."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from counterstep.gateway._errors import GatewayStartError


@dataclass(frozen=True)
class Tls:
    """The files.

    Attributes:
        cert: the server's certificate chain.
        key: its key.
        client_ca: who signs clients' certificates, if every client needs one.
    """

    cert: Path
    key: Path
    client_ca: Path | None = None

    def check(self) -> None:
        """Load them once: gRPC and uvicorn would say less of what is wrong, and later.

        Raises:
            GatewayStartError: naming the file.
        """
        for file in filter(None, (self.cert, self.key, self.client_ca)):
            _read(file)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.cert, self.key, password="")  # nobody is there to be asked for one
        except ssl.SSLError as error:
            what = f"{self.cert} and {self.key} aren't a certificate chain and its key, as PEM without a password"
            raise GatewayStartError(f"{what}{_why(error)}") from None
        try:
            if self.client_ca:
                context.load_verify_locations(self.client_ca)
        except ssl.SSLError as error:
            raise GatewayStartError(f"{self.client_ca} holds no certificate, as PEM{_why(error)}") from None

    def grpc(self) -> grpc.ServerCredentials:
        """Give them as gRPC takes them."""
        ca = _read(self.client_ca) if self.client_ca else None
        pair = (_read(self.key), _read(self.cert))
        return grpc.ssl_server_credentials([pair], ca, require_client_auth=ca is not None)

    def uvicorn(self) -> dict[str, Any]:
        """Give them as uvicorn takes them."""
        options: dict[str, Any] = {"ssl_certfile": self.cert, "ssl_keyfile": self.key}
        if self.client_ca:
            options |= {"ssl_ca_certs": str(self.client_ca), "ssl_cert_reqs": ssl.CERT_REQUIRED}
        return options


def _why(error: ssl.SSLError) -> str:
    return f" ({error.reason.replace('_', ' ').lower()})" if error.reason else ""


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise GatewayStartError(f"can't read {file}: {error.strerror}") from None
