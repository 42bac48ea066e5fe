"""Fixtures: worker processes in a folder of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import World
from tests.worker.support import THINGS, WORKER, Process, running

Launch = Callable[..., Process]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the module `things`, in which worker processes run."""
    made = tmp_path / "work"
    made.mkdir()
    (made / "things.py").write_text(THINGS)
    return made


@pytest.fixture
def launch(folder: Path, world: World, task_queue: str, dev_address: str) -> Iterator[Launch]:
    """Start `python worker.py` on the dev server: ``launch("--grace", "1")``; `address=None` says none."""
    with ExitStack() as stack:

        def launch(
            *args: str, modules: tuple[str, ...] = ("things",), address: str | None = dev_address, **env: str
        ) -> Process:
            command = [*WORKER, *(part for name in modules for part in ("--module", name)), *args]
            command += ["--task-queue", task_queue, *(["--address", address] if address else [])]
            return stack.enter_context(running(command, folder, {"WORLD": str(world.folder), **env}))

        yield launch


@pytest.fixture
def served(launch: Launch) -> Launch:
    """Start a worker as `launch` does, and wait until it serves."""

    def served(*args: str, **options: object) -> Process:
        process = launch(*args, **options)
        process.until("Serving task queue")
        return process

    return served
