"""The machine that simulations run on: its slots, their folders, the index of those that are ready."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.release import processes
from examples.simulation.node import HOST, write

START_SECONDS = 15.0
PROGRAM = Path(__file__).with_name("node.py")


class Refused(Exception):
    """The machine can't do that; the message says why, and nothing was changed."""


@dataclass(frozen=True)
class Site:
    """The folder of all simulations.

    Everything that a job makes carries the job's key, so that it can be made twice, and is taken away by nobody else.

    Attributes:
        root: the folder.
        slots: how many simulations fit on the machine.
    """

    root: Path
    slots: int = 4

    def __post_init__(self) -> None:
        for folder in ("slots", "simulations"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)

    def folder(self, name: str) -> Path:
        """A simulation's folder."""
        return self.root / "simulations" / name

    def reserve(self, key: str) -> int:
        """Reserve a slot; the one that has this key already, if there is one.

        Raises:
            Refused: all are taken.
        """
        mine = self._slot_of(key)
        if mine is not None:
            return mine
        draft = self.root / "slots" / f".{key}"
        draft.write_text(key)
        try:
            for slot in range(self.slots):
                with contextlib.suppress(FileExistsError):
                    os.link(draft, self.root / "slots" / str(slot))  # with its key from the first moment on
                    return slot
        finally:
            draft.unlink()
        raise Refused(f"all {self.slots} slots of this machine are taken")

    def release(self, key: str) -> None:
        """Give a slot back."""
        slot = self._slot_of(key)
        if slot is not None:
            (self.root / "slots" / str(slot)).unlink()

    def create(self, name: str, key: str) -> None:
        """Make a simulation's folder.

        Raises:
            Refused: there is one of that name, made by somebody else.
        """
        draft = self.root / "simulations" / f".{name}.{key[:16]}"
        draft.mkdir(exist_ok=True)
        (draft / "owner").write_text(key)
        try:
            os.rename(draft, self.folder(name))
        except OSError:
            shutil.rmtree(draft)
            if not self.owns(name, key):
                raise Refused(f"there is a simulation {name!r} already") from None

    def remove(self, name: str, key: str) -> None:
        """Remove a folder that was made with this key; while a process of it runs it stays, as nobody's."""
        if self.owns(name, key):
            (self.folder(name) / "owner").unlink()
        self._tidy(name)

    def owns(self, name: str, key: str) -> bool:
        """Whether the folder was made with this key."""
        owner = self.folder(name) / "owner"
        return owner.exists() and owner.read_text() == key

    def index(self) -> dict[str, Any]:
        """The simulations that are ready, by name."""
        file = self.root / "index.json"
        return dict(json.loads(file.read_text())) if file.exists() else {}

    def announce(self, name: str, entry: dict[str, Any] | None) -> None:
        """Put a simulation into the index, or take it out."""
        with self._alone():
            others = {other: old for other, old in self.index().items() if other != name}
            index = others if entry is None else {**others, name: entry}
            if index != self.index():
                write(self.root / "index.json", json.dumps(index))

    def start(self, name: str, node: str, *command: str) -> None:
        """Start a process of a simulation, unless it runs.

        Raises:
            Refused: it ended at once; the message is its last word.
        """
        home = self.home(name, node)
        home.mkdir(parents=True, exist_ok=True)
        if processes.running(home) and (home / "ready").exists():
            return
        files = {"key": "key", "world": "world.json", "port": "nodes/world/ready"}
        given = [part for option, file in files.items() for part in (f"--{option}", self.folder(name) / file)]
        with (home / "log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-I", PROGRAM, *command, "--home", home, *given],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/",
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while not (home / "ready").exists():
            if process.poll() not in (None, 0) or time.monotonic() > deadline:
                said = (home / "log").read_text().strip().splitlines()
                process.kill()
                process.wait()
                processes.forget(home)
                raise Refused(f"{node} of {name} doesn't start: {said[-1] if said else 'it says nothing'}")
            time.sleep(0.01)

    def stop(self, name: str, node: str) -> None:
        """End a process of a simulation, and remove what it wrote; nothing happens when it was never there."""
        processes.forget(self.home(name, node))
        self._tidy(name)

    def home(self, name: str, node: str) -> Path:
        """The folder of a process."""
        return self.folder(name) / "nodes" / node

    def dead(self, name: str) -> list[str]:
        """The processes of a simulation that were started and don't run."""
        return [home.name for home in self._homes(name) if not processes.running(home)]

    def robots(self, name: str) -> dict[str, int]:
        """Where the robots are, as the world says."""
        port = (self.home(name, "world") / "ready").read_text()
        with urllib.request.urlopen(f"http://{HOST}:{port}/", timeout=5) as answer:
            return dict(json.load(answer)["robots"])

    def records(self, name: str) -> int:
        """How many lines the recorder has written."""
        file = self.home(name, "recorder") / "record.jsonl"
        return len(file.read_text().splitlines()) if file.exists() else 0

    def _homes(self, name: str) -> list[Path]:
        return sorted((self.folder(name) / "nodes").glob("*"))

    def _tidy(self, name: str) -> None:
        """Remove a folder that is nobody's, and in which nothing runs."""
        with self._alone():
            folder = self.folder(name)
            used = (folder / "owner").exists() or any(processes.running(home) for home in self._homes(name))
            if folder.exists() and not used:
                shutil.rmtree(folder)

    def _slot_of(self, key: str) -> int | None:
        slots = (self.root / "slots").glob("[0-9]*")
        return next((int(slot.name) for slot in slots if slot.read_text() == key), None)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with (self.root / "slots" / ".lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
