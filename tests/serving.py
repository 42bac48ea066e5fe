"""A dev server on a file, that is killed and started again."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
from pathlib import Path

from temporalio.client import Client
from temporalio.service import RPCError

from tests.support import binary


class Server:
    """A dev server on a file, that can be killed and started again."""

    def __init__(self, file: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.file = file
        self.popen: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    async def up(self) -> None:
        """Start it, and wait until it answers."""
        command = [binary("temporal"), "server", "start-dev", "--headless", "--ip", "127.0.0.1"]
        command += ["--port", str(self.port), "--db-filename", str(self.file), "--log-level", "never"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.popen = await asyncio.to_thread(subprocess.Popen, command, **quiet)
        for _ in range(300):
            with contextlib.suppress(RuntimeError, RPCError):
                client = await Client.connect(self.address)
                async for _ in client.list_workflows("WorkflowId = 'none'", limit=1):
                    pass
                return
            await asyncio.sleep(0.1)
        raise AssertionError("the server didn't come up")

    def kill(self) -> None:
        """Kill it as `kill -9` does."""
        if self.popen is not None:
            self.popen.kill()
            self.popen.wait()
