"""Simulations are launched as real processes; whatever goes wrong, nothing of them is left on the machine."""

from __future__ import annotations

import asyncio
import json
import stat
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from temporalio.client import Client, WorkflowHandle

from activities import Operation, Registry
from examples import simulation
from examples.simulation.node import HOST
from examples.simulation.site import Site
from flows import load_modules, undo
from tests.conftest import Serve
from tests.support import causes, eventually, failure_of, new_id

JOBS = [job.name for job in simulation.launch_simulation.jobs]
WANTED = {"name": "maze", "robots": ["ada", "bob"]}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A machine without simulations."""
    return Site(tmp_path / "site", slots=2)


@pytest.fixture
def clean(site: Site) -> Any:
    """Whatever happens, no process outlives the test."""
    yield site
    for process in processes(site):
        process.kill()


def processes(site: Site) -> list[psutil.Process]:
    """The processes that run from the machine's folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        runs = process.info["status"] != psutil.STATUS_ZOMBIE
        if runs and any(str(site.root) in word for word in process.info["cmdline"] or ()):
            found.append(process)
    return found


def files(site: Site) -> dict[str, str]:
    """All files of the machine, but for its own lock and an index that may be empty."""
    found = {
        str(path.relative_to(site.root)): path.read_text() for path in site.root.rglob("*") if path.is_file()
    }
    own = {"slots/.lock", *(["index.json"] if found.get("index.json") == "{}" else [])}
    return {path: text for path, text in found.items() if path not in own}


def left(site: Site) -> tuple[list[Any], dict[str, str], list[str]]:
    """What is left of all simulations."""
    return processes(site), files(site), [path.name for path in (site.root / "simulations").iterdir()]


NOTHING: Any = ([], {}, [])


@pytest.fixture
def launched(serve: Serve, clean: Site, task_queue: str) -> Callable[..., Any]:
    """Serve the example, and launch: ``async with launched() as launch``."""
    registry = Registry(*simulation.service.definitions)

    class Launching:
        def __init__(self) -> None:
            self._serving = serve(*registry, deps=clean)

        async def __aenter__(self) -> Any:
            self._client = await self._serving.__aenter__()
            return self._launch

        async def __aexit__(self, *error: Any) -> None:
            await self._serving.__aexit__(*error)

        async def _launch(self, **wanted: Any) -> tuple[Client, WorkflowHandle[Any, Any]]:
            input = {**WANTED, **wanted}
            return self._client, await self._client.start_workflow(
                "simulations/launch", input, id=new_id(), task_queue=task_queue
            )

    return Launching


