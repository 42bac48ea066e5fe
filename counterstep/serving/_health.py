"""Health and readiness over HTTP, for whoever starts and watches processes: Kubernetes, Compose, a load balancer."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.service import RPCError
from temporalio.worker import Worker

from counterstep.serving._errors import StartError, host_port

Probe = Callable[[], Awaitable[str]]
"""Says why something isn't ready; nothing when it is."""

_ANSWER = 5.0
_POLL = timedelta(minutes=2)  # a poll that finds nothing ends after a minute


async def _alive() -> str:
    return ""


@contextmanager
def health_server(where: str, ready: Probe) -> Iterator[str]:
    """Answer ``/healthz`` and ``/readyz`` with 200 or 503 and the reason, while the block lasts.

    It listens in a thread of its own and asks the event loop, so that a loop that is blocked shows.

    Args:
        where: host and port; port 0 takes a free one.
        ready: asked for ``/readyz``, in this event loop.

    Yields:
        Its URL.

    Raises:
        StartError: when it can't listen there.
    """
    host, port = host_port(where, "--health")
    probes = {"/healthz": _alive, "/readyz": ready}
    handler = type("_Answers", (_Answers,), {"probes": probes, "loop": asyncio.get_running_loop()})
    try:
        server = (_Server6 if ":" in host else _Server)((host, port), handler)
    except OSError as error:
        raise StartError(f"--health: can't listen on {where}: {error.strerror}") from None
    Thread(target=server.serve_forever, args=(0.1,), name="health", daemon=True).start()
    try:
        yield f"http://{where.rpartition(':')[0]}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class Polling:
    """Whether a worker polls, and Temporal knows it: a :data:`Probe`."""

    def __init__(self, worker: Worker, ending: asyncio.Event) -> None:
        """Take the worker, and what says that it is to end."""
        self._worker, self._ending = worker, ending

    async def __call__(self) -> str:
        """Ask Temporal who polls the queue."""
        if self._ending.is_set():
            return "it is stopping"
        if not self._worker.is_running:
            return "the worker isn't running"
        try:
            return "" if await self._seen() else f"Temporal doesn't see it poll {self._worker.task_queue} yet"
        except RPCError as error:
            return f"Temporal doesn't answer: {error.message}"

    async def _seen(self) -> bool:
        client = self._worker.client
        request = DescribeTaskQueueRequest(
            namespace=client.namespace,
            task_queue=TaskQueue(name=self._worker.task_queue),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        )
        asked = client.workflow_service.describe_task_queue(
            request, timeout=timedelta(seconds=_ANSWER / 2), retry=False
        )
        since = time.time() - _POLL.total_seconds()
        return any(
            poller.identity == client.identity and poller.last_access_time.ToSeconds() > since
            for poller in (await asked).pollers
        )


class _Answers(BaseHTTPRequestHandler):
    timeout = _ANSWER
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "counterstep", ""
    probes: dict[str, Probe]
    loop: asyncio.AbstractEventLoop

    def do_GET(self) -> None:
        probe = self.probes.get(self.path.partition("?")[0])
        if probe is None:
            return self._say(404, f"only {' and '.join(self.probes)} are here")
        why = self._asked(probe)
        return self._say(503 if why else 200, why or "ok")

    def do_HEAD(self) -> None:
        self.do_GET()

    def _asked(self, probe: Probe) -> str:
        asked = asyncio.run_coroutine_threadsafe(_now(probe), self.loop)
        try:
            return asked.result(_ANSWER)
        except TimeoutError:
            asked.cancel()
            return (
                f"no answer within {_ANSWER:g} seconds: the event loop is blocked, or Temporal doesn't answer"
            )

    def _say(self, status: int, text: str) -> None:
        body = f"{text}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: probes come every few seconds."""


async def _now(probe: Probe) -> str:
    return await probe()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a caller who went away."""


class _Server6(_Server):
    address_family = socket.AF_INET6
