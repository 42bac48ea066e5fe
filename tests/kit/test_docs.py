"""What docs/testing.md shows is what happens."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from flows.testing import Mode

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "testing.md").read_text()


@pytest.mark.nightly
def test_the_page_is_a_test_module_that_passes(tmp_path: Path) -> None:
    """The snippets, put together, are collected and pass, a whole sweep among them, which writes its page."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "test_page.py").write_text("\n\n".join(blocks))
    command = [sys.executable, "-m", "pytest", "-q", "-o", "asyncio_mode=auto"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=110)
    assert (done.returncode, "7 passed" in done.stdout) == (0, True), done.stdout + done.stderr
    assert (tmp_path / "sweep.html").read_text().count('class="held"') == 55


def test_the_page_names_every_mode() -> None:
    """Each word of a mode stands in the page's table."""
    words = {word for mode in Mode for word in re.findall(r"[a-z]+", mode)}
    assert words <= set(re.findall(r"[a-z]+", PAGE))
