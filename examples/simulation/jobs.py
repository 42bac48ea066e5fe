"""Jobs that simulations are made of. Three are generic, and fitted with hooks: `set_status`, `launch_nodes`, `wait`."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from pydantic import BaseModel, Field

from activities import Context, Retry
from examples.simulation.node import write
from examples.simulation.site import Refused, Site
from flows import Job, NoData, ignore_error, with_error_handler

POLL_SECONDS = 0.05


class Wanted(BaseModel):
    """The simulation that somebody wants: the input of the action."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,39}$")
    robots: list[str] = Field(min_length=1)
    size: int = 100


class Simulation(BaseModel):
    """A simulation on its way: what each job gets and hands on."""

    name: str
    robots: list[str]
    size: int
    slot: int


class Status(BaseModel):
    """What `set_status` sets."""

    name: str
    status: str


class Node(BaseModel):
    """A process that `launch_nodes` starts."""

    node: str
    command: list[str]


class Nodes(BaseModel):
    """Processes of one simulation."""

    name: str
    nodes: list[Node]


class Condition(BaseModel):
    """What `wait` waits for: so many robots that have moved, so many lines of the recorder."""

    name: str
    robots: int = 0
    records: int = 0
    timeout: timedelta = timedelta(seconds=15)


class Summary(BaseModel):
    """A simulation that runs: the result of the action."""

    name: str
    slot: int
    robots: dict[str, int]


# --- a slot, a folder, files in it ---


def _different_names(ctx: Context[Site], wanted: Wanted) -> Wanted:
    if len(set(wanted.robots)) < len(wanted.robots):
        raise Refused("two robots have the same name")
    return wanted


def _reserve(ctx: Context[Site], wanted: Wanted) -> Simulation:
    """Reserve a place on this machine."""
    return Simulation(**wanted.model_dump(), slot=ctx.deps.reserve(ctx.idempotency_key))


def _release(ctx: Context[Site], data: Any, error: Exception | None) -> None:
    ctx.deps.release(ctx.idempotency_key)


def _create(ctx: Context[Site], simulation: Simulation) -> Simulation:
    """Make the simulation's folder."""
    ctx.save_sync(simulation.name)
    ctx.deps.create(simulation.name, ctx.idempotency_key)
    return simulation


def _remove(ctx: Context[Site], name: Any, error: Exception | None) -> None:
    if name is not None:
        ctx.deps.remove(name, ctx.idempotency_key)


def _describe(ctx: Context[Site], simulation: Simulation) -> Simulation:
    """Write down the world's description."""
    file = ctx.deps.folder(simulation.name) / "world.json"
    ctx.save_sync(str(file))
    write(file, json.dumps({"size": simulation.size}))
    return simulation


def _make_key(ctx: Context[Site], simulation: Simulation) -> Simulation:
    """Make the key that robots need, for nobody else to read."""
    file = ctx.deps.folder(simulation.name) / "key"
    ctx.save_sync(str(file))
    if not file.exists():  # robots of an earlier attempt may know it already
        file.touch(0o600)
        file.write_text(secrets.token_hex())
    return simulation


def _delete(ctx: Context[Site], file: Any, error: Exception | None) -> None:
    if file is not None:
        ctx.deps.root.joinpath(file).unlink(missing_ok=True)


reserve_slot = Job(
    "reserve-slot", _reserve, [_different_names], rollback=_release, input=Wanted, output=Simulation
)
create_folder = Job("create-folder", _create, rollback=_remove, input=Simulation, output=Simulation)
describe_world = Job("describe-world", _describe, rollback=_delete, input=Simulation, output=Simulation)
make_key = Job("make-key", _make_key, rollback=_delete, input=Simulation, output=Simulation)


# --- a status for people to read ---


def _set_status(ctx: Context[Site], wanted: Status) -> Any:
    """Write the simulation's status."""
    file = ctx.deps.folder(wanted.name) / "status"
    if ctx.saved is None:  # of the first attempt: a later one would find its own
        ctx.save_sync({"name": wanted.name, "before": file.read_text() if file.exists() else None})
    write(file, wanted.status)
    return NoData


def _status_back(ctx: Context[Site], data: Any, error: Exception | None) -> None:
    if data is None:
        return
    file = ctx.deps.folder(data["name"]) / "status"
    if data["before"] is None:
        file.unlink(missing_ok=True)
    elif file.parent.exists():  # the folder's own undo doesn't wait for this one
        write(file, data["before"])


