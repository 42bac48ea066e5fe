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
    vendored = files("check_jsonschema.builtin_schemas.vendor") / "compose-spec.json"
    schema = json.loads(vendored.read_text())
    errors = validator_for(schema)(schema).iter_errors(COMPOSE)
    assert [f"{error.json_path}: {error.message}" for error in errors] == []


def test_the_schema_refuses_what_is_no_compose_file() -> None:
    schema = json.loads((files("check_jsonschema.builtin_schemas.vendor") / "compose-spec.json").read_text())
    wrong = {"services": {"worker": {"image": "a:1", "depends_on": {"temporal": {"condition": "soon"}}}}}
    assert not validator_for(schema)(schema).is_valid(wrong)


def test_has_postgresql_temporal_its_ui_and_the_worker() -> None:
    assert set(SERVICES) - ONE_SHOT == {"postgresql", "temporal", "temporal-ui", "worker"}


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_has_an_exact_tag(name: str) -> None:
    assert EXACT.match(SERVICES[name]["image"])


@pytest.mark.parametrize("image", re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE))
def test_every_base_image_has_an_exact_tag(image: str) -> None:
    assert EXACT.match(image)


def test_server_and_tools_are_of_one_version() -> None:
    temporal = [service["image"] for service in SERVICES.values() if "/ui" not in service["image"]]
    assert {image.split(":")[1] for image in temporal if image.startswith("temporalio/")} == {"1.32.0"}


@pytest.mark.parametrize("name", sorted(set(SERVICES) - ONE_SHOT))
def test_every_long_running_service_has_a_health_check_and_restarts(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize(("name", "service"), SERVICES.items())
def test_whoever_waits_waits_for_a_health_check_or_an_end(name: str, service: dict[str, Any]) -> None:
    for other, wait in service.get("depends_on", {}).items():
        expected = "service_completed_successfully" if other in ONE_SHOT else "service_healthy"
        assert (other, wait["condition"]) == (other, expected)


def test_two_workers_wait_for_a_healthy_temporal() -> None:
    assert SERVICES["worker"]["deploy"]["replicas"] == 2
    assert SERVICES["worker"]["depends_on"]["temporal"] == {"condition": "service_healthy"}


def test_workers_get_longer_to_stop_than_they_take() -> None:
    assert int(SERVICES["worker"]["stop_grace_period"].removesuffix("s")) > 30


def test_the_worker_serves_a_module_that_is_there() -> None:
    command = SERVICES["worker"]["command"]
    assert command[0] == "--module"
    assert importlib.util.find_spec(command[1]) is not None


def test_the_health_check_is_in_the_image() -> None:
    script = SERVICES["worker"]["healthcheck"]["test"][-1]
    assert (PROJECT / script).is_file()
    assert f"COPY {script} {script}" in DOCKERFILE


def test_the_image_gets_only_files_that_are_there() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    missing = [name for line in copied for name in line.split() if not (PROJECT / name).exists()]
    assert missing == []


def test_the_image_does_not_run_as_root() -> None:
    users = re.findall(r"^USER (\S+)", DOCKERFILE, re.MULTILINE)
    assert users == ["counterstep"]
    assert DOCKERFILE.index("USER counterstep") < DOCKERFILE.index("ENTRYPOINT")


def test_ports_are_open_to_this_machine_alone() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports == ["127.0.0.1:7233:7233", "127.0.0.1:8080:8080"]
