"""mypy and pyright infer what the contract says, and refuse what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=110
    )


def test_mypy_infers_and_refuses(tmp_path: Path) -> None:
    """Strict, every ``assert_type`` holds, and every ignore stands on an error of that kind."""
    files = [f"tests/typing/{name}.py" for name in ("accept", "reject")]
    done = run("mypy", "--strict", "--warn-unused-ignores", "--cache-dir", str(tmp_path), *files)
    assert done.stdout == "Success: no issues found in 2 source files\n", done.stdout + done.stderr


def test_pyright_infers_and_refuses(tmp_path: Path) -> None:
    """The same files, and the same lines."""
    config = {
        "include": [os.path.relpath(HERE / name, tmp_path) for name in ("accept.py", "reject.py")],
        "extraPaths": [os.path.relpath(ROOT, tmp_path)],
        "pythonVersion": "3.11",
        "typeCheckingMode": "standard",
        "enableTypeIgnoreComments": True,
        "reportUnnecessaryTypeIgnoreComment": "error",
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(config))
    done = run("pyright", "--pythonpath", sys.executable, "--project", str(tmp_path))
    assert (done.returncode, done.stdout.strip()) == (0, "0 errors, 0 warnings, 0 informations"), done.stdout
