"""The worker connects as the Temporal CLI does, and flags win."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.support import binary, new_id
from tests.worker.conftest import Launch

NOWHERE = "127.0.0.1:1"


TOML = """
[profile.default]
address = "{nowhere}"
namespace = "nowhere"

[profile.there]
address = "{address}"
namespace = "elsewhere"
"""
CASES: dict[str, tuple[dict[str, str], tuple[str, ...]]] = {
    "environment": ({"TEMPORAL_ADDRESS": "{address}", "TEMPORAL_NAMESPACE": "elsewhere"}, ()),
    "profile by flag": ({}, ("--profile", "there")),
    "profile by environment": ({"TEMPORAL_PROFILE": "there"}, ()),
    "flags win over environment": (
        {"TEMPORAL_ADDRESS": NOWHERE, "TEMPORAL_NAMESPACE": "nowhere"},
        ("--address", "{address}", "--namespace", "elsewhere"),
    ),
    "flags win over a profile": (
        {"TEMPORAL_PROFILE": "default"},
        ("--address", "{address}", "--namespace", "elsewhere"),
    ),
    "another file": ({"TEMPORAL_CONFIG_FILE": "other.toml", "TEMPORAL_PROFILE": "there"}, ()),
}


@pytest.fixture(scope="session")
def elsewhere(dev_address: str) -> None:
    """Make a namespace beside the default one."""
    command = [
        binary("temporal"),
        "operator",
        "namespace",
        "create",
        "-n",
        "elsewhere",
        "--address",
        dev_address,
    ]
    subprocess.run(command, check=True, capture_output=True)


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("case", CASES)
def test_the_worker_is_where_the_cli_is(
    served: Launch, folder: Path, dev_address: str, task_queue: str, case: str
) -> None:
    """With the same environment, file and flags, worker and `temporal` meet at one address and namespace."""
    for name in ("temporal.toml", "other.toml"):
        (folder / name).write_text(TOML.format(address=dev_address, nowhere=NOWHERE))
    env = {key: value.format(address=dev_address) for key, value in CASES[case][0].items()}
    args = [arg.format(address=dev_address) for arg in CASES[case][1]]
    served(*args, address=None, **env)
    clean = {key: value for key, value in os.environ.items() if not key.startswith("TEMPORAL_")}
    clean |= {"TEMPORAL_CONFIG_FILE": str(folder / "temporal.toml"), **env}
    flow = ["--type", "doubled@1.0.0", "--task-queue", task_queue, "-i", "3", "-w", new_id(), "-o", "json"]
    command = [binary("temporal"), "workflow", "execute", *flow, *args]
    done = subprocess.run(command, env=clean, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["result"] == 6


def test_an_unknown_profile_is_named(launch: Launch, folder: Path) -> None:
    """The message names the profile, with exit code 1 and no traceback."""
    (folder / "temporal.toml").write_text(TOML.format(address=NOWHERE, nowhere=NOWHERE))
    process = launch("--profile", "nope", address=None)
    assert process.ends() == 1
    assert process.err.read_text().strip() == (
        "counterstep worker: can't read Temporal's configuration: Profile 'nope' not found"
    )


def test_an_unknown_namespace_is_named(launch: Launch) -> None:
    """The message says that Temporal refused the worker, and why, with exit code 1 and no traceback."""
    process = launch("--namespace", "nope")
    assert process.ends() == 1
    message = "counterstep worker: Temporal refused the worker: Namespace nope is not found."
    assert process.err.read_text().splitlines()[-1] == message
    assert "Traceback" not in process.text
