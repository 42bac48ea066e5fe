"""What a process can't start with."""

from __future__ import annotations


class StartError(Exception):
    """The worker can't start; the message says why, in words for the person who started it."""


def host_port(text: str, flag: str) -> tuple[str, int]:
    """Take ``host:port`` apart.

    Raises:
        StartError: when it isn't one.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise StartError(f"{flag}: {text!r} isn't HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)
