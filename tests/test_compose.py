"""docker-compose.yml and Dockerfile. No Docker runs here: what can be told without one is checked."""

from __future__ import annotations

import importlib.util
import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema.validators import validator_for

PROJECT = Path(__file__).parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONE_SHOT = {"temporal-schema", "temporal-namespace"}
DOCKERFILE = (PROJECT / "Dockerfile").read_text()
EXACT = re.compile(r"^[a-z0-9./-]+:\d+\.\d+(\.\d+)?(-[a-z0-9.]+)*$")


def test_follows_the_compose_specification() -> None:
    """The file has no error by the schema of the Compose specification."""
    vendored = files("check_jsonschema.builtin_schemas.vendor") / "compose-spec.json"
    schema = json.loads(vendored.read_text())
    errors = validator_for(schema)(schema).iter_errors(COMPOSE)
    assert [f"{error.json_path}: {error.message}" for error in errors] == []


def test_the_schema_refuses_what_is_no_compose_file() -> None:
    """A condition that Compose doesn't know is refused: the schema that we check against does check."""
    schema = json.loads((files("check_jsonschema.builtin_schemas.vendor") / "compose-spec.json").read_text())
    wrong = {"services": {"worker": {"image": "a:1", "depends_on": {"temporal": {"condition": "soon"}}}}}
    assert not validator_for(schema)(schema).is_valid(wrong)


def test_has_postgresql_temporal_its_ui_and_the_worker() -> None:
    """Beside one-shot services there are these four, and nothing else."""
    assert set(SERVICES) - ONE_SHOT == {"postgresql", "temporal", "temporal-ui", "worker"}


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_has_an_exact_tag(name: str) -> None:
    """No service's image can change under its tag: each tag has at least two numbers."""
    assert EXACT.match(SERVICES[name]["image"])


@pytest.mark.parametrize("image", re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE))
def test_every_base_image_has_an_exact_tag(image: str) -> None:
    """The same of the images that ours is built from."""
    assert EXACT.match(image)


def test_server_and_tools_are_of_one_version() -> None:
    """Server, setup and CLI are all of 1.32.0, which is what the tests run against."""
    temporal = [service["image"] for service in SERVICES.values() if "/ui" not in service["image"]]
    assert {image.split(":")[1] for image in temporal if image.startswith("temporalio/")} == {"1.32.0"}


@pytest.mark.parametrize("name", sorted(set(SERVICES) - ONE_SHOT))
def test_every_long_running_service_has_a_health_check_and_restarts(name: str) -> None:
    """Each has a health check that is a command, and starts again unless somebody stopped it."""
    assert SERVICES[name]["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize(("name", "service"), SERVICES.items())
def test_whoever_waits_waits_for_a_health_check_or_an_end(name: str, service: dict[str, Any]) -> None:
    """Services wait for the health of those that go on, and for the end of those that don't."""
    for other, wait in service.get("depends_on", {}).items():
        expected = "service_completed_successfully" if other in ONE_SHOT else "service_healthy"
        assert (other, wait["condition"]) == (other, expected)


def test_two_workers_wait_for_a_healthy_temporal() -> None:
    """There are two replicas, which wait until Temporal is healthy."""
    assert SERVICES["worker"]["deploy"]["replicas"] == 2
    assert SERVICES["worker"]["depends_on"]["temporal"] == {"condition": "service_healthy"}


def test_workers_get_longer_to_stop_than_they_take() -> None:
    """Compose kills a worker later than the 30 seconds that it gives its handlers."""
    assert int(SERVICES["worker"]["stop_grace_period"].removesuffix("s")) > 30


def test_the_worker_serves_a_module_that_is_there() -> None:
    """The command's module can be found from the project's folder."""
    command = SERVICES["worker"]["command"]
    assert command[0] == "--module"
    assert importlib.util.find_spec(command[1]) is not None


def test_the_health_check_is_in_the_image() -> None:
    """The script of the health check is a file, and the image has it at that place."""
    script = SERVICES["worker"]["healthcheck"]["test"][-1]
    assert (PROJECT / script).is_file()
    assert f"COPY {script} {script}" in DOCKERFILE


def test_the_image_gets_only_files_that_are_there() -> None:
    """Whatever the Dockerfile copies from the project is in the project."""
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    missing = [name for line in copied for name in line.split() if not (PROJECT / name).exists()]
    assert missing == []


def test_the_image_does_not_run_as_root() -> None:
    """It becomes the user counterstep before its entry point."""
    users = re.findall(r"^USER (\S+)", DOCKERFILE, re.MULTILINE)
    assert users == ["counterstep"]
    assert DOCKERFILE.index("USER counterstep") < DOCKERFILE.index("ENTRYPOINT")


def test_ports_are_open_to_this_machine_alone() -> None:
    """Temporal and its UI are bound to the loopback address, and no other port is open."""
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports == ["127.0.0.1:7233:7233", "127.0.0.1:8080:8080"]
