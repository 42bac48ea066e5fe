"""The pytest plugin as users have it: in a folder of their own, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
TESTS = '''
from pathlib import Path

from examples.quickstart import BookSeat, Booking, Desk, charge_card, take_seat
from flows.testing import error


async def test_once(run_flow, tmp_path):
    """A whole run, on a worker of its own."""
    ran = await run_flow(BookSeat, Booking(seat="1", card="4"), serve=[take_seat, charge_card], deps=Desk(tmp_path))
    assert (ran.state, ran.output.seat) == ("completed", "1")


async def test_injected(flow_worker, tmp_path):
    """A fault, on a worker that serves a module."""
    async with flow_worker("examples.quickstart", deps=Desk(tmp_path)) as worker:
        worker.inject("charge-card", error())
        ran = await worker.run(BookSeat, Booking(seat="1", card="4"))
    assert (ran.state, list(tmp_path.iterdir())) == ("rolled_back", [])


def test_where(temporal):
    """Where it runs, for whoever asks."""
    print(f"on {temporal.address}")
'''


def pytest_run(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in a folder, with the plugin from its entry point."""
    (folder / "test_mine.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-o", "asyncio_mode=auto", *args]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100)


def test_the_fixtures_on_a_time_skipping_server(tmp_path: Path) -> None:
    """Without an option flows run on a time-skipping server; the process ends cleanly."""
    done = pytest_run(tmp_path)
    assert (done.returncode, "3 passed" in done.stdout) == (0, True), done.stdout + done.stderr
    assert "on None" in done.stdout


def test_the_fixtures_on_a_server_that_runs(tmp_path: Path, dev_address: str) -> None:
    """`--temporal=host:port` runs them there."""
    done = pytest_run(tmp_path, f"--temporal={dev_address}")
    assert (done.returncode, "3 passed" in done.stdout) == (0, True), done.stdout + done.stderr
    assert f"on {dev_address}" in done.stdout


@pytest.mark.parametrize("where", ["devv", "localhost", ":x"])
def test_another_word_is_a_usage_error(tmp_path: Path, where: str) -> None:
    """A misspelt `--temporal` ends pytest at once, and says what it may be."""
    done = pytest_run(tmp_path, f"--temporal={where}", "-k", "where")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"argument --temporal: {where!r} is none of skipping, dev, host:port" in done.stderr


@pytest.mark.nightly
def test_the_fixtures_on_a_dev_server(tmp_path: Path) -> None:
    """`--temporal=dev` starts a dev server for the session, and ends it."""
    done = pytest_run(tmp_path, "--temporal=dev", "-k", "where or injected")
    assert (done.returncode, "2 passed" in done.stdout) == (0, True), done.stdout + done.stderr
    assert "on 127.0.0.1:" in done.stdout


def test_the_plugin_is_light() -> None:
    """Importing the plugin imports neither Temporal, nor hypothesis, nor anything of ours beside it."""
    code = "import sys, counterstep.pytest_plugin; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert not {"temporalio", "hypothesis", "flows", "activities"} & set(loaded)
    assert {name for name in loaded if name.startswith("counterstep")} == {
        "counterstep",
        "counterstep.pytest_plugin",
    }


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's end")
def test_a_killed_test_takes_its_dev_server_along() -> None:
    """A process that is killed, as a CI does that lost its patience, leaves no server behind."""
    code = (
        "from flows.testing import dev_server\n"
        "with dev_server() as server:\n    print(server.address, flush=True)\n    input()"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        port = process.stdout.readline().strip().rpartition(":")[2]
        running = [p for p in psutil.Process(process.pid).children() if port in p.cmdline()]
        process.kill()
    gone, left = psutil.wait_procs(running, timeout=20)
    assert (len(gone), left) == (1, [])
