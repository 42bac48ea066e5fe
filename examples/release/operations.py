"""What a rollout does to the machine: six operations, each with its undo.

Each is found again by its idempotency key: called twice it takes effect once, and its undo finds what the
operation left, also when nobody knows how far that came.
"""

from __future__ import annotations

import http.client
import json
import random
import shutil
import socket
import uuid
import zipfile
from datetime import timedelta
from pathlib import Path

from pydantic import BaseModel

from activities import Context, Outcome, OutcomeUnknown, Retry, Unrecoverable, operation
from examples.release import processes
from examples.release.layout import HOST, Site, write
from examples.release.processes import Launch, NotStopped

PORTS = range(20_000, 32_000)  # below the ports that systems hand out to outgoing connections


class ReservePort(BaseModel):
    """For which version a port is wanted."""

    version: str


class Port(BaseModel):
    """A port that is ours until it is given back."""

    number: int


class UnpackRelease(BaseModel):
    """Which release of the store to unpack."""

    version: str


class Release(BaseModel):
    """An unpacked release."""

    folder: str


class StartService(BaseModel):
    """From which folder to start the service, and on which port."""

    folder: str
    port: int


class Service(BaseModel):
    """A running service. Its id stays the same when it is stopped and started again; its pid doesn't."""

    id: str
    pid: int
    port: int


class CheckHealth(BaseModel):
    """Where the service should be well."""

    port: int


class Health(BaseModel):
    """What the health check answered."""

    status: int


class SwitchTraffic(BaseModel):
    """The id of the service that gets the traffic."""

    service: str


class Switched(BaseModel):
    """Who had the traffic before; `None` at the first rollout."""

    previous: str | None


class StopService(BaseModel):
    """The id of the service to stop."""

    service: str


class Stopped(BaseModel):
    """Whether the service ran when it was stopped."""

    ran: bool


def slot(key: str) -> str:
    """The name under which the effect of the operation with this idempotency key is found again."""
    return key[:16]


@operation(id="reserve-port", version="1.0.0", timeout=timedelta(seconds=10), retry=Retry(max_attempts=3))
def reserve_port(ctx: Context[Site], input: ReservePort) -> Port:
    """Reserve a port of this machine."""
    mine = ctx.deps.ports / slot(ctx.idempotency_key)
    with ctx.deps.alone():
        if not mine.exists():
            write(mine, str(_free_port(ctx.deps)))
        return Port(number=int(mine.read_text()))


@reserve_port.undo
def give_port_back(ctx: Context[Site], input: ReservePort, outcome: Outcome[Port]) -> None:
    """Give the port back."""
    (ctx.deps.ports / slot(ctx.idempotency_key)).unlink(missing_ok=True)


def _free_port(site: Site) -> int:
    taken = {int(file.read_text()) for file in site.ports.glob("[!.]*")}
    for number in random.sample(PORTS, len(PORTS)):
        if number not in taken and _can_bind(number):
            return number
    raise RuntimeError(f"every port from {PORTS.start} to {PORTS.stop - 1} is taken: stop a service")


def _can_bind(number: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, number))
        except OSError:
            return False
    return True


@operation(id="unpack-release", version="1.0.0", timeout=timedelta(minutes=1), retry=Retry(max_attempts=3))
def unpack_release(ctx: Context[Site], input: UnpackRelease) -> Release:
    """Unpack a release of the store into a folder of its own."""
    folder = _folder(ctx, input)
    if not folder.exists():
        draft = ctx.deps.root / f".release-{uuid.uuid4().hex}"
        try:
            _unpack(ctx.deps.archive(input.version), draft)
            _settle(draft, folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return Release(folder=str(folder))


@unpack_release.undo
def remove_release(ctx: Context[Site], input: UnpackRelease, outcome: Outcome[Release]) -> None:
    """Remove the folder."""
    shutil.rmtree(_folder(ctx, input), ignore_errors=True)


def _folder(ctx: Context[Site], input: UnpackRelease) -> Path:
    return ctx.deps.releases / f"{input.version}-{slot(ctx.idempotency_key)}"


def _unpack(archive: Path, folder: Path) -> None:
    if not archive.exists():
        there = ", ".join(sorted(file.stem for file in archive.parent.glob("*.zip"))) or "no release at all"
        raise Unrecoverable(f"the store has no release {archive.stem}, but {there}: publish it first")
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)


def _settle(draft: Path, folder: Path) -> None:
    try:
        draft.rename(folder)
    except OSError:
        if not folder.exists():  # else the same call, running beside this one, was faster
            raise


@operation(id="start-service", version="1.0.0", timeout=timedelta(seconds=30), retry=Retry(max_attempts=3))
def start_service(ctx: Context[Site], input: StartService) -> Service:
    """Start the service as a process of its own."""
    home = ctx.deps.services / slot(ctx.idempotency_key)
    try:
        processes.prepare(home, Launch(release=input.folder, port=input.port))
        return Service(id=home.name, pid=processes.start(home), port=input.port)
    except Exception:
        processes.forget(home)
        raise


@start_service.undo
def stop_started(ctx: Context[Site], input: StartService, outcome: Outcome[Service]) -> None:
    """Stop the service and forget it."""
    processes.forget(ctx.deps.services / slot(ctx.idempotency_key))


@operation(
    id="check-health",
    version="1.0.0",
    timeout=timedelta(seconds=10),
    retry=Retry(max_attempts=5, initial=timedelta(milliseconds=200)),
)
def check_health(ctx: Context[Site], input: CheckHealth) -> Health:
    """Ask the service over HTTP whether it is well."""
    status = _status(input.port)
    if status != 200:
        raise RuntimeError(f"the service on port {input.port} isn't well: /healthz answers {status}, not 200")
    return Health(status=status)


def _status(port: int) -> int:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status
    finally:
        connection.close()


@operation(id="switch-traffic", version="1.0.0", timeout=timedelta(seconds=10), retry=Retry(max_attempts=3))
def switch_traffic(ctx: Context[Site], input: SwitchTraffic) -> Switched:
    """Let the service have the traffic: re-point `current`, in one step."""
    before = ctx.deps.switches / slot(ctx.idempotency_key)
    if (
        not before.exists()
    ):  # written before the effect: once `current` is re-pointed, nobody knows where it was
        write(before, json.dumps(ctx.deps.serving()))
    ctx.deps.point(input.service)
    return Switched(previous=json.loads(before.read_text()))


@switch_traffic.undo
def switch_back(ctx: Context[Site], input: SwitchTraffic, outcome: Outcome[Switched]) -> None:
    """Point `current` to where it was, unless it meanwhile points elsewhere."""
    before = ctx.deps.switches / slot(ctx.idempotency_key)
    if before.exists() and ctx.deps.serving() == input.service:
        ctx.deps.point(json.loads(before.read_text()))
    before.unlink(missing_ok=True)


@operation(id="stop-service", version="1.0.0", timeout=timedelta(seconds=30), retry=Retry(max_attempts=3))
def stop_service(ctx: Context[Site], input: StopService) -> Stopped:
    """Stop a service that has no traffic any more."""
    home = ctx.deps.services / input.service
    before = ctx.saved or {"ran": processes.running(home)}
    ctx.save_sync(before)
    try:
        processes.stop(home)
    except NotStopped as error:
        raise OutcomeUnknown(str(error)) from error
    return Stopped(ran=before["ran"])


@stop_service.undo
def start_again(ctx: Context[Site], input: StopService, outcome: Outcome[Stopped]) -> None:
    """Start the service again, if it ran before."""
    if outcome.saved is not None and outcome.saved["ran"]:
        processes.start(ctx.deps.services / input.service)
