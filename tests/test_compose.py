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
from typer.main import get_command

from counterstep.cli import app
from counterstep.gateway import Permission
from counterstep.gateway._access import Caller, read_access
from counterstep.gateway._errors import GatewayError

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


def test_has_the_server_its_ui_workers_the_gateway_and_a_collector() -> None:
    """Beside one-shot services there are these six, and nothing else."""
    wanted = {"postgresql", "temporal", "temporal-ui", "worker", "gateway", "jaeger"}
    assert set(SERVICES) - ONE_SHOT == wanted


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


def option(service: str, name: str) -> str:
    """Give the value of an option in a service's command."""
    found = (arg.partition("=") for arg in SERVICES[service]["command"])
    return next(value for option, _, value in found if option == f"--{name}")


@pytest.mark.parametrize(("service", "command"), [("worker", "worker"), ("gateway", "gateway")])
def test_commands_have_only_options_that_there_are(service: str, command: str) -> None:
    """The installed command takes each option of the service, and a module that can be found."""
    known = {flag for option in get_command(app).commands[command].params for flag in option.opts}
    assert {arg.partition("=")[0] for arg in SERVICES[service]["command"]} <= known
    assert importlib.util.find_spec(option(service, "module")) is not None


def test_what_is_asked_for_health_is_served() -> None:
    """The health checks ask the addresses that worker and gateway are told to serve."""
    checks = {name: SERVICES[name]["healthcheck"]["test"][-1] for name in ("worker", "gateway")}
    assert checks["worker"] == f"http://{option('worker', 'health')}/readyz"
    assert checks["gateway"] == f"http://{option('gateway', 'http').replace('0.0.0.0', '127.0.0.1')}/healthz"


def test_the_health_check_is_in_the_image() -> None:
    """The script of the health checks is a file, and the image has it at that place."""
    for name in ("worker", "gateway"):
        script = SERVICES[name]["healthcheck"]["test"][2]
        assert (PROJECT / script).is_file()
        assert f"COPY {script} {script}" in DOCKERFILE


def test_the_gateway_asks_for_the_token_that_is_written_down() -> None:
    """The file that is mounted where --tokens looks lets the token of the comment do everything, and no other."""
    source, target, mode = SERVICES["gateway"]["volumes"][0].split(":")
    assert (target, mode) == (option("gateway", "tokens"), "ro")
    access = read_access(PROJECT / source)
    token = re.findall(r"Bearer (\w+)", (PROJECT / "docker-compose.yml").read_text())
    for needed in Permission:
        access.check(Caller(f"Bearer {token[0]}"), needed)
    with pytest.raises(GatewayError):
        access.check(Caller("Bearer temporal"), Permission.READ)


def test_traces_go_where_they_are_collected() -> None:
    """The workers' OTLP endpoint is the service that opens its port, and its viewer's."""
    assert SERVICES["worker"]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://jaeger:4318"
    assert {port.split(":")[2] for port in SERVICES["jaeger"]["ports"]} == {"4317", "4318", "16686"}


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
    """Every port that is open is bound to the loopback address, and none is there twice."""
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []
    assert len(ports) == len(set(ports)) == 7
