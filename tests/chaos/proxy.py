"""A TCP proxy whose connections can be cut."""

from __future__ import annotations

import asyncio
import contextlib


class Proxy:
    """Stands between workers and server.

    Attributes:
        cut_count: how many connections were cut.
    """

    def __init__(self, port: int) -> None:
        """Take the server's port on this machine."""
        self._port = port
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.cut_count = 0

    async def up(self) -> str:
        """Listen, and give the address."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"{host}:{port}"

    def cut(self) -> None:
        """Cut all connections, in the middle of whatever they carry."""
        for writer in list(self._open):
            self.cut_count += 1
            writer.transport.abort()

    def down(self) -> None:
        """Listen no more."""
        self.cut()
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, back}
        try:
            await asyncio.gather(_pipe(reader, back), _pipe(there, writer))
        finally:
            self._open -= {writer, back}


async def _pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    with contextlib.suppress(OSError, RuntimeError):
        sink.close()
