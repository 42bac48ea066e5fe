"""What docs/long-running.md shows is what happens."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from flows import CounterstepPlugin, load_modules, start
from tests.support import binary, new_id

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "long-running.md").read_text()


async def test_the_page_is_a_module_that_works(tmp_path: Path, monkeypatch: Any, task_queue: str) -> None:
    """The snippets, put together, are served: an import in three legs, a year between two batches, waits for both kinds."""
    (tmp_path / "page_of_long_running.py").write_text(
        "\n\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    module = load_modules(["page_of_long_running"])
    page: Any = sys.modules["page_of_long_running"]
    plugin = CounterstepPlugin(module.registry, deps={page.Elsewhere: page.Elsewhere()})
    async with (
        await WorkflowEnvironment.start_time_skipping(
            test_server_existing_path=binary("temporal-test-server"), plugins=[plugin]
        ) as env,
        Worker(env.client, task_queue=task_queue),
    ):
        ran = await run(env.client, task_queue, page)
    batches, year, last, follow, remote = ran
    assert [text.rpartition("-")[0] for text in batches] == ["batch-0", "batch-1", "batch-2"]
    assert [text[:8] for text in year.split(", ")] == ["batch-1-", "batch-2-"]
    assert last >= timedelta(days=365)
    assert (follow, remote) == ("all ended", "done")


async def run(client: Client, queue: str, page: Any) -> tuple[Any, ...]:
    """Run each of the page's flows."""
    first = await start(client, page.ImportCatalog, page.Import(batches=3), id=new_id(), task_queue=queue)
    batches = await first.result()
    second = await start(client, page.Yearly, page.Import(batches=1), id=new_id(), task_queue=queue)
    year = await second.result()
    began = (
        await client.get_workflow_handle(second.id, run_id=second.first_execution_run_id).describe()
    ).start_time
    ended = (await client.get_workflow_handle(second.id).describe()).close_time
    assert ended is not None
    third = await start(client, page.Follow, [first.id, second.id], id=new_id(), task_queue=queue)
    fourth = await start(client, page.Remote, "operations/theirs", id=new_id(), task_queue=queue)
    return batches, year, ended - began, await third.result(), await fourth.result()


@pytest.mark.nightly
def test_the_page_is_typed(tmp_path: Path) -> None:
    """mypy, strict, has nothing to say about the page's snippets."""
    (tmp_path / "page.py").write_text("\n\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), str(tmp_path / "page.py")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.stdout == "Success: no issues found in 1 source file\n", done.stdout
