"""Recording histories of the examples, ended in every way, with operations that touch nothing.

Their types, versions, inputs and outputs are those of the examples. What was recorded lies in ``golden``, and stays
readable by every later version: never record one again, add another.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowFailureError, WorkflowHandle, WorkflowHistory

from activities import Context, Operation, Outcome, Retry, SecretRef
from counterstep.reports import Family, fetch_family, read_run
from examples import tenants
from examples.release import operations as release
from examples.release.rollout import Rollout, RolloutSpec
from examples.simulation.actions import service as simulations
from examples.simulation.jobs import Wanted
from examples.tenants.onboarding import TenantSpec, onboard_tenant
from flows import start
from tests.support import World, binary, new_id, reset

FOLDER = Path(__file__).parent / "golden"
ROOT = Path(__file__).parents[2]
QUICK = Retry(max_attempts=2, initial=timedelta(milliseconds=10))
MADE: dict[str, Any] = {
    "reserve-port": {"number": 8101},
    "unpack-release": {"folder": "releases/store-1.0.0"},
    "start-service": {"id": "store-1", "pid": 4711, "port": 8101},
    "check-health": {"status": 200},
    "switch-traffic": {"previous": "store-0"},
    "stop-service": {"ran": True},
    "create-role": {"name": "acme"},
    "create-database": {"name": "acme"},
    "create-schema": {"database": "acme", "name": "app"},
    "create-table": {"name": "plans", "rows": 3},
    "grant": {"new": []},
    "add-member": {"new": True},
    "check-login": {"database": "acme", "user": "acme", "rows": 3},
    "simulations/launch:check": {"name": "fleet", "slot": 2, "robots": {"ada": 5, "bob": 5}},
}
SIMULATION = {"name": "fleet", "robots": ["ada", "bob"], "size": 100, "slot": 2}
"""What every job of the simulation hands on, but the last."""


def stand_in(op: Operation[Any, Any]) -> Operation[Any, Any]:
    """Make an operation of the same name and types, which only records its calls, waits and fails as told."""
    undo = op.undo_handler

    async def handler(ctx: Context[World], input: Any) -> Any:
        ctx.deps.record(ctx.step)
        await obey(ctx, ctx.step)
        return op.output.load_value(MADE.get(op.definition.id, SIMULATION), "made")

    handler.__annotations__ = {"ctx": Context[World], "input": op.input.type, "return": op.output.type}
    made: Operation[Any, Any] = Operation(handler, op.definition, retry=QUICK)
    if undo is not None:

        @made.undo(retry=QUICK, cause=undo.cause)
        async def back(ctx: Context[World], input: Any, outcome: Outcome[Any]) -> None:
            ctx.deps.record(f"undo {ctx.step}", str(outcome.status))
            await obey(ctx, f"undo-{ctx.step}")

    return made


async def obey(ctx: Context[World], name: str) -> None:
    """Wait or fail, as the test wants."""
    if ctx.deps.is_on(f"hold-{name}"):
        await ctx.deps.wait(f"go-{name}")
    if ctx.deps.is_on(f"fail-{name}"):
        raise RuntimeError(f"{name} is down")


_DECLARED = (*vars(release).values(), *vars(tenants).values(), *simulations.definitions)
_REAL = dict.fromkeys(value for value in _DECLARED if isinstance(value, Operation))
launch = next(flow for flow in simulations.definitions if not isinstance(flow, Operation))
DEFINITIONS = (*map(stand_in, _REAL), Rollout, onboard_tenant, launch)
TENANT = TenantSpec(name="acme", password=SecretRef("ACME"))
FLEET = Wanted(name="fleet", robots=["ada", "bob"])
STEPS = [
    *("reserve-port", "unpack-release", "start-service"),
    *("check-health", "switch-traffic", "stop-service"),
]

Act = Callable[[Client, WorkflowHandle[Any, Any], World], Awaitable[None]]


@dataclass(frozen=True)
class Ending:
    """A way to end.

    Attributes:
        flow: ``rollout``, ``tenant`` or ``simulation``.
        switches: that are on.
        act: what somebody does meanwhile.
        options: of the start.
        continue_at: events after which a run goes on as new.
    """

    flow: str
    switches: tuple[str, ...] = ()
    act: Act | None = None
    options: tuple[tuple[str, Any], ...] = ()
    continue_at: int | None = None


def cancel_at(step: str) -> Act:
    """Cancel while a step runs."""

    async def act(client: Client, handle: WorkflowHandle[Any, Any], world: World) -> None:
        await world.until(step)
        await handle.cancel()

    return act


def terminate_at(step: str) -> Act:
    """Terminate while a step runs."""

    async def act(client: Client, handle: WorkflowHandle[Any, Any], world: World) -> None:
        await world.until(step)
        await handle.terminate(reason="wrong one")

    return act


async def reset_it(client: Client, handle: WorkflowHandle[Any, Any], world: World) -> None:
    """Reset a run that completed to the end of its third workflow task."""
    await handle.result()
    ends = [e.event_id async for e in handle.fetch_history_events() if e.event_type == 7]
    await (await reset(client, handle, ends[2])).result()


async def undo_it(client: Client, handle: WorkflowHandle[Any, Any], world: World) -> None:
    """Undo a run that completed."""
    await handle.result()
    queue = (await handle.describe()).task_queue
    undoing = await client.start_workflow(
        "undo", {"workflow_id": handle.id}, id=new_id("undo"), task_queue=queue
    )
    await undoing.result()


TIMEOUT = (("execution_timeout", timedelta(seconds=3)),)
ENDINGS = {
    "rollout-completed": Ending("rollout"),
    "rollout-rolled-back": Ending("rollout", ("fail-check-health",)),
    "rollout-stuck": Ending("rollout", ("fail-switch-traffic", "fail-undo-unpack-release")),
    **{
        f"rollout-cancelled-at-{step}": Ending("rollout", (f"hold-{step}",), cancel_at(step))
        for step in STEPS
    },
    "rollout-terminated": Ending("rollout", ("hold-start-service",), terminate_at("start-service")),
    "rollout-timed-out": Ending("rollout", ("hold-start-service",), None, TIMEOUT),
    "rollout-reset": Ending("rollout", (), reset_it),
    "rollout-undone": Ending("rollout", (), undo_it),
    "tenant-completed": Ending("tenant"),
    "tenant-rolled-back": Ending("tenant", ("fail-check-login",)),
    "tenant-stuck": Ending("tenant", ("fail-check-login", "fail-undo-database")),
    "tenant-cancelled": Ending("tenant", ("hold-table-plans",), cancel_at("table-plans")),
    "tenant-terminated": Ending("tenant", ("hold-table-plans",), terminate_at("table-plans")),
    "tenant-timed-out": Ending("tenant", ("hold-database",), None, TIMEOUT),
    "tenant-continued": Ending("tenant", ("fail-check-login",), None, (), 40),
    "tenant-reset": Ending("tenant", (), reset_it),
    "tenant-undone": Ending("tenant", (), undo_it),
    "simulation-completed": Ending("simulation"),
    "simulation-rolled-back": Ending("simulation", ("fail-check",)),
    "simulation-stuck": Ending("simulation", ("fail-check", "fail-undo-launch-world")),
    "simulation-terminated": Ending("simulation", ("hold-make-key",), terminate_at("make-key")),
    "simulation-timed-out": Ending("simulation", ("hold-make-key",), None, TIMEOUT),
    "simulation-continued": Ending("simulation", ("fail-check",), None, (), 40),
    "simulation-reset": Ending("simulation", (), reset_it),
    "simulation-undone": Ending("simulation", (), undo_it),
    **{
        f"{flow}-cancelled-at-{step.name}": Ending(flow, (f"hold-{step.name}",), cancel_at(step.name))
        for flow, plan in (("tenant", onboard_tenant.plan(TENANT)), ("simulation", launch.plan(FLEET)))
        for step in plan.steps
    },
}
STARTS: dict[str, tuple[Any, Any]] = {
    "rollout": (Rollout, RolloutSpec(version="1.0.0")),
    "tenant": (onboard_tenant, TENANT),
    "simulation": (launch, FLEET),
}


async def run(client: Client, queue: str, world: World, ending: Ending) -> WorkflowHandle[Any, Any]:
    """Run a flow to its end."""
    for switch in ending.switches:
        world.switch(switch)
    flow, given = STARTS[ending.flow]
    options = dict(ending.options)
    handle = await start(client, flow, given, id=new_id(ending.flow), task_queue=queue, **options)
    try:
        if ending.act is not None:
            await ending.act(client, handle, world)
        await asyncio.wait_for(handle.result(), 60)
    except WorkflowFailureError:
        pass
    return handle


async def record(client: Client, handle: WorkflowHandle[Any, Any], name: str) -> None:
    """Keep the histories of a flow."""
    family = await fetch_family(client, handle.id)
    runs = [await _text(client, handle.id, run.run_id) for run in family.runs]
    undoing = [await _text(client, run.workflow_id, run.run_id) for run in family.undoing]
    kept = {"workflow_id": handle.id, "runs": runs, "undoing": undoing}
    text = json.dumps(kept).replace(f"{ROOT}/", "").replace(str(Path(binary("python")).parents[1]), "venv")
    (FOLDER / f"{name}.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


async def _text(client: Client, workflow_id: str, run_id: str) -> Any:
    handle = client.get_workflow_handle(workflow_id, run_id=run_id)
    return {"workflow_id": workflow_id, "history": (await handle.fetch_history()).to_json_dict()}


def recorded(name: str) -> Family:
    """Read the histories of a flow that was recorded."""
    kept = json.loads(gzip.decompress((FOLDER / f"{name}.json.gz").read_bytes()))
    runs, undoing = (
        tuple(
            read_run(
                one["workflow_id"],
                WorkflowHistory.from_json(one["workflow_id"], one["history"]).events,
            )
            for one in kept[kind]
        )
        for kind in ("runs", "undoing")
    )
    return Family(runs, undoing)
