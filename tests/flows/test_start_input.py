"""Start input is the user's own JSON; what doesn't fit closes the run at its first task."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict
from temporalio import workflow
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle

from activities import EmptyInput
from flows import Sequence
from tests.conftest import Serve
from tests.support import World, causes, events_of, failure_of, new_id

with workflow.unsafe.imports_passed_through():
    from tests.sample import a, nothing

REFUSED = [
    "WORKFLOW_EXECUTION_STARTED",
    "WORKFLOW_TASK_SCHEDULED",
    "WORKFLOW_TASK_STARTED",
    "WORKFLOW_TASK_COMPLETED",
    "WORKFLOW_EXECUTION_FAILED",
]
RESOLVED = [*REFUSED[:4], "MARKER_RECORDED", "WORKFLOW_EXECUTION_FAILED"]
SECRET = "hunter2"


class Spec(BaseModel):
    """Closed: extra fields are refused."""

    model_config = ConfigDict(extra="forbid")
    name: str
    size: int


class Open(Spec):
    """Extra fields are kept."""

    model_config = ConfigDict(extra="allow")


class Loose(Spec):
    """Extra fields are dropped."""

    model_config = ConfigDict(extra="ignore")


class Typed(Sequence[Spec, int], id="typed", version="1.0.0"):
    """Take a closed model."""

    async def run(self, input: Spec) -> int:
        return (await self.execute(a, input.size)).output


class Typed2(Sequence[Spec, int], id="typed", version="2.0.0"):
    """Take a closed model, newer."""

    async def run(self, input: Spec) -> int:
        return (await self.execute(a, input.size * 100)).output


class Kept(Sequence[Open, dict[str, Any]], id="keeps", version="1.0.0"):
    """Give back what came."""

    async def run(self, input: Open) -> dict[str, Any]:
        return input.model_dump()


class Dropped(Sequence[Loose, dict[str, Any]], id="drops", version="1.0.0"):
    """Give back what came."""

    async def run(self, input: Loose) -> dict[str, Any]:
        return input.model_dump()


class Empty(Sequence[EmptyInput, str], id="empty", version="1.0.0"):
    """Needs nothing."""

    async def run(self, input: EmptyInput) -> str:
        await self.execute(nothing, EmptyInput())
        return "ran"


Temporal = Callable[..., subprocess.CompletedProcess[str]]
Begin = Callable[..., Awaitable[WorkflowHandle[Any, Any]]]
EVERYTHING = (a, nothing, Typed, Typed2, Kept, Dropped, Empty)


@pytest.fixture
def begin(temporal: Temporal, task_queue: str) -> Begin:
    """Start a type through the CLI: ``await begin(client, "typed@1.0.0", "-i", "3")``."""

    async def begin(client: Client, type: str, *args: str) -> WorkflowHandle[Any, Any]:
        id = new_id()
        command = ("workflow", "start", "--type", type, "--task-queue", task_queue, "-w", id, *args)
        await asyncio.to_thread(temporal, *command)
        return client.get_workflow_handle(id)

    return begin


async def refusal(handle: WorkflowHandle[Any, Any]) -> tuple[str, str]:
    """Give type and message of the failure, which has no cause, of a run that is FAILED."""
    (only,) = causes(await failure_of(handle))
    assert (await handle.describe()).status == WorkflowExecutionStatus.FAILED
    return only


GOOD = '{"name": "x", "size": 3}'
BAD_INPUT = {
    "none": ([], "typed@1.0.0: got no input, one is expected; give it with --input"),
    "two": (["-i", GOOD, "-i", GOOD], "typed@1.0.0: got 2 inputs, one is expected; give it with --input"),
    "null": (["-i", "null"], "typed@1.0.0: input doesn't fit Spec: value: Input should be an object"),
    "wrong type": (
        ["-i", f'"{SECRET}"'],
        "typed@1.0.0: input doesn't fit Spec: value: Input should be an object",
    ),
    "wrong field": (
        ["-i", json.dumps({"name": "x", "size": SECRET})],
        "typed@1.0.0: input doesn't fit Spec: size: Input should be a valid integer, "
        "unable to parse string as an integer",
    ),
    "missing field": (
        ["-i", json.dumps({"name": SECRET})],
        "typed@1.0.0: input doesn't fit Spec: size: Field required",
    ),
    "extra field": (
        ["-i", json.dumps({"name": "x", "size": 3, "sice": SECRET})],
        "typed@1.0.0: input doesn't fit Spec: sice: Extra inputs are not permitted",
    ),
    "encoding": (
        ["-i", json.dumps({"name": SECRET}), "--input-meta", "encoding=binary/strange"],
        "typed@1.0.0: input has the encoding 'binary/strange', which isn't known here; send json/plain",
    ),
}


async def test_bad_input_fails_the_run_at_its_first_task(serve: Serve, world: World, begin: Begin) -> None:
    """Each is FAILED after one task, without an activity; the message names the field and holds no value."""
    async with serve(*EVERYTHING) as client:
        runs = {case: await begin(client, "typed@1.0.0", *args) for case, (args, _) in BAD_INPUT.items()}
        refused = {case: await refusal(run) for case, run in runs.items()}
        assert refused == {case: ("InvalidInput", message) for case, (_, message) in BAD_INPUT.items()}
        assert [await events_of(run) for run in runs.values()] == [REFUSED] * len(BAD_INPUT)
        assert SECRET not in repr(refused)
    assert world.calls == []


@pytest.mark.parametrize("type_", ["saga", "undo"])
async def test_json_that_a_parser_refuses(serve: Serve, begin: Begin, type_: str) -> None:
    """Half a surrogate pair, and arrays 150 deep, found by random inputs: refused, where runs once stayed open."""
    async with serve(*EVERYTHING) as client:
        half = await refusal(await begin(client, type_, "-i", '{"workflow_id": "\\ud800"}'))
        deep = await refusal(await begin(client, type_, "-i", "[" * 150 + "]" * 150))
    assert half == (
        "InvalidInput", f"{type_}: input is no JSON: unexpected end of hex escape at line 1 column 24"
    )  # fmt: skip
    assert deep == (
        "InvalidInput", f"{type_}: input is nested more than 100 levels deep; make it flatter"
    )  # fmt: skip


async def test_much_of_the_wrong_type_is_refused_like_little(
    serve: Serve, world: World, begin: Begin, tmp_path: Path
) -> None:
    """1.9 MB of the wrong type: one short message, no activity."""
    file = tmp_path / "big.json"
    file.write_text(json.dumps({"name": 1, "size": "9" * 1_900_000}))
    async with serve(*EVERYTHING) as client:
        handle = await begin(client, "typed@1.0.0", "--input-file", str(file))
        kind, message = await refusal(handle)
        assert kind == "InvalidInput" and len(message) < 300
        assert message.startswith(
            "typed@1.0.0: input doesn't fit Spec: name: Input should be a valid string; size: "
        )
        assert await events_of(handle) == REFUSED
    assert world.calls == []


async def test_three_megabytes_start_nothing(
    serve: Serve, temporal: Temporal, task_queue: str, tmp_path: Path
) -> None:
    """3 MB: the CLI fails with its own error, and there is no run."""
    file, id = tmp_path / "huge.json", new_id()
    file.write_text(json.dumps({"name": "x" * 3_000_000, "size": 1}))
    start = ("workflow", "start", "--type", "typed@1.0.0", "--task-queue", task_queue, "-w", id)
    async with serve(*EVERYTHING):
        refused = await asyncio.to_thread(temporal, *start, "--input-file", str(file), check=False)
        described = await asyncio.to_thread(temporal, "workflow", "describe", "-w", id, check=False)
    assert (refused.returncode, described.returncode) == (1, 1)
    assert "Blob data size exceeds limit" in refused.stderr
    assert "not found" in described.stderr


UNKNOWN = {
    "tiped": "flow tiped isn't registered; did you mean typed@2.0.0, typed@1.0.0?",
    "tiped@1.0.0": "flow tiped@1.0.0 isn't registered; did you mean typed@2.0.0, typed@1.0.0?",
    "typed@9.9.9": "flow typed@9.9.9 isn't registered; did you mean typed@2.0.0, typed@1.0.0?",
    "typed@^3": "flow typed@^3 isn't registered; did you mean typed@2.0.0, typed@1.0.0?",
    "typed@>>1": "flow typed@>>1: can't read the version range '>>1'; write ^1.2, ~1.2, 1, 1.2 or >=1.2,<2",
    "zzz": "flow zzz isn't registered; no name that the modules offer is near",
    "a@1.0.0": "a@1.0.0 is an operation, not a flow; start a flow that executes it",
    "a": "a@1.0.0 is an operation, not a flow; start a flow that executes it",
    "a@1.0.0/undo": "flow a@1.0.0/undo: can't read the version range '1.0.0/undo'; "
    "write ^1.2, ~1.2, 1, 1.2 or >=1.2,<2",
}


async def test_unknown_types_fail_at_the_first_task(serve: Serve, world: World, begin: Begin) -> None:
    """Each is FAILED after one task, without an activity; the message lists near flows and holds no value."""
    async with serve(*EVERYTHING) as client:
        runs = {type: await begin(client, type, "-i", f'"{SECRET}"') for type in UNKNOWN}
        refused = {type: await refusal(run) for type, run in runs.items()}
        assert refused == {type: ("UnknownFlow", message) for type, message in UNKNOWN.items()}
        assert [await events_of(run) for run in runs.values()] == [RESOLVED] * len(UNKNOWN)
        assert await runs["tiped"].query("status") == {"flow": "tiped", "state": "refused", "steps": {}}
    assert world.calls == []


async def test_extra_fields_are_as_the_model_says(serve: Serve, begin: Begin) -> None:
    """One model keeps an extra field, another drops it."""
    async with serve(*EVERYTHING) as client:
        extra = json.dumps({"name": "x", "size": 3, "color": "red"})
        kept = await begin(client, "keeps@1.0.0", "-i", extra)
        dropped = await begin(client, "drops@1.0.0", "-i", extra)
        assert await kept.result() == {"name": "x", "size": 3, "color": "red"}
        assert await dropped.result() == {"name": "x", "size": 3}


async def test_empty_input_needs_none(serve: Serve, world: World, begin: Begin) -> None:
    """A flow of EmptyInput starts with no input and with {}, also by its bare id; a value is refused."""
    async with serve(*EVERYTHING) as client:
        for type, args in (("empty@1.0.0", []), ("empty", []), ("empty@1.0.0", ["-i", "{}"])):
            assert await (await begin(client, type, *args)).result() == "ran"
        kind, message = await refusal(await begin(client, "empty@1.0.0", "-i", "3"))
    assert (kind, message) == (
        "InvalidInput",
        "empty@1.0.0: input doesn't fit EmptyInput: value: Input should be an object",
    )
    assert world.calls == ["nothing"] * 3


RANGES = {
    "typed": 600,
    "typed@^1": 6,
    "typed@~1.0": 6,
    "typed@1": 6,
    "typed@>=1,<3": 600,
    "typed@2.0.0": 600,
}


async def test_ranges_and_bare_ids_are_resolved(serve: Serve, world: World, begin: Begin) -> None:
    """Each goes on as the newest version that fits, by a run whose only trace is a marker."""
    async with serve(*EVERYTHING) as client:
        runs = {type: await begin(client, type, "-i", GOOD) for type in RANGES}
        assert {type: await run.result() for type, run in runs.items()} == RANGES


async def test_the_dispatcher_keeps_input_and_memo(serve: Serve, begin: Begin) -> None:
    """The run that goes on has the exact type, input bytes and memo; the first one ran no activity."""
    written = '{"name":"x",  "size":3, "n": 1.0}'
    async with serve(*EVERYTHING) as client:
        handle = await begin(client, "keeps@^1", "-i", written, "--memo", 'ticket="T-1"')
        assert await handle.result() == {"name": "x", "size": 3, "n": 1.0}
        described = await handle.describe()
        assert (described.workflow_type, await described.memo()) == ("keeps@1.0.0", {"ticket": "T-1"})
        started = (await handle.fetch_history()).events[0].workflow_execution_started_event_attributes
        assert [payload.data for payload in started.input.payloads] == [written.encode()]
        first = client.get_workflow_handle(handle.id, run_id=started.continued_execution_run_id)
        assert await events_of(first) == [*RESOLVED[:5], "WORKFLOW_EXECUTION_CONTINUED_AS_NEW"]


async def test_bad_input_through_the_dispatcher(serve: Serve, world: World, begin: Begin) -> None:
    """Started by range, bad input is refused by the version that it resolves to, with the same messages."""
    async with serve(*EVERYTHING) as client:
        runs = {case: await begin(client, "typed@^1", *args) for case, (args, _) in BAD_INPUT.items()}
        refused = {case: await refusal(run) for case, run in runs.items()}
        assert refused == {case: ("InvalidInput", message) for case, (_, message) in BAD_INPUT.items()}
    assert world.calls == []
