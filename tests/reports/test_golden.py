"""What reports say of the examples, ended in every way, file by file.

``RECORD=1 pytest tests/reports/test_golden.py`` records histories that aren't there yet; ``GOLDEN=1`` writes what is
said of those anew.
"""

from __future__ import annotations

import gzip
import json
import os
from typing import Any

import pytest
from temporalio.client import Client

from counterstep.reports import (
    Report,
    fetch_report,
    mermaid,
    saga_log,
    sequence_report_json,
    status_tree,
    tree_json,
    workflow_report,
)
from tests.conftest import Serve
from tests.reports.recording import DEFINITIONS, ENDINGS, FOLDER, Ending, record, recorded, run
from tests.support import World

AnyReport = Report[Any, Any]
MANY = [name for name in ENDINGS if "cancelled-at" in name and not name.startswith("rollout")]


def told(report: AnyReport) -> str:
    """Give every view of a report, one after the other."""
    views = {
        "tree": json.dumps(tree_json(report), indent=1),
        "seed operations": json.dumps(sequence_report_json(report), indent=1),
        "seed automa, JSON": json.dumps(workflow_report(report).to_json(), indent=1),
        "seed automa, YAML": workflow_report(report).to_yaml(),
        "saga log": saga_log(report),
        "status tree": status_tree(report),
        "Mermaid": mermaid(report),
    }
    return "\n\n".join(f"=== {name} ===\n{view}" for name, view in views.items()) + "\n"


async def _record(
    serve: Serve, world: World, task_queue: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Record what isn't there yet."""
    if (FOLDER / f"{name}.json.gz").exists():
        return
    if ENDINGS[name].continue_at:
        monkeypatch.setattr("flows._full.CONTINUE_AT", ENDINGS[name].continue_at)
    async with serve(*DEFINITIONS) as client:
        await record(client, await run(client, task_queue, world, ENDINGS[name]), name)


def _keep(name: str, text: str) -> None:
    """Write a golden file; those of the flows cancelled at each step are many, and packed."""
    if name in MANY:
        (FOLDER / f"{name}.txt.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    else:
        (FOLDER / f"{name}.txt").write_text(text)


def _golden(name: str) -> str:
    packed = FOLDER / f"{name}.txt.gz"
    return (
        gzip.decompress(packed.read_bytes()).decode()
        if packed.exists()
        else (FOLDER / f"{name}.txt").read_text()
    )


if os.environ.get("RECORD"):
    test_record = pytest.mark.parametrize("name", ENDINGS)(_record)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.nightly if name in MANY else ()) for name in ENDINGS]
)
def test_every_view_of_every_ending(name: str) -> None:
    """The tree and all texts of a recorded flow equal the golden file, byte for byte, twice, with no worker."""
    text = told(recorded(name).report("default"))
    if os.environ.get("GOLDEN"):
        _keep(name, text)
    assert text == told(recorded(name).report("default"))
    assert text == _golden(name)


def test_every_recorded_flow_is_known() -> None:
    """No file lies in the folder without a test."""
    assert {path.name.split(".")[0] for path in FOLDER.iterdir()} == set(ENDINGS)


@pytest.mark.parametrize(
    "ending",
    [
        Ending("rollout", ("fail-check-health",)),
        pytest.param(Ending("tenant", ("fail-check-login",)), marks=pytest.mark.nightly),
        pytest.param(Ending("simulation", ("fail-check",)), marks=pytest.mark.nightly),
    ],
    ids=lambda ending: ending.flow,
)
async def test_the_same_without_the_worker(
    serve: Serve, world: World, task_queue: str, dev_address: str, ending: Ending
) -> None:
    """The report of a run, made while its worker serves and after it is gone: the same bytes."""
    async with serve(*DEFINITIONS) as client:
        handle = await run(client, task_queue, world, ending)
        with_worker = told(await fetch_report(client, handle.id))
    without = told(await fetch_report(await Client.connect(dev_address), handle.id))
    assert with_worker == without
