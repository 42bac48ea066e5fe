"""Waits and approvals of inline flows: known under their flow, to operators and to who reads the history."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError
from temporalio.worker import Replayer

from activities import Registry
from counterstep.reports import Report, fetch_report
from flows import CounterstepPlugin, Sequence, start
from tests.conftest import Serve
from tests.support import World, causes, failure_of, new_id

with workflow.unsafe.imports_passed_through():
    from tests.sagas.operations import Given, work

SOON = timedelta(milliseconds=10)


class Asks(Sequence[Given, list[str]], id="asks", version="1.0.0"):
    """A step, a wait, two approvals: one that may time out."""

    async def run(self, input: Given) -> list[str]:
        await self.execute(work, input, step="one")
        await self.wait(SOON, name="soak")
        first = await self.approval("go", timeout=timedelta(days=1))
        second = await self.approval("really")
        return [first.name, str(first.by), second.name, str(second.by)]


class Both(Sequence[Given, list[list[str]]], id="both", version="1.0.0"):
    """Two of them at once, then a step."""

    async def run(self, input: Given) -> list[list[str]]:
        asked = await self.gather(
            self.execute(Asks, Given(number=1)), self.execute(Asks, Given(number=2), step="other")
        )
        await self.execute(work, input, step="last")
        return [report.output for report in asked]


class Waits(Sequence[Given, None], id="waits", version="1.0.0"):
    """Nothing but a wait."""

    async def run(self, input: Given) -> None:
        await self.wait(SOON)


class Around(Sequence[Given, None], id="around", version="1.0.0"):
    """A flow that only waits, and a wait of its own."""

    async def run(self, input: Given) -> None:
        await self.execute(Waits, input)
        await self.wait(SOON)


async def shows(handle: WorkflowHandle[Any, Any], **states: str) -> None:
    """Wait until steps, whose slash is two underscores here, show states."""
    wanted = {name.replace("__", "/"): state for name, state in states.items()}
    for _ in range(1000):
        status = await handle.query("status")
        if wanted.items() <= status["steps"].items():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(status)


def tree(report: Report[Any, Any]) -> list[Any]:
    """Give the names and kinds of children, those of flows as lists that begin with theirs."""
    return [
        [f"{c.kind} {c.step}", *tree(c)] if c.is_flow else f"{c.kind} {c.step}: {c.outcome}"
        for c in report.children
    ]


SEVERAL = "approval 'go' waits in several flows; say which"


async def refusal(handle: WorkflowHandle[Any, Any], name: str) -> str:
    """Give why an approval is refused."""
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await handle.execute_update("approve", {"name": name})
    return str(getattr(refused.value.cause, "message", ""))


async def test_two_flows_ask_for_the_same_approval(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """Section 7: each is decided by the name that status shows; by its own name where only one of it waits."""
    waiting = "waiting for approval"
    async with serve(work, Both, cache=cache) as client:
        handle = await start(client, Both, Given(), id=new_id(), task_queue=task_queue)
        await shows(handle, asks__go=waiting, other__go=waiting)
        said, which = (await refusal(handle, "go")).rsplit(": ", 1)
        assert (said, sorted(which.split(", "))) == (SEVERAL, ["asks/go", "other/go"])
        assert await handle.execute_update("approve", {"name": "other/go", "by": "ann"}) == "other/go"
        assert await handle.execute_update("approve", {"name": "go", "by": "bob"}) == "asks/go"
        await shows(handle, asks__really=waiting, other__really=waiting)
        await handle.execute_update("approve", {"name": "asks/really", "by": "cy"})
        await shows(handle, asks__really="approved")
        await handle.execute_update("approve", {"name": "really", "by": "dee"})
        assert await asyncio.wait_for(handle.result(), 60) == [
            ["go", "bob", "really", "cy"],
            ["go", "ann", "really", "dee"],
        ]
        report = await fetch_report(client, handle.id)
    rest = (
        "operation {}/one: done",
        "wait {}/soak: done",
        "approval {}/go: done",
        "approval {}/really: done",
    )
    asked = [[f"flow {flow}", *(row.format(flow) for row in rest)] for flow in ("asks", "other")]
    assert sorted(tree(report)[:2]) == asked and tree(report)[2:] == ["operation last: done"]
    told = {r.step: r.output for r in report.walk() if r.step.endswith(("/go", "/really"))}
    assert told == {
        "asks/go": {"name": "asks/go", "by": "bob"},
        "other/go": {"name": "other/go", "by": "ann"},
        "asks/really": {"name": "asks/really", "by": "cy"},
        "other/really": {"name": "other/really", "by": "dee"},
    }


async def test_a_flow_that_only_waits(serve: Serve, task_queue: str) -> None:
    """Its wait stands under it, and the wait of the flow around it keeps its name."""
    async with serve(Around) as client:
        handle = await start(client, Around, Given(), id=new_id(), task_queue=task_queue)
        await handle.result()
        report = await fetch_report(client, handle.id)
    assert tree(report) == [["flow waits", "wait waits/wait: done"], "wait wait: done"]


class Named(Sequence[list[str], None], id="named", version="1.0.0"):
    """A wait or an approval, by name."""

    async def run(self, input: list[str]) -> None:
        what, name = input
        await (self.wait(SOON, name=name) if what == "wait" else self.approval(name, timeout=SOON))


RULE = "must be letters, digits, '-' and '_', at most 100 of them"


@pytest.mark.parametrize(
    ("what", "name", "why"),
    [
        ("wait", "it is held", f"wait name 'it is held' {RULE}"),
        ("wait", "approval x", f"wait name 'approval x' {RULE}"),
        ("wait", "", f"wait name '' {RULE}"),
        ("wait", "deadline", "wait name 'deadline' is ours; choose another"),
        ("approval", "asks/go", f"approval name 'asks/go' {RULE}"),
        ("approval", "deadline", "approval name 'deadline' is ours; choose another"),
    ],
)
async def test_a_name_that_would_be_read_as_something_else(
    serve: Serve, task_queue: str, what: str, name: str, why: str, cache: int
) -> None:
    """Refused as the name of a step is; the run unwinds."""
    async with serve(Named, cache=cache) as client:
        handle = await start(client, Named, [what, name], id=new_id(), task_queue=task_queue)
        assert causes(await failure_of(handle))[-1] == ("DefinitionError", why)


class Renamed(Sequence[Given, None], id="around", version="1.0.0"):
    """`Around` as it may have been before names were checked: those of timers are no part of what a replay compares."""

    async def run(self, input: Given) -> None:
        await self.wait(SOON, name="it is held")
        await self.wait(SOON)


async def test_a_run_of_before_goes_on(serve: Serve, task_queue: str) -> None:
    """A name that is refused today, in a run that began before it was, ends no run."""
    async with serve(Around) as client:
        handle = await start(client, Around, Given(), id=new_id(), task_queue=task_queue)
        await handle.result()
        history = await handle.fetch_history()
    plugin = CounterstepPlugin(Registry(Renamed))
    await Replayer(workflows=[], plugins=[plugin]).replay_workflow(history)
