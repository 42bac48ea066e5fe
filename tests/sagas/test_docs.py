"""What docs/sagas.md shows is what happens."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from activities import Registry
from flows import Plan
from flows._plan_read import checked_plan
from tests.conftest import Serve
from tests.sagas.planning import edges
from tests.support import binary, new_id

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "sagas.md").read_text()


def blocks(language: str) -> list[str]:
    """Give the snippets of a language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The Python snippets of the page, as the module `my_module` in the current folder."""
    (tmp_path / "my_module.py").write_text("\n\n".join(blocks("python")))
    (tmp_path / "plan.json").write_text(blocks("json")[0])
    monkeypatch.chdir(tmp_path)
    module = ModuleType("my_module")
    monkeypatch.setitem(sys.modules, "my_module", module)
    exec((tmp_path / "my_module.py").read_text(), vars(module))
    return module


def registry(page: Any) -> Registry:
    """Give what the page defines."""
    return Registry(
        page.create_network, page.create_vm, page.check_vms, page.launch, page.cluster, page.migrate
    )


def test_its_sagas_have_the_edges_that_it_says(page: Any) -> None:
    """launch, cluster and migrate are plans without a mistake."""
    assert edges(page.plan)["check"] == ["vm-0", "vm-1", "vm-2"]
    cluster = edges(page.cluster.plan(page.LaunchParams()))
    assert (cluster["a/vm"], cluster["b/vm"], cluster["c/vm"]) == (
        ["network"],
        ["network"],
        ["a", "b", "network"],
    )
    assert list(edges(page.migrate.plan(page.LaunchParams()))) == ["network", "soak", "go", "switch", "check"]


def test_its_plan_file_can_be_run(page: Any) -> None:
    """It fits the published schema, and completes."""
    typed = json.loads(blocks("json")[0])
    schema = json.loads((DOCS / "plan.schema.json").read_text())
    assert [error.message for error in Draft202012Validator(schema).iter_errors(typed)] == []
    plan = checked_plan(typed, registry(page))
    assert [s["operation"] for s in plan.to_json()["steps"] if "operation" in s] == [
        "create-network@1.0.0",
        "create-vm@1.2.0",
        "check-vms@1.0.0",
    ]


async def test_its_sagas_run(page: Any, serve: Serve, task_queue: str) -> None:
    """launch and cluster complete with what their last step gave."""
    async with serve(*registry(page), deps=None) as client:
        for type in ("launch", "cluster@^1"):
            handle = await client.start_workflow(type, {"vms": 3}, id=new_id(), task_queue=task_queue)
            assert await handle.result() is True
            recorded = Plan.model_validate(await handle.query("plan"))
            assert recorded.result in ("check", "all")


def test_its_commands_draw(page: Any) -> None:
    """`counterstep graph` as it is written there."""
    commands = [
        line
        for block in blocks("console")
        for line in block.splitlines()
        if line.startswith("counterstep graph")
    ]
    assert len(commands) == 3
    for command in commands:
        line = command.split(" | ")[0].replace("counterstep", binary("counterstep"), 1)
        subprocess.run(line, shell=True, check=True, capture_output=True, timeout=60)
    assert json.loads(Path("plan.json").read_text())["id"] == "launch"
