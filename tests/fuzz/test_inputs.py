"""Input that doesn't fit, for every flow of the examples, for plans and for undo, through the real CLI."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError

from tests.conftest import Serve
from tests.fuzz.hostile import CANARY, ENCODINGS, TEXTS, changed
from tests.fuzz.targets import Target, modules, served, targets
from tests.sample import a
from tests.support import binary, causes, events_of, failure_of, new_id

FLOWS = {
    "book-seat@1.0.0", "import-catalog@1.0.0", "onboard-tenant@1.0.0", "rollout@1.0.0",
    "simulations/launch@1.0.0",
}  # fmt: skip
TARGETS = {target.type: target for target in targets()}
PLAN = {
    "id": "typed", "version": "1.0.0", "result": "second", "policy": {"on_failure": "unwind", "max_parallel": 3},
    "steps": [
        {"kind": "operation", "name": "first", "operation": "a@1.0.0", "input": 1},
        {"kind": "operation", "name": "second", "operation": "a@1.0.0", "input": {"$ref": "first"}},
    ],
}  # fmt: skip
TASK = ["WORKFLOW_TASK_SCHEDULED", "WORKFLOW_TASK_STARTED", "WORKFLOW_TASK_COMPLETED"]
PATIENCE = 120
"""Seconds after which a run is said to hang."""


@dataclass(frozen=True)
class Case:
    """An input.

    Attributes:
        target: what gets it.
        what: is wrong with it, and where.
        inputs: one as a rule.
        encoding: that it says it has.
    """

    target: Target
    what: str
    inputs: tuple[str, ...]
    encoding: str = ""

    def __str__(self) -> str:
        """Give what one needs to send it again."""
        return f"{self.target.type}, {self.what}: {self.inputs!r} {self.encoding}"

    @property
    def fits(self) -> bool:
        """Whether the model takes it."""
        return not self.encoding and len(self.inputs) == 1 and self.target.fits(self.inputs[0])


def test_every_flow_of_the_examples_is_a_target() -> None:
    """The flows that the examples' modules offer, each with an input whose schema says what may be wrong with it."""
    offered = {str(entry.definition) for entry in served() if str(entry.definition) in TARGETS}
    assert offered == FLOWS | {"send@1.0.0"}
    assert "examples.quickstart" in modules()
    assert all(len(TARGETS[flow].shape.wrong) >= 3 for flow in offered)


def test_what_is_drawn() -> None:
    """Of optional and nested parts too: each place of a schema, in each way that its keywords allow."""
    places = set(TARGETS["send@1.0.0"].shape.wrong)
    assert places >= {
        "all of it", "items.missing", "items.[].weight.bounds", "items.[].pages.too many", "items.[].pages.[].text",
        "items.[].kind.missing", "sender.street.missing", "sender.street.text", "sender.extra", "sender.number",
        "labels.*", "priority.text", "notAfter.text",
    }  # fmt: skip
    assert set(TARGETS["simulations/launch@1.0.0"].shape.wrong) == {
        "all of it", "name", "name.missing", "name.text", "robots", "robots.missing", "robots.too few", "robots.[]", "size",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("events", "first"),
    [
        ([*TASK, "WORKFLOW_EXECUTION_FAILED"], True),
        ([*TASK, "MARKER_RECORDED", "WORKFLOW_EXECUTION_FAILED"], True),  # a plan that was refused
        ([*TASK, *TASK, "WORKFLOW_EXECUTION_FAILED"], False),
        ([*TASK[:2], "WORKFLOW_TASK_FAILED", *TASK, "WORKFLOW_EXECUTION_FAILED"], False),
        ([*TASK, "ACTIVITY_TASK_SCHEDULED", "WORKFLOW_EXECUTION_FAILED"], False),
        ([*TASK, "TIMER_STARTED", "WORKFLOW_EXECUTION_FAILED"], False),
    ],
)
def test_what_the_first_task_is(events: list[str], first: bool) -> None:
    """One that was completed; none failed, and nothing was asked for."""
    assert _at_its_first_task(["WORKFLOW_EXECUTION_STARTED", *events]) is first


@pytest.mark.timeout(600)
async def test_input_that_does_not_fit(serve: Serve, dev_address: str, task_queue: str) -> None:
    """Each run ends refused, at its first task, with no step scheduled and no value of a flow's input in the message."""
    async with serve(a, *served()) as client:
        sender = Sender(client, dev_address, task_queue)
        ends = await sender.all(sender.refused, _bad(each=1, hostile=2, texts=2, places=10))
    assert {target for target, end in ends if end == "InvalidInput"} == TARGETS.keys()
    assert ends["saga", "InvalidPlan"] > 0


