"""The command `counterstep gateway`, as a process."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import grpc
import httpx
import pytest
from google.longrunning.operations_pb2 import WaitOperationRequest
from google.longrunning.operations_pb2_grpc import OperationsStub
from temporalio.client import Client

from flows._operation_name import operation_name
from tests.support import new_id
from tests.worker.support import ROOT, THINGS, Process, running

COMMAND = [sys.executable, "-m", "counterstep.cli", "gateway"]
FREE = ("--listen", "127.0.0.1:0", "--http", "127.0.0.1:0")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the module `things`."""
    made = tmp_path / "work"
    made.mkdir()
    (made / "things.py").write_text(THINGS)
    return made


def addresses(process: Process) -> tuple[str, str]:
    """Read where it listens."""
    process.until("HTTP: ")
    lines = dict(
        line.split(": ", 1) for line in process.text.splitlines() if line.startswith(("gRPC", "HTTP"))
    )
    return lines["gRPC"], lines["HTTP"]


async def test_it_says_where_it_serves_and_ends_gracefully(
    folder: Path, dev_address: str, task_queue: str
) -> None:
    """It starts a flow of the module; asked to end, it answers the open waits with the latest state, and exits 0."""
    client = await Client.connect(dev_address)
    id = new_id()
    await client.start_workflow("doubled@1.0.0", 1, id=id, task_queue=task_queue)
    args = [*FREE, "--address", dev_address, "--module", "things", "--task-queue", task_queue]
    with running([*COMMAND, *args], folder, {"PYTHONPATH": str(ROOT), "WORLD": str(folder)}) as process:
        rpc, url = addresses(process)
        async with grpc.aio.insecure_channel(rpc) as channel, httpx.AsyncClient(base_url=url) as http:
            started = await http.post("/v1/flows/doubled:run", json=2)
            assert (started.status_code, started.json()["done"]) == (200, False)
            over = [
                OperationsStub(channel).WaitOperation(WaitOperationRequest(name=operation_name(id))),
                http.post(f"/v1/{started.json()['name']}:wait", json={"timeout": "60s"}, timeout=60),
            ]
            waits = [asyncio.ensure_future(wait) for wait in over]
            while "counterstep_gateway_open_waits 2.0" not in (await http.get("/metrics")).text:
                await asyncio.sleep(0.05)
            process.signal(signal.SIGTERM)
            first, second = await asyncio.gather(*waits)
            assert (first.done, second.json()["done"]) == (False, False)
        assert await asyncio.to_thread(process.ends, 100) == 0


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--listen", "0.0.0.0:0"), "counterstep gateway: 0.0.0.0:0 can be reached from elsewhere"),
        (("--allow", "write"), "counterstep gateway: --allow: 'write' is no permission"),
        (("--module", "nowhere"), "counterstep gateway: there is no module 'nowhere'"),
        (("--tls-cert", "x"), "counterstep gateway: --tls-cert and --tls-key belong together"),
    ],
    ids=["open", "allow", "module", "tls"],
)
def test_what_it_can_t_do_is_one_line(folder: Path, args: tuple[str, ...], said: str) -> None:
    """Exit code 1, and one line that says what to give."""
    with running([*COMMAND, *FREE, *args], folder, {"PYTHONPATH": str(ROOT)}) as process:
        assert process.ends(100) == 1
        assert process.text.startswith(said)
        assert len(process.text.splitlines()) == 1


def test_a_port_that_is_taken_is_one_line(folder: Path) -> None:
    """For gRPC and for HTTP."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        for args in (("--listen", where, "--http", ""), ("--listen", "", "--http", where)):
            with running([*COMMAND, *args], folder, {"PYTHONPATH": str(ROOT)}) as process:
                assert process.ends(100) == 1
                lines = [line for line in process.text.splitlines() if line.startswith("counterstep")]
                assert len(lines) == 1
                assert lines[0].startswith(f"counterstep gateway: can't listen on {where}: ")


def test_without_the_extra_it_says_what_to_install(folder: Path) -> None:
    """One line, and no trace."""
    (folder / "bare.py").write_text(
        "import sys\nsys.modules['grpc'] = None\nfrom counterstep.cli import main\n"
        "sys.argv = ['counterstep', 'gateway']\nmain()\n"
    )
    env = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    with running([sys.executable, "bare.py"], folder, env) as process:
        assert process.ends(100) == 1
        assert process.text.startswith(
            "counterstep gateway: needs the extra 'gateway': pip install 'counterstep["
        )
        assert len(process.text.splitlines()) == 1
