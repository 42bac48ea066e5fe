"""A worker that can't serve what it is asked to says everything that is wrong, and exits with 1."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support import binary
from tests.worker.conftest import Launch

GAPS = '''
import json
from activities import operation
from flows import Sequence
import hidden


@operation(id="slow", version="1.0.0")
async def mine(ctx, input: int) -> int:
    return missing(input)


@operation(id="fine", version="1.0.0")
def fine(ctx, input: int) -> str:
    return json.dump_it(input)


@fine.undo
async def undo(ctx, input: int, outcome) -> None:
    await vanish(input)


class Uses(Sequence[int, int], id="uses", version="1.0.0"):
    """Use what no module offers."""

    async def run(self, input: int) -> int:
        calls = [self.execute(hidden._private, 1) for _ in range(input)]
        return len(await self.gather(*calls)) + later
'''
HIDDEN = """
from activities import operation

@operation(id="private", version="1.0.0")
async def _private(ctx, input: int) -> int:
    return input
"""


def refusal(launch: Launch, *args: str, **options: object) -> str:
    """Start a worker that doesn't come up; give its one message."""
    process = launch(*args, **options)
    assert process.ends() == 1, process.text
    assert process.out.read_text() == ""
    return process.err.read_text().strip()


def test_each_gap_is_named_in_one_message(launch: Launch, folder: Path) -> None:
    """A clash, missing globals (also of undos, attributes), an operation that isn't public."""
    (folder / "gaps.py").write_text(GAPS)
    (folder / "hidden.py").write_text(HIDDEN)
    assert refusal(launch, modules=("things", "gaps")).splitlines() == [
        "counterstep worker: can't serve things, gaps:",
        "- slow@1.0.0 is registered already, as <operation slow@1.0.0>; give one a new version",
        "- slow@1.0.0 uses missing, which isn't there",
        "- fine@1.0.0 uses json.dump_it, which isn't there",
        "- fine@1.0.0 uses vanish, which isn't there",
        "- uses@1.0.0 uses hidden._private (private@1.0.0), which no module offers as a public attribute",
        "- uses@1.0.0 uses later, which isn't there",
    ]


def test_a_missing_module_is_named(launch: Launch, folder: Path) -> None:
    """The message names the module, and which one imports it."""
    (folder / "needy.py").write_text("import not_there.at_all")
    there = "looked in the current folder too"
    assert refusal(launch, modules=("nope",)) == f"counterstep worker: there is no module 'nope'; {there}"
    assert refusal(launch, modules=("needy",)) == (
        f"counterstep worker: there is no module 'not_there', which needy imports; {there}"
    )


def test_a_module_that_cant_be_imported(launch: Launch, folder: Path) -> None:
    """The message ends as Python's would, without a frame of ours."""
    (folder / "typo.py").write_text("from activities import operatoin\n")
    (folder / "torn.py").write_text("def x(:\n")
    lines = refusal(launch, modules=("typo",)).splitlines()
    assert lines[:2] == ["counterstep worker: can't import typo:", "Traceback (most recent call last):"]
    assert lines[2:4] == [
        f'  File "{folder}/typo.py", line 1, in <module>',
        "    from activities import operatoin",
    ]
    assert lines[-1].startswith("ImportError: cannot import name 'operatoin' from 'activities'")
    assert refusal(launch, modules=("torn",)).splitlines() == [
        "counterstep worker: can't import torn:",
        f'  File "{folder}/torn.py", line 1',
        "    def x(:",
        "          ^",
        "SyntaxError: invalid syntax",
    ]


def test_modules_that_offer_nothing(launch: Launch, folder: Path) -> None:
    """A worker that would serve nothing says so, and that a lifespan isn't one."""
    (folder / "bare.py").write_text("async def lifespan():\n    yield 1\n")
    assert refusal(launch, modules=("bare",)).splitlines() == [
        "counterstep worker: can't serve bare:",
        "- no public attribute is an operation or a flow",
        "- lifespan of bare isn't a context manager; put @asynccontextmanager above it",
    ]


def test_a_lifespan_that_fails(launch: Launch, folder: Path) -> None:
    """The message has its error, and the line that raised it."""
    (folder / "fails.py").write_text(
        NEEDS.replace("    yield {", "    raise RuntimeError('no key')\n    yield {")
    )
    process = launch(modules=("fails",))
    assert process.ends() == 1
    lines = process.err.read_text().strip().splitlines()
    assert lines[0] == "counterstep worker: lifespan failed, so nothing is served:"
    assert (lines[-2:]) == ["    raise RuntimeError('no key')", "RuntimeError: no key"]