@pytest.mark.timeout(600)
async def test_input_that_fits(serve: Serve, dev_address: str, task_queue: str) -> None:
    """What fits the schema fits the model, and the run goes on to its first step; a plan or a reference may lead nowhere."""
    async with serve(a, *served()) as client:
        sender = Sender(client, dev_address, task_queue)
        ends = await sender.all(sender.taken, _good(2))
    assert {target for target, end in ends if end == "taken"} == TARGETS.keys() - {"undo"}


@pytest.mark.nightly
@pytest.mark.timeout(1800)
async def test_much_input_that_does_not_fit(serve: Serve, dev_address: str, task_queue: str) -> None:
    """The same of a thousand: each place of each schema several times."""
    async with serve(a, *served()) as client:
        sender = Sender(client, dev_address, task_queue)
        ends = await sender.all(sender.refused, _bad(each=4, hostile=40, texts=len(TEXTS), places=1000))
        await sender.all(sender.taken, _good(25))
    assert {target for target, end in ends if end == "InvalidInput"} == TARGETS.keys()
    assert sum(n for (_, end), n in ends.items() if end == "InvalidInput") > 500


# --- what is sent ---


def _bad(*, each: int, hostile: int, texts: int, places: int) -> Iterator[Case]:
    """Make inputs that don't fit.

    Args:
        each: so many for each place of a schema.
        hostile: so many good ones that were changed anywhere.
        texts: so many that are no JSON.
        places: of one schema, at most.
    """
    for target in TARGETS.values():
        wrong = target.shape.wrong
        chosen = random.sample(sorted(wrong), min(places, len(wrong)))
        made = [
            Case(target, place, (text,)) for place in chosen for text in _drawn(_unfit(target, place), each)
        ]
        good = st.just(PLAN) if target.type == "saga" else target.shape.fitting
        made += [
            Case(target, "hostile", (text,)) for text in _drawn(good.flatmap(changed), hostile, dumped=True)
        ]
        yield from (case for case in made if not case.fits)
        yield from _no_json(target, texts)


def _unfit(target: Target, place: str) -> st.SearchStrategy[Any]:
    """Draw what neither the schema takes in a place, nor the model, which takes a little more."""
    return target.shape.wrong[place].filter(lambda value: not target.fits(json.dumps(value)))


def _no_json(target: Target, texts: int) -> Iterator[Case]:
    """Make inputs that are no JSON, or say that they are something else, or none, or two."""
    for text in random.sample(TEXTS, texts):
        yield Case(target, "no JSON", (text,))
        yield Case(target, "encoding", (text,), random.choice(ENCODINGS))
    yield Case(target, "no input", ())
    yield Case(target, "two inputs", ("{}", "{}"))


def _good(count: int) -> Iterator[Case]:
    """Make inputs that fit, and say so: schema and model are of one mind."""
    for target in TARGETS.values():
        for text in _drawn(target.shape.fitting, count):
            case = Case(target, "fits", (text,))
            assert case.fits, f"{case}: the schema takes it, and the model doesn't"
            yield case
    yield Case(TARGETS["saga"], "fits", (json.dumps(PLAN),))


