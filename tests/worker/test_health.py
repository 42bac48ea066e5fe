"""`--health HOST:PORT`: whether a worker lives, and whether it is ready."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
from collections.abc import Iterator

import pytest

from tests.conftest import _free_port, _listening, _ready
from tests.support import dev_server, eventually
from tests.worker.conftest import Launch
from tests.worker.support import Process, get

HEALTH = ("--health", "127.0.0.1:0")


def url(worker: Process) -> str:
    """Give the address that it said."""
    return str(re.findall(r"^Health: (.*)$", worker.text, re.MULTILINE)[0])


@pytest.fixture
def server() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A dev server of the test's own."""
    port = _free_port()
    with subprocess.Popen([*dev_server(port), "--log-level", "never"], start_new_session=True) as popen:
        yield f"127.0.0.1:{port}", popen
        popen.kill()


async def test_ready_is_polling_and_temporal_there(
    served: Launch, server: tuple[str, subprocess.Popen[bytes]]
) -> None:
    """Ready once Temporal sees it poll; not while Temporal hangs; again when it goes on. It lives all the time."""
    address, popen = server
    await eventually(lambda: _listening(int(address.rpartition(":")[2])))
    await _ready(address)
    where = url(served(*HEALTH, address=address))
    await eventually(lambda: get(f"{where}/readyz") == (200, "ok"))
    popen.send_signal(signal.SIGSTOP)
    status, why = get(f"{where}/readyz")
    assert (status, why.partition(":")[0]) == (503, "Temporal doesn't answer")
    assert get(f"{where}/healthz") == (200, "ok")
    popen.send_signal(signal.SIGCONT)
    await eventually(lambda: get(f"{where}/readyz") == (200, "ok"))


async def test_a_version_of_a_deployment_is_ready(served: Launch) -> None:
    """A worker with a deployment name is seen polling too; and no other path is there."""
    where = url(served(*HEALTH, "--deployment-name", "things", "--build-id", "1"))
    await eventually(lambda: get(f"{where}/readyz") == (200, "ok"))
    assert get(f"{where}/") == (404, "only /healthz and /readyz are here")


def test_a_port_that_is_taken_is_named(launch: Launch) -> None:
    """Somebody else listens there: exit code 1 and one line, before the worker polls."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        worker = launch("--health", where)
        assert worker.ends() == 1
    said = f"counterstep worker: --health: can't listen on {where}: Address already in use"
    assert worker.err.read_text().splitlines() == [said]
    assert worker.out.read_text() == ""
