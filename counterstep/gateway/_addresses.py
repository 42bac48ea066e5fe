"""Where a gateway listens: ``host:port``, and whether that is this machine alone."""

from __future__ import annotations

import ipaddress
import socket

from counterstep.gateway._errors import GatewayStartError
from counterstep.serving import host_port


def is_loopback(host: str) -> bool:
    """Whether a host can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def bound_socket(where: str) -> socket.socket:
    """Take a port.

    Raises:
        GatewayStartError: when somebody else has it, or the host isn't ours.
    """
    host, port = host_port(where, "--http", GatewayStartError)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise GatewayStartError(f"can't listen on {where}: {error.strerror}") from None
    return bound


def shown(where: str) -> str:
    """Give the host as it was written."""
    return where.rpartition(":")[0]
