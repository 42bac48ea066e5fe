"""The script that containers are asked with."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from counterstep.serving import health_server

SCRIPT = Path(__file__).parents[1] / "docker/healthcheck.py"


def ask(url: str) -> tuple[int, str]:
    """Run it as a container does."""
    done = subprocess.run([sys.executable, SCRIPT, url], capture_output=True, text=True, timeout=30)
    return done.returncode, done.stderr.strip()


async def test_well_or_why_not() -> None:
    """0 and silence from what is well; 1 and the reason from what isn't, or isn't there."""
    why = ""

    async def ready() -> str:
        return why

    with health_server("127.0.0.1:0", ready) as url:
        assert await asyncio.to_thread(ask, f"{url}/readyz") == (0, "")
        why = "it is stopping"
        assert await asyncio.to_thread(ask, f"{url}/readyz") == (1, f"{url}/readyz: it is stopping")
    code, said = await asyncio.to_thread(ask, f"{url}/readyz")
    assert (code, said.startswith(f"{url}/readyz: ")) == (1, True)
