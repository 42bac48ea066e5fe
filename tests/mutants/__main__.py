"""``make mutants``: puts each fault into a copy of the project, and runs the tests that are to catch it."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.mutants.faults import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
LIMIT = 900
"""Seconds for the tests of one fault; one that makes them hang is caught."""


def copied(folder: Path) -> Path:
    """Copy what git knows, as it stands."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, names.stdout.split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def with_fault(mutant: Mutant, text: str) -> str:
    """Put a fault into the text of its file.

    Raises:
        ValueError: when what it replaces doesn't stand there exactly once.
    """
    for before, after in mutant.edits:
        if text.count(before) != 1:
            raise ValueError(f"{mutant.name}: {before!r} stands {text.count(before)} times in {mutant.path}")
        text = text.replace(before, after)
    return text


def passes(folder: Path, tests: Iterable[str]) -> bool | None:
    """Run tests in a copy; ``None`` where they ran into the time limit."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-m", "not nightly", "-n", "2", *tests]
    environment = {**os.environ, "HYPOTHESIS_PROFILE": "unshrunk"}
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(
            command, cwd=folder, env=environment, stdout=said, stderr=said, start_new_session=True
        ) as popen,
    ):
        try:
            code = popen.wait(LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(popen.pid, signal.SIGKILL)  # the servers and workers of the tests as well
            return None
        said.seek(0)
        text = said.read()
    if code and " failed" not in text:
        raise RuntimeError(f"pytest ended with {code}:\n{text[-4000:]}")
    return code == 0


def result(folder: Path, mutant: Mutant) -> str:
    """Say what the tests say of a fault."""
    path = folder / mutant.path
    text = path.read_text()
    path.write_text(with_fault(mutant, text))
    try:
        passed = passes(folder, mutant.tests)
    finally:
        path.write_text(text)
    return "hung" if passed is None else "SURVIVED" if passed else "caught"


def main(wanted: list[str]) -> int:
    """Try the faults, or those whose names hold a word; print a table; give the exit code."""
    chosen = [m for m in MUTANTS if not wanted or any(word in m.name for word in wanted)]
    table = Table("fault", "file", "result")
    with tempfile.TemporaryDirectory() as made:
        folder = copied(Path(made))
        everything = {test for mutant in chosen for test in mutant.tests}
        if not passes(folder, sorted(everything)):
            print("the tests fail without any fault; mend that first", file=sys.stderr)
            return 2
        for mutant in chosen:
            table.add_row(mutant.name, mutant.path, found := result(folder, mutant))
            print(f"{found:8} {mutant.name}", file=sys.stderr, flush=True)
    Console().print(table)
    left = [row for row in table.columns[2].cells if row == "SURVIVED"]
    print(f"{len(chosen) - len(left)} of {len(chosen)} caught")
    return 1 if left else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", help="only faults whose names hold one of these words")
    sys.exit(main(parser.parse_args().words))
