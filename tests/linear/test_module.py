"""Workflows are served from modules, docs/linear.md shows what happens, and a crash repeats the step in flight."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from temporalio.client import Client

from flows import linear, load_modules
from tests.conftest import Serve
from tests.spawning import ROOT, alive, spawner
from tests.support import World, eventually, new_id

PAGE = (ROOT / "docs" / "linear.md").read_text()


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """The Python snippets of the page, as a module in the current folder."""
    (tmp_path / "my_linear_page.py").write_text(
        "\n\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "my_linear_page", raising=False)
    return lambda: load_modules(["my_linear_page"]).registry


async def test_what_the_page_shows(page: Callable[[], Any], serve: Serve, task_queue: str) -> None:
    """Its workflows are offered, also the one inside another; the report has the rows and keys that it shows."""
    registry = page()
    assert [str(flow.definition) for flow in registry.flows()] == ["everything@1.0.0", "restart@1.0.0"]
    async with serve(*registry) as client:
        handle = await client.start_workflow("restart", id=new_id(), task_queue=task_queue)
        assert await handle.result() is None
        report = await linear.fetch_workflow_report(client, handle.id)
        other = await client.start_workflow("everything", id=new_id(), task_queue=task_queue)
        await other.result()
        whole = await linear.fetch_workflow_report(client, other.id)
    rows = [(row.step_id, row.status.value) for row in report.step_reports]
    assert rows == [("stop", "SUCCESS"), ("fetch", "SUCCESS"), ("notify", "SKIPPED"), ("restart", "SUCCESS")]
    assert report.step_reports[1].metadata == {"build": b"4711"}
    shown = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[0])
    made = yaml.safe_load(report.to_yaml())
    assert (shown.keys(), shown["step_reports"][0].keys()) == (made.keys(), made["step_reports"][0].keys())
    assert whole.step_sequence == (*(f"restart/{row}" for row, _ in rows), "again/stop", "again/restart")


async def test_a_crash_while_a_step_runs(world: World, dev_address: str, task_queue: str) -> None:
    """F15: a done, the worker killed in b → b again, under the same key; a isn't; the workflow is a success."""
    world.switch("die-b")
    with spawner("tests.linear.crashing") as workers:
        first = workers.spawn(dev_address, task_queue, str(world.folder))
        client = await Client.connect(dev_address)
        handle = await client.start_workflow(
            "risky-steps", id=new_id(), task_queue=task_queue, task_timeout=timedelta(seconds=1)
        )
        await eventually(lambda: not alive(first))
        workers.spawn(dev_address, task_queue, str(world.folder))
        assert await asyncio.wait_for(handle.result(), 60) is None
        report = await linear.fetch_workflow_report(client, handle.id)
    assert [call[0] for call in world.calls] == ["a", "b", "b", "c"]
    assert world.calls[1] == world.calls[2]
    assert [row.status.value for row in report.step_reports] == ["SUCCESS"] * 3
