"""What runs our commands in tests tells at once of one that breaks."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests import commands
from tests.spawning import spawner


def broken(folder: str, name: str, *args: str) -> None:
    """Be a command that raises, or is killed."""
    commands.cli.app = fail if args == ("raise",) else kill  # type: ignore[assignment]
    commands.main(folder, name, *args)


main = broken


def fail() -> None:
    print("so far", flush=True)
    raise RuntimeError("a bug")


def kill() -> None:
    print("so far", flush=True)
    signal.raise_signal(signal.SIGKILL)


@pytest.mark.parametrize(("how", "told"), [("raise", "ends in a traceback"), ("kill", "was killed")])
def test_a_command_that_breaks(tmp_path: Path, how: str, told: str) -> None:
    """The test fails with what the command wrote, and doesn't wait for it to end."""
    (tmp_path / "folder").mkdir()
    with spawner("tests.test_commands") as made, pytest.raises(AssertionError) as error:
        commands.Commands(made).run(tmp_path / "folder", how)
    lines = str(error.value).splitlines()
    assert lines[:2] == [f"counterstep ('{how}',) {told}", "so far"]
    assert ("RuntimeError: a bug" in lines) == (how == "raise")
