"""`make demo` runs a good and a broken rollout through the real parts, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil


def _processes(folder: Path) -> list[str]:
    """Give the command lines that name a folder."""
    lines = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or ())
        lines += [line] if str(folder) in line else []
    return lines


def test_demo_rolls_out_and_rolls_back(tmp_path: Path) -> None:
    """1.0.0 is rolled out, 2.0.0 is undone, 1.0.0 still answers; it exits, no process and no file is left."""
    done = subprocess.run(
        [sys.executable, "-m", "examples.release.demo"],
        capture_output=True,
        text=True,
        timeout=110,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(tmp_path), "COLUMNS": "200"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert "rollout@1.0.0  done" in lines
    assert [line for line in lines if line.startswith("✓")][-1].startswith("✓ 1.0.0 answers")
    assert len([line for line in lines if line.startswith("✓")]) == 6
    assert len([line for line in lines if line.endswith("undo  undone")]) == 3
    assert any(line.startswith("└── check-health  failed  check-health@1.0.0  5 attempts") for line in lines)
    assert list(tmp_path.iterdir()) == []
    assert _processes(tmp_path) == []
