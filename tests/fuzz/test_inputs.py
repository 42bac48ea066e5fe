"""Hostile input for the examples' flows, for plans and for undo, through the real CLI."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from pydantic import TypeAdapter, ValidationError
from temporalio.client import Client, WorkflowExecutionStatus

from examples.catalog import importing
from examples.release import rollout
from examples.tenants import onboarding
from flows._module import load_modules
from tests.conftest import Serve
from tests.fuzz.hostile import CANARY, TEXTS, changed
from tests.sample import a
from tests.support import binary, causes, events_of, failure_of, new_id

PLAN = {
    "id": "typed", "version": "1.0.0", "result": "second", "policy": {"on_failure": "unwind", "max_parallel": 3},
    "steps": [
        {"kind": "operation", "name": "first", "operation": "a@1.0.0", "input": 1},
        {"kind": "operation", "name": "second", "operation": "a@1.0.0", "input": {"$ref": "first"}},
    ],
}  # fmt: skip
MODULES = (
    "examples.release.rollout",
    "examples.tenants.onboarding",
    "examples.catalog.importing",
    "examples.simulation.actions",
)


@dataclass(frozen=True)
class Target:
    """What gets the input.

    Attributes:
        type: of the workflow.
        good: an input that fits.
        model: what says whether another one fits; ``None`` where only Counterstep knows.
        refusals: the types of the failure that a run may end with.
    """

    type: str
    good: Any
    model: Any = None
    refusals: tuple[str, ...] = ("InvalidInput",)

    def fits(self, text: str) -> bool:
        """Whether an input is a good one."""
        try:
            TypeAdapter(self.model).validate_json(text)
        except ValidationError:
            return False
        return True


TARGETS = (
    Target("rollout@1.0.0", {"version": "v1"}, rollout.RolloutSpec),
    Target("onboard-tenant@1.0.0", {"name": "acme", "password": {"name": "p"}}, onboarding.TenantSpec),
    Target("onboard-tenant@~1", {"name": "acme", "password": {"name": "p"}}, onboarding.TenantSpec),
    Target("import-catalog", {"file": "a.csv"}, importing.Source),
    Target("saga", PLAN, refusals=("InvalidInput", "InvalidPlan")),
    Target("undo", {"workflow_id": "nobody", "run_id": None}),
)


def _drawn(target: Target, count: int) -> list[str]:
    """Draw inputs that don't fit."""
    found: list[str] = []

    @settings(
        max_examples=count, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(changed(target.good))
    def draw(text: str) -> None:
        if text not in found and not (target.model and target.fits(text)):
            found.append(text)

    draw()
    return found


async def _cli(address: str, queue: str, type_: str, id: str, text: str) -> tuple[int, str]:
    """Start a run as a user does."""
    process = await asyncio.create_subprocess_exec(
        binary("temporal"), "workflow", "start", "--type", type_, "--task-queue", queue, "--workflow-id", id,
        "--input", text.encode("utf-8", "surrogatepass"), "--address", address,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    return process.returncode or 0, (out + err).decode(errors="replace")


async def _refused(client: Client, address: str, queue: str, target: Target, text: str) -> str:
    """Start a run with an input, and check its end; say how it ended."""
    id = new_id("fuzz")
    code, _ = await _cli(address, queue, target.type, id, text)
    if code:
        return "refused by the CLI"
    handle = client.get_workflow_handle(id)
    status = await _status(handle)
    assert status, f"{target.type} never ends with {text[:200]!r}: {await events_of(handle)}"
    if target.model is None and status is WorkflowExecutionStatus.COMPLETED:
        return "fits after all"
    kind, message = causes(await failure_of(handle))[0]
    assert kind in target.refusals, f"{text[:200]}: {kind}: {message}"
    assert target.model is None or CANARY not in message, f"{text[:200]}: {message}"
    events = await events_of(handle)
    assert "ACTIVITY_TASK_SCHEDULED" not in events, f"{text[:200]}: {events}"
    assert events.count("WORKFLOW_TASK_FAILED") == 0, f"{text[:200]}: {events}"
    return kind


async def _status(handle: Any) -> WorkflowExecutionStatus | None:
    """Wait until a run is closed, and say how; ``None`` where it stays open."""
    for _ in range(600):
        if (status := (await handle.describe()).status) is not WorkflowExecutionStatus.RUNNING:
            return status  # type: ignore[no-any-return]
        await asyncio.sleep(0.1)
    return None


async def _fuzz(serve: Serve, address: str, queue: str, count: int) -> dict[str, int]:
    ends: list[str] = []
    gate = asyncio.Semaphore(4)
    loaded = [list(load_modules([name]).registry) for name in MODULES]
    async with serve(a, *(entry for entries in loaded for entry in entries)) as client:

        async def one(target: Target, text: str) -> None:
            async with gate:
                ends.append(await _refused(client, address, queue, target, text))

        cases = [(target, text) for target in TARGETS for text in _drawn(target, count)]
        cases += [(target, text) for target in TARGETS[:: max(1, 9 - count)] for text in TEXTS]
        await asyncio.gather(*(one(target, text) for target, text in cases))
    return {end: ends.count(end) for end in ends}


async def test_input_that_does_not_fit(serve: Serve, dev_address: str, task_queue: str) -> None:
    """Each run ends refused, at once, with no step scheduled and no value of a flow's input in the message."""
    ends = await _fuzz(serve, dev_address, task_queue, 8)
    assert ends["InvalidInput"] > 15 and ends["InvalidPlan"] > 0


@pytest.mark.nightly
@pytest.mark.timeout(1800)
async def test_much_input_that_does_not_fit(serve: Serve, dev_address: str, task_queue: str) -> None:
    """The same of several hundred."""
    ends = await _fuzz(serve, dev_address, task_queue, 120)
    assert ends["InvalidInput"] > 200 and ends["InvalidPlan"] > 10