DECLARED = """
from uuid import UUID, uuid4
from pydantic import BaseModel, Field
from activities import operation

class Random(BaseModel):
    id: UUID = Field(default_factory=uuid4)

@operation(id="random", version="1.0.0")
async def random(ctx, input: Random) -> int:
    return 1
"""
FACTORY = """
from datetime import datetime
from pydantic import BaseModel, Field
from flows import Sequence

class Clock(BaseModel):
    at: datetime = Field(default_factory=datetime.now)

class Random(Sequence[Clock, int], id="random", version="1.0.0"):
    async def run(self, input: Clock) -> int:
        return 1
"""


def test_a_model_that_isnt_deterministic_is_refused(launch: Launch, folder: Path) -> None:
    """A default that is new each time is named with its model and field, for operations and for sequences."""
    (folder / "drawn.py").write_text(DECLARED)
    (folder / "clocked.py").write_text(FACTORY)
    new = "has a default that is new each time; let the caller give it"
    assert refusal(launch, modules=("drawn",)) == f"counterstep worker: random@1.0.0: input: Random.id {new}"
    assert refusal(launch, modules=("clocked",)) == f"counterstep worker: random@1.0.0: input: Clock.at {new}"


NEEDS = """
from contextlib import asynccontextmanager
from activities import Context, operation

class Cloud: ...
class Mail: ...

@asynccontextmanager
async def lifespan():
    yield {Cloud: Cloud()}

@operation(id="build", version="1.0.0")
async def build(ctx: Context[Cloud], input: int) -> int:
    return input

@operation(id="send", version="1.0.0")
async def send(ctx: Context[Mail], input: int) -> int:
    return input
"""


def test_a_missing_dependency_is_named(launch: Launch, folder: Path) -> None:
    """Where lifespan yields `{type: object}`, each operation whose type isn't there is named with it."""
    (folder / "needs.py").write_text(NEEDS)
    process = launch(modules=("needs",))
    assert process.ends() == 1
    assert process.err.read_text().strip() == (
        "counterstep worker: lifespan yields no dependency for: send@1.0.0 wants <class 'needs.Mail'>"
    )


def test_an_unreachable_temporal_is_named(launch: Launch) -> None:
    """The message has the address that was tried."""
    assert refusal(launch, address="127.0.0.1:1").startswith(
        "counterstep worker: can't reach Temporal at 127.0.0.1:1: "
    )


def test_a_sequence_that_the_sandbox_cant_load_is_named(launch: Launch, folder: Path) -> None:
    """The message names the sequence and what to do."""
    (folder / "opens.py").write_text(
        "from things import *\nif workflow.unsafe.in_sandbox():\n    raise ImportError('loaded twice')\n"
        + REST
    )
    message = refusal(launch, modules=("opens",))
    assert message.startswith("counterstep worker: Failed validating workflow opens@1.0.0: loaded twice. ")
    assert "import what touches the world inside 'with workflow.unsafe.imports_passed_through():'" in message


REST = """
class Opens(Sequence[int, int], id="opens", version="1.0.0"):
    async def run(self, input: int) -> int:
        return input
"""


@pytest.mark.parametrize("name", ["activities.py", "flows.py", "flows/__init__.py", "worker.py"])
def test_a_local_module_that_ours_hides_is_refused(launch: Launch, folder: Path, name: str) -> None:
    """The message names the file and our package."""
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).touch()
    package = name.split("/")[0].removesuffix(".py")
    assert refusal(launch) == (
        f"counterstep worker: {name} is hidden by our own package '{package}'; give it another name"
    )


def test_half_a_version_is_refused(launch: Launch) -> None:
    """`--deployment-name` without `--build-id` is an error of usage."""
    process = launch("--deployment-name", "x")
    assert process.ends() == 2
    assert "--deployment-name and --build-id belong together" in process.err.read_text()


def test_the_installed_command_has_help() -> None:
    """`counterstep worker --help` lists the options of `python worker.py`."""
    done = subprocess.run(
        [binary("counterstep"), "worker", "--help"],
        capture_output=True,
        text=True,
        env={"COLUMNS": "200", "NO_COLOR": "1"},
    )
    assert done.returncode == 0
    for option in (
        "--module",
        "--task-queue",
        "--address",
        "--namespace",
        "--profile",
        "--grace",
        "--dev",
        "--build-id",
    ):
        assert f"{option} " in done.stdout, done.stdout
