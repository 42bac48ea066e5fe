"""What a process can't start with."""

from __future__ import annotations


class StartError(Exception):
    """A process can't start; the message says why, in words for the person who started it."""


def host_port(text: str, flag: str, refused: type[StartError] = StartError) -> tuple[str, int]:
    """Take ``host:port`` apart.

    Args:
        text: host and port; a host that has colons is in brackets.
        flag: that it was given with.
        refused: what is raised.

    Raises:
        StartError: when it isn't one.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise refused(f"{flag}: {text!r} isn't HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)