def test_it_is_served_as_a_module(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """At least twelve jobs, under the application's type; the start check finds nothing missing."""
    registry = load_modules(["examples.simulation"]).registry
    assert [str(flow.definition) for flow in registry.flows()] == ["simulations/launch@1.0.0"]
    assert len([entry for entry in registry if isinstance(entry, Operation)]) == len(JOBS) == 15


async def test_a_simulation_is_launched_and_ended_by_undo(
    launched: Any, clean: Site, task_queue: str
) -> None:
    """Four processes run and do their work, files and index say so; `undo` leaves the machine as it was."""
    async with launched() as launch:
        client, handle = await launch()
        result = await handle.result()
        assert (result["name"], result["slot"], set(result["robots"])) == ("maze", 0, {"ada", "bob"})
        assert len(processes(clean)) == 4
        assert clean.dead("maze") == []
        assert clean.index() == {"maze": {"slot": 0, "robots": ["ada", "bob"]}}
        assert (clean.folder("maze") / "status").read_text() == "running"
        assert stat.S_IMODE((clean.folder("maze") / "key").stat().st_mode) == 0o600
        before = clean.records("maze")
        await eventually(lambda: clean.records("maze") > before)
        deployment = await handle.query("deployment")
        assert deployment["job_data"]["launch-robots"] == {
            "name": "maze",
            "nodes": ["robot-ada", "robot-bob"],
        }
        assert [row["job"] for row in deployment["errors"]] == ["announce"]  # the greeting, which was ignored
        undone = await undo(client, handle.id, task_queue=task_queue)
    assert undone.undone[0] == "set-status-running" and undone.undone[-1] == "reserve-slot"
    assert left(clean) == NOTHING


@pytest.mark.parametrize(
    ("wanted", "job", "says"),
    [
        ({"robots": ["ada", "ada"]}, "reserve-slot", "two robots have the same name"),
        ({"size": 0}, "launch-world", "world of maze doesn't start: a world of size 0 has no room"),
        ({"robots": ["ada", "faulty-1"]}, "launch-robots", "robot-faulty-1 of maze doesn't start: faulty-1 has no wheels"),
        ({"robots": ["ada", "tired-1"]}, "wait-for-robots", "robot-tired-1 of maze ended"),
    ],
)  # fmt: skip
async def test_a_failure_leaves_nothing_behind(
    launched: Any, clean: Site, wanted: dict[str, Any], job: str, says: str
) -> None:
    """A job fails in the middle: its processes and those before it are ended, all files are gone, the slot is free."""
    async with launched() as launch:
        _, handle = await launch(**wanted)
        found = causes(await failure_of(handle))
        deployment = await handle.query("deployment")
    assert [kind for kind, _ in found] == ["RolledBack", "OperationFailed", "Refused"]
    assert found[-1][1] == says
    assert (deployment["current_job"], deployment["rollback_error"]) == (job, f"Refused: {says}")
    assert left(clean) == NOTHING


async def test_a_failure_near_the_end_leaves_nothing_behind(launched: Any, clean: Site) -> None:
    """The index can't be written, although everything runs: `announce` fails, and all four processes are ended."""
    (clean.root / ".index.json").mkdir()
    async with launched() as launch:
        _, handle = await launch()
        found = causes(await failure_of(handle))
        errors = (await handle.query("deployment", "announce"))["errors"]
    (clean.root / ".index.json").rmdir()
    assert [kind for kind, _ in found] == ["RolledBack", "OperationFailed", "IsADirectoryError"]
    assert [row["error"].split(":")[0] for row in errors] == ["FileNotFoundError", "IsADirectoryError"]
    assert left(clean) == NOTHING


async def test_the_last_job_may_fail_too(launched: Any, clean: Site) -> None:
    """A robot that nobody wanted joins while the recorder starts: `check` fails, and everything is taken back."""
    async with launched() as launch:
        _, handle = await launch()
        port = clean.home("maze", "world") / "ready"
        await eventually(port.exists)
        intruder = {"name": "eve", "key": (clean.folder("maze") / "key").read_text()}
        await asyncio.to_thread(
            urllib.request.urlopen, f"http://{HOST}:{port.read_text()}/", json.dumps(intruder).encode(), 5
        )
        found = causes(await failure_of(handle))
        assert (await handle.query("status"))["steps"]["check"] == "failed"
    assert found[-1] == ("Refused", "maze has the robots ada, bob, eve")
    assert left(clean) == NOTHING


async def test_others_are_not_touched(launched: Any, clean: Site) -> None:
    """The same name again is refused, and so is a third simulation on two slots; those that run go on running."""
    async with launched() as launch:
        _, first = await launch()
        await first.result()
        _, same = await launch()
        assert causes(await failure_of(same))[-1][1] == "there is a simulation 'maze' already"
        before = files(clean).keys()
        _, second = await launch(name="hall", robots=["cleo"])
        await second.result()
        _, third = await launch(name="yard")
        assert causes(await failure_of(third))[-1][1] == "all 2 slots of this machine are taken"
    assert {path for path in files(clean) if "hall" not in path and path != "slots/1"} == set(before)
    assert len(processes(clean)) == 4 + 3
    assert clean.dead("maze") == clean.dead("hall") == []


async def test_stopping_in_the_middle(launched: Any, clean: Site) -> None:
    """`stop` while it waits for robots that need long: everything that was started is ended again."""
    async with launched() as launch:
        _, handle = await launch(robots=["ada"], size=1)  # in a world of one place nobody ever moves
        await eventually(lambda: clean.home("maze", "robot-ada").joinpath("ready").exists())
        await handle.execute_update("stop")
        found = causes(await failure_of(handle))
    assert [kind for kind, _ in found] == ["RolledBack", "ExecutionStopped"]
    assert left(clean) == NOTHING
