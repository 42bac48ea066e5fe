"""What is there on the machine, looked up by eye rather than taken from a report."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass

from examples.release import processes
from examples.release.layout import HOST, Site


@dataclass(frozen=True)
class Finding:
    """One claim about the machine, and whether it is true."""

    claim: str
    true: bool


@dataclass(frozen=True)
class State:
    """What rollouts have left on the machine: names of reserved ports, unpacked releases and services."""

    ports: frozenset[str]
    releases: frozenset[str]
    services: frozenset[str]
    running: frozenset[str]
    serving: str | None


def look(site: Site) -> State:
    """What is there now."""
    homes = list(site.services.iterdir())
    return State(
        ports=frozenset(file.name for file in site.ports.glob("[!.]*")),
        releases=frozenset(folder.name for folder in site.releases.iterdir()),
        services=frozenset(home.name for home in homes),
        running=frozenset(home.name for home in homes if processes.running(home)),
        serving=site.serving(),
    )


def answers(site: Site, version: str) -> Finding:
    """Whether the service behind `current` answers over HTTP, as this version."""
    if site.serving() is None:
        return Finding(f"{version} answers (nothing gets the traffic)", False)
    port = processes.launched(site.current).port
    said = ask(port)
    return Finding(f"{version} answers (http://{HOST}:{port}/ says {said})", said == version)


def unchanged(before: State, after: State, version: str) -> list[Finding]:
    """Whether nothing is left of a version that was rolled out, and undone, between two looks."""
    return [
        Finding(
            f"{version} is stopped", after.running == before.running and after.services == before.services
        ),
        Finding(f"the folder of {version} is removed", after.releases == before.releases),
        Finding(f"the port of {version} is given back", after.ports == before.ports),
        Finding("the traffic goes where it went", after.serving == before.serving),
    ]


def ask(port: int) -> str | None:
    """The version that the service on this port says it is; `None` when none answers."""
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/")
        return str(json.loads(connection.getresponse().read())["version"])
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
