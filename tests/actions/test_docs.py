"""What docs/actions.md shows is what happens."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows import load_modules
from tests.conftest import Serve
from tests.support import new_id

PAGE = (Path(__file__).parents[2] / "docs" / "actions.md").read_text()


def blocks(language: str) -> list[str]:
    """Give the snippets of a language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """The Python snippets of the page, as a module in the current folder."""
    (tmp_path / "my_actions_page.py").write_text("\n\n".join(blocks("python")))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "my_actions_page", raising=False)
    return lambda: load_modules(["my_actions_page"])


async def test_its_action_runs(page: Any, serve: Serve, task_queue: str) -> None:
    """simulations/deploy launches two machines, labels them, and returns them; they are in the deployment."""
    registry = page().registry
    assert [str(flow.definition) for flow in registry.flows()] == [
        "robots/deploy@1.0.0",
        "simulations/deploy@1.0.0",
    ]
    async with serve(*registry, deps=sys.modules["my_actions_page"].Cloud()) as client:
        handle = await client.start_workflow(
            "simulations/deploy", {"machines": 2}, id=new_id(), task_queue=task_queue
        )
        machines = await handle.result()
        deployment = await handle.query("deployment")
    assert [machine[-2:] for machine in machines] == ["-0", "-1"]
    assert deployment["job_data"] == {"launch-machines": machines}
    assert deployment.keys() == json.loads(blocks("json")[0]).keys()
