"""A module offers actions as it offers sagas, and the Temporal CLI starts them by type."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from activities import DefinitionError
from flows import load_modules
from tests.support import World, new_id

CODE = """
from flows import Action, ActionService, Job


def plus(ctx, value):
    return value + 1


one = Job("one", plus, input=int, output=int)
alone = Action("alone", [one])
unnamed = Action("", [one])
registered = Action("registered", [one, one.rename("two")])
_private = Action("private", [one])
service = ActionService()
service.register("app", "add", registered)
service.register(None, "bare", unnamed)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """Write a module; give its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])

    def write(code: str) -> str:
        (tmp_path / "my_actions.py").write_text(code)
        sys.modules.pop("my_actions", None)
        return "my_actions"

    yield write
    sys.modules.pop("my_actions", None)


def test_what_a_module_offers(module: Callable[[str], str]) -> None:
    """Public actions under their own names, those of a service under `application/name` alone; and their jobs."""
    registry = load_modules([module(CODE)]).registry
    assert [str(flow.definition) for flow in registry.flows()] == [
        "alone@1.0.0",
        "app/add@1.0.0",
        "bare@1.0.0",
    ]
    assert [str(op.definition) for op in registry.operations()] == [
        "alone:one@1.0.0", "app/add:one@1.0.0", "app/add:two@1.0.0", "bare:one@1.0.0",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "gap"),
    [
        ('missing = Action("m", [Job("j", lambda ctx, value: nowhere(value))])', "m:j@1.0.0 uses nowhere, which isn't there"),
        (
            'hook = Action("h", [one.extend(pre_hooks=[with_error_handler(plus, lambda c, v, e: gone(e))])])',
            "h:one@1.0.0 uses gone, which isn't there",
        ),
        (
            'back = Action("b", [one.extend(rollback=lambda c, v, e: lost(v))])',
            "b:one@1.0.0 uses lost, which isn't there",
        ),
    ],
)  # fmt: skip
def test_the_start_check_looks_into_jobs(module: Callable[[str], str], code: str, gap: str) -> None:
    """What a hook, a handler or a rollback names and isn't there is told before the worker polls."""
    name = module(f"{CODE}\nfrom flows import with_error_handler\n{code}\n")
    with pytest.raises(DefinitionError) as refused:
        load_modules([name])
    assert refused.value.message.splitlines()[1:] == [f"- {gap}"]


async def test_the_temporal_cli_starts_actions(
    module: Callable[[str], str],
    serve: Any,
    temporal: Callable[..., subprocess.CompletedProcess[str]],
    task_queue: str,
    world: World,
) -> None:
    """`--type app/add` runs; `--type bare` too; `query --type deployment` answers, also for one job."""
    import asyncio

    registry = load_modules([module(CODE)]).registry

    def ask(*args: str) -> Any:
        return json.loads(temporal("workflow", *args, "--output", "json").stdout)

    async with serve(*registry) as _:
        run = new_id()
        begin = ["execute", "--task-queue", task_queue, "--input", "1", "--workflow-id"]
        done = await asyncio.to_thread(ask, *begin, run, "--type", "app/add")
        bare = await asyncio.to_thread(ask, *begin, new_id(), "--type", "bare")
        query = ["query", "--workflow-id", run, "--type", "deployment", "--input", '"two"']
        deployment = (await asyncio.to_thread(ask, *query))["queryResult"][0]
    assert (done["status"], done["result"], bare["result"]) == ("COMPLETED", 3, 2)
    assert (deployment["application"], deployment["action"], deployment["current_job"]) == (
        "app",
        "add",
        "two",
    )