set_status = Job("set-status", _set_status, rollback=_status_back, output=Simulation)


def status(text: str) -> Job:
    """Fit `set_status` to one status; its own name tells which."""

    def shape(ctx: Context[Site], simulation: Simulation) -> Status:
        return Status(name=simulation.name, status=text)

    return set_status.rename(f"set-status-{text}").extend(pre_hooks=[shape], input=Simulation)


# --- processes ---


def _launch(ctx: Context[Site], wanted: Nodes) -> Any:
    """Start processes."""
    ctx.save_sync({"name": wanted.name, "nodes": [node.node for node in wanted.nodes]})
    for node in wanted.nodes:
        ctx.deps.start(wanted.name, node.node, *node.command)
    return NoData


def _end(ctx: Context[Site], data: Any, error: Exception | None) -> None:
    saved = data or {"name": "", "nodes": []}  # it failed before it knew what to start
    for node in reversed(saved["nodes"]):
        ctx.deps.stop(saved["name"], node)


launch_nodes = Job(
    "launch-nodes", _launch, rollback=_end, output=Simulation, rollback_retry=Retry(max_attempts=3)
)


def launch(name: str, nodes: Callable[[Simulation], list[Node]]) -> Job:
    """Fit `launch_nodes` to some processes."""

    def shape(ctx: Context[Site], simulation: Simulation) -> Nodes:
        return Nodes(name=simulation.name, nodes=nodes(simulation))

    return launch_nodes.rename(f"launch-{name}").extend(pre_hooks=[shape], input=Simulation)


# --- waiting ---


def _wait(ctx: Context[Site], condition: Condition) -> Any:
    """Wait until the simulation is so far."""
    deadline = time.monotonic() + condition.timeout.total_seconds()
    while not _met(ctx.deps, condition):
        dead = ctx.deps.dead(condition.name)
        if dead:
            raise Refused(f"{', '.join(dead)} of {condition.name} ended")
        if time.monotonic() > deadline:
            raise TimeoutError(f"{condition.name} isn't so far within {condition.timeout}")
        if ctx.cancelled():
            raise TimeoutError("nobody waits any more")
        time.sleep(POLL_SECONDS)
    return NoData


def _met(site: Site, condition: Condition) -> bool:
    moved = sum(position > 0 for position in site.robots(condition.name).values())
    return moved >= condition.robots and site.records(condition.name) >= condition.records


wait = Job("wait", _wait, output=Simulation)


def wait_for(name: str, condition: Callable[[Simulation], Condition]) -> Job:
    """Fit `wait` to a condition."""

    def shape(ctx: Context[Site], simulation: Simulation) -> Condition:
        return condition(simulation)

    return wait.rename(f"wait-for-{name}").extend(pre_hooks=[shape], input=Simulation)


# --- the index, and a last look ---


def _announce(ctx: Context[Site], simulation: Simulation) -> Simulation:
    """Tell everybody that it is there."""
    ctx.save_sync(simulation.name)
    ctx.deps.announce(simulation.name, {"slot": simulation.slot, "robots": simulation.robots})
    return simulation


def _withdraw(ctx: Context[Site], name: Any, error: Exception | None) -> None:
    if name is not None:
        ctx.deps.announce(name, None)


def _say_hello(ctx: Context[Site], simulation: Simulation) -> Simulation:
    """Leave a greeting where visitors look; a greeting that can't be left is no reason to fail."""
    write(ctx.deps.root / "visitors" / f"{simulation.name}.txt", f"{simulation.name} is open")
    return simulation


def _check(ctx: Context[Site], simulation: Simulation) -> Summary:
    """See whether exactly the robots that were wanted move."""
    robots = ctx.deps.robots(simulation.name)
    if set(robots) != set(simulation.robots):
        raise Refused(f"{simulation.name} has the robots {', '.join(sorted(robots))}")
    return Summary(name=simulation.name, slot=simulation.slot, robots=robots)


announce = Job(
    "announce", _announce, [with_error_handler(_say_hello, ignore_error)], rollback=_withdraw,
    input=Simulation, output=Simulation,
)  # fmt: skip
check = Job("check", _check, input=Simulation, output=Summary)