def _drawn(strategy: st.SearchStrategy[Any], count: int, *, dumped: bool = False) -> list[str]:
    """Draw JSON; the simplest, which comes first, only where there is no other."""
    found: list[Any] = []

    @settings(
        max_examples=count + 1, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(strategy)
    def draw(value: Any) -> None:
        found.append(value if dumped else json.dumps(value))

    draw()
    return found[-count:]


# --- what becomes of it ---


class Sender:
    """Starts runs as a user does, and looks at their ends."""

    def __init__(self, client: Client, address: str, queue: str) -> None:
        self._client, self._address, self._queue = client, address, queue
        self._gate = asyncio.Semaphore(4)

    async def all(
        self, send: Callable[[Case], Awaitable[str]], cases: Iterable[Case]
    ) -> Counter[tuple[str, str]]:
        """Send all, a few at a time; count for each target how they end."""

        async def one(case: Case) -> tuple[str, str]:
            async with self._gate:
                return case.target.type, await send(case)

        found = await asyncio.gather(*(one(case) for case in list(cases)), return_exceptions=True)
        wrong = [str(end) for end in found if isinstance(end, BaseException)]
        assert not wrong, "\n\n".join([f"{len(wrong)} of {len(found)}", *wrong])
        return Counter(end for end in found if not isinstance(end, BaseException))

    async def refused(self, case: Case) -> str:
        """Send what doesn't fit, and check that the run ends at its first task; say how."""
        if (handle := await self._started(case)) is None:
            assert case.what in ("no JSON", "encoding"), f"{case}: the CLI refused it"
            return "refused by the CLI"
        assert await self._status(handle), f"{case}: never ends: {await events_of(handle)}"
        kind, message = causes(await failure_of(handle))[0]
        assert kind in case.target.refusals, f"{case}: {kind}: {message}"
        assert case.target.tells or CANARY not in message, f"{case}: {message}"
        runs = await self._runs(handle.id)
        assert len(runs) == case.target.runs, f"{case}: {runs}"
        assert all(_at_its_first_task(run) for run in runs), f"{case}: {runs}"
        return kind

    async def taken(self, case: Case) -> str:
        """Send what fits, and check that the run gets past its input; end it when it does something."""
        handle = await self._started(case)
        assert handle is not None, f"{case}: the CLI refused it"
        finds = case.target.type == "undo"
        events = await self._until_it_moves(handle, finds)
        assert "WORKFLOW_TASK_FAILED" not in events, f"{case}: {events}"
        kind, message = await _failed_with(handle, events)
        if kind not in case.target.refusals:
            return await _ended(handle)
        assert case.target.looks, f"{case}: {kind}: {message}"
        assert _at_its_first_task(events) or (finds and _looked_up(events)), f"{case}: {events}"
        return kind

    async def _started(self, case: Case) -> WorkflowHandle[Any, Any] | None:
        """Start a run; ``None`` where the CLI doesn't."""
        id = new_id("fuzz")
        command = [
            "workflow",
            "start",
            "--type",
            case.target.type,
            "--task-queue",
            self._queue,
            "--workflow-id",
            id,
        ]
        # A plan is built in a local activity; one that takes long has its task reported as done in between.
        command += ["--task-timeout", "60s", "--address", self._address]
        for text in case.inputs:
            command += ["--input", text]
        command += ["--input-meta", f"encoding={case.encoding}"] if case.encoding else []
        process = await asyncio.create_subprocess_exec(
            binary("temporal"), *(arg.encode("utf-8", "surrogatepass") for arg in command),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        await process.communicate()
        return None if process.returncode else self._client.get_workflow_handle(id)

    async def _status(self, handle: WorkflowHandle[Any, Any]) -> WorkflowExecutionStatus | None:
        """Wait until a run is closed, and say how; ``None`` where it stays open."""
        for _ in range(PATIENCE * 10):
            if (status := (await handle.describe()).status) is not WorkflowExecutionStatus.RUNNING:
                return status
            await asyncio.sleep(0.1)
        return None

    async def _until_it_moves(self, handle: WorkflowHandle[Any, Any], looks_up: bool) -> list[str]:
        """Wait until a run has done something, or, where that is a look-up, has ended; give its events."""
        for _ in range(PATIENCE * 10):
            events = await events_of(handle)
            closed = events[-1].startswith("WORKFLOW_EXECUTION_") and len(events) > 1
            moves = {"ACTIVITY_TASK_SCHEDULED", "TIMER_STARTED", "START_CHILD_WORKFLOW_EXECUTION_INITIATED"}
            if closed or (moves & set(events) and not looks_up):
                return events
            await asyncio.sleep(0.1)
        raise AssertionError(f"nothing happens: {await events_of(handle)}")

    async def _runs(self, id: str) -> list[list[str]]:
        """Give the events of each run of a chain, the newest last."""
        found: list[list[str]] = []
        run_id = (
            await self._client.get_workflow_handle(id).describe()
        ).raw_description.workflow_execution_info.first_run_id
        while run_id:
            handle = self._client.get_workflow_handle(id, run_id=run_id)
            found.append(await events_of(handle))
            last = [event async for event in handle.fetch_history_events()][-1]
            run_id = last.workflow_execution_continued_as_new_event_attributes.new_execution_run_id
        return found


def _at_its_first_task(events: list[str]) -> bool:
    """Whether a run ended with one task, in which no other one failed, and that scheduled nothing."""
    asked = ("ACTIVITY_TASK_", "TIMER_", "START_CHILD_", "CHILD_")
    tasks = [event for event in events if event.startswith("WORKFLOW_TASK_")]
    return tasks == TASK and not any(event.startswith(asked) for event in events)


def _looked_up(events: list[str]) -> bool:
    """Whether a run ended once one activity had said that it must: to find the run that is to be undone takes one."""
    return events.count("ACTIVITY_TASK_SCHEDULED") == 1 and events.count("WORKFLOW_TASK_COMPLETED") == 2


async def _failed_with(handle: WorkflowHandle[Any, Any], events: list[str]) -> tuple[str, str]:
    """Give type and message of the failure, if there is one."""
    failed = events[-1] == "WORKFLOW_EXECUTION_FAILED"
    return causes(await failure_of(handle))[0] if failed else ("", "")


async def _ended(handle: WorkflowHandle[Any, Any]) -> str:
    """End a run that goes on, before it gets far."""
    with contextlib.suppress(RPCError):  # it may have ended by itself
        await handle.terminate("seen enough")
    return "taken"
