"""A canary: what is secret or encrypted shows in nothing that anybody else can read."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client, WorkflowHandle
from temporalio.exceptions import ApplicationError

from counterstep.report import Format, written
from counterstep.reports import fetch_report
from flows import Policy, Sequence, start
from tests import canary as flows
from tests.commands import Commands, commands
from tests.conftest import Serve
from tests.support import World, causes, failure_of, new_id

CANARY = "canary-4f1c9d-yellow"
GIVEN = flows.Login(user="ann", password="BIRD")  # type: ignore[arg-type]


class Kept(Sequence[str, None], id="kept-copies", version="1.0.0", policy=Policy(on_failure="keep")):
    """Copy a text, then fail."""

    async def run(self, input: str) -> None:
        await self.execute(flows.copy, input)
        raise ApplicationError("down")


class Vault:
    """Knows one secret."""

    async def get(self, name: str) -> str:
        """See :class:`SecretSource`."""
        return {"BIRD": CANARY}[name]


@pytest.fixture(scope="module")
def counterstep() -> Iterator[Commands]:
    with commands() as made:
        yield made


async def all_that_temporal_knows(client: Client, id: str) -> str:
    """Give the histories and descriptions of all runs of a flow, payloads as they are."""
    found = []
    async for run in client.list_workflows(f'WorkflowId STARTS_WITH "{id}"'):
        handle = client.get_workflow_handle(run.id, run_id=run.run_id)
        raw = [event async for event in handle.fetch_history_events()]
        found += [event.SerializeToString().decode(errors="replace") for event in raw]
        found.append((await handle.fetch_history()).to_json())
        description = await handle.describe()
        found.append(description.raw_description.SerializeToString().decode(errors="replace"))
    return "\n".join(found)


async def until_listed(client: Client, id: str, count: int) -> None:
    """Wait until Temporal's index knows the runs."""
    query = f'WorkflowId STARTS_WITH "{id}"'
    while (await client.count_workflows(query)).count < count:
        await asyncio.sleep(0.05)


async def shown(client: Client, handle: WorkflowHandle[Any, Any]) -> str:
    """Give what the run's queries answer, and the details that Temporal's UI shows."""
    answers = [await handle.query(name) for name in ("status", "report", "metadata")]
    metadata = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    return json.dumps(answers) + str(metadata)


async def until_held(handle: WorkflowHandle[Any, Any]) -> None:
    while "held" not in (await handle.query("status"))["state"]:
        await asyncio.sleep(0.05)


async def test_a_secret_is_nowhere(
    serve: Serve, world: World, task_queue: str, dev_address: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Handlers see it, by attempt, undo, thread and local step; no history, query, report, log line or error has it."""
    caplog.set_level(logging.DEBUG)
    definitions = [
        getattr(flows, n) for n in ("login", "login_here", "login_blocking", "refused", "Logins", "logins")
    ]
    texts = []
    async with serve(*definitions, secrets=Vault()) as client:
        unwound = await start(client, flows.Logins, GIVEN, id=new_id("unwound"), task_queue=task_queue)
        error = await failure_of(unwound)
        held = await start(client, flows.logins, GIVEN, id=new_id("held"), task_queue=task_queue)
        await until_held(held)
        for handle in (unwound, held):
            await until_listed(client, handle.id, 1)
            texts += [await shown(client, handle), await all_that_temporal_knows(client, handle.id)]
            report = await fetch_report(client, handle.id)
            texts += [written(report, format) for format in Format]
        await held.terminate()
    assert world.lines("seen") == [CANARY] * 7
    texts += [caplog.text, repr(causes(error))]
    assert "may not" in texts[-1] and "may not" in texts[0] and "BIRD" in texts[1]
    assert [text[:200] for text in texts if CANARY in text] == []


async def test_what_a_converter_encrypts_is_in_no_history(
    serve: Serve,
    world: World,
    task_queue: str,
    dev_address: str,
    tmp_path: Path,
    counterstep: Commands,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Inputs, outputs, errors, saved, edited and carried values, children's too, are sealed; report --module shows them."""
    monkeypatch.setattr("flows._full.CONTINUE_AT", 12)
    names = ("copy", "copy_here", "tear", "Inner", "Copies", "copies")
    converter = flows.data_converter
    async with serve(*(getattr(flows, n) for n in names), data_converter=converter) as client:
        one = await start(client, flows.Copies, CANARY, id=new_id("copies"), task_queue=task_queue)
        await until_held(one)
        await one.execute_update("edit", {"step": "tear", "input": f"{CANARY} edited", "by": CANARY})
        await until_held(one)
        await one.execute_update("unwind", {"step": "tear", "reason": CANARY})
        failed = await failure_of(one)
        two = await start(client, flows.copies, CANARY, id=new_id("saga"), task_queue=task_queue)
        await failure_of(two)
        plain = await Client.connect(dev_address)
        await until_listed(plain, one.id, 2)
        await until_listed(plain, two.id, 2)
        for handle in (one, two):
            known = await all_that_temporal_knows(plain, handle.id)
            assert "sealed" in known
            assert CANARY not in known
    assert CANARY in str(causes(failed))
    for format in Format:
        for id in (one.id, two.id):
            ask = ("report", id, "--address", dev_address, "--format", format.value)
            blind = await asyncio.to_thread(counterstep.run, tmp_path, *ask)
            assert (blind.returncode, blind.stderr) == (0, ""), format
            assert CANARY not in blind.stdout
    ask = ("report", one.id, "--address", dev_address, "--json")
    told = await asyncio.to_thread(counterstep.run, tmp_path, *ask, "--module", "tests.canary")
    steps = {child["step"]: child for child in json.loads(told.stdout)["children"]}
    assert steps["copy"]["input"] == CANARY
    assert steps["copy"]["output"] == f"copy of {CANARY}, again"
    assert steps["tear"]["error"]["message"] == f"torn: {CANARY} edited"


async def test_a_secret_that_is_not_there_is_named(serve: Serve, world: World, task_queue: str) -> None:
    """The error has the secret's name, and nothing of the source."""
    step = {"kind": "operation", "name": "ask", "operation": "unknown-secret@1.0.0", "input": "CAT"}
    plan = {"id": "asks", "version": "1.0.0", "steps": [{**step, "no_undo": True}]}
    async with serve(flows.unknown_secret, secrets=Vault()) as client:
        error = await failure_of(await start(client, "saga", plan, id=new_id(), task_queue=task_queue))
    assert causes(error)[-1][1] == "secret 'CAT' isn't known to this worker; give it to its SecretSource"


async def test_who_went_on_from_whom_is_read_as_far_as_it_can_be(
    serve: Serve, world: World, task_queue: str, dev_address: str
) -> None:
    """Without the key the reports of a run that was taken over, and of the one that took it, name no other; no error."""
    converter = flows.data_converter
    async with serve(flows.copy, flows.Inner, Kept, data_converter=converter) as client:
        first = await start(client, Kept, "text", id=new_id("kept"), task_queue=task_queue)
        await failure_of(first)
        second = await start(
            client, Kept, "text", id=new_id("again"), task_queue=task_queue, memo={"resume_from": first.id}
        )
        await failure_of(second)
        plain = await Client.connect(dev_address)
        blind = [await fetch_report(plain, handle.id) for handle in (first, second)]
        seen = await fetch_report(client, second.id)
    assert [report.run and report.run.resumed_from for report in blind] == [None, None]
    assert seen.run and seen.run.resumed_from == (first.id, first.first_execution_run_id)
