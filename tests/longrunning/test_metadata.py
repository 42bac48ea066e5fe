"""What an operation shows of itself: at once, without a worker, bounded, and not after its end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio.client import WorkflowHandle

from activities import DefinitionError, EmptyInput
from flows import FlowMetadata, LongRunning, start
from tests.conftest import Serve
from tests.longrunning.operations import Plain, Progress, Sets, Wide, Wordy, a, gated, two
from tests.support import World, causes, events_of, failure_of, new_id


async def _waits(handle: WorkflowHandle[Any, Any], step: str) -> None:
    while (await handle.query("status"))["steps"].get(step) != "waiting for approval":
        await asyncio.sleep(0.05)


async def test_metadata_is_replaced_and_seen_without_a_worker(
    serve: Serve, task_queue: str, cache: int
) -> None:
    """LRO-13, LRO-17: each new value replaces the last one, is in the memo at once, and costs one event; equal ones none."""
    async with serve(Sets, cache=cache) as client:
        handle = await start(client, Sets, [1, 2, 2], id=new_id(), task_queue=task_queue)
        for step, percent in (("after-1", 1), ("after-2", 2), ("after-2.2", 2)):
            await _waits(handle, step)
            assert (await (await handle.describe()).memo())["counterstep.metadata"] == {"percent": percent}
            await handle.execute_update("approve", {"name": step.removesuffix(".2")})
        assert await handle.result() is None
        assert (await events_of(handle)).count("WORKFLOW_PROPERTIES_MODIFIED") == 2
        memo = await (await handle.describe()).memo()
        assert memo == {"counterstep.metadata": {"percent": 2}}
        seen = await handle.query("seen")
    assert seen == "sets@1.0.0 has ended (completed); its metadata can't be changed"


async def test_metadata_is_bounded(serve: Serve, task_queue: str) -> None:
    """Metadata over 16 KB fails the run, saying how large it may be."""
    async with serve(Wordy) as client:
        handle = await start(client, Wordy, [], id=new_id(), task_queue=task_queue)
        found = causes(await failure_of(handle))
    assert found[1] == (
        "NotSerializable",
        "wordy@1.0.0: metadata has 20023 bytes, 16384 are allowed; keep large values elsewhere",
    )


def test_state_and_metadata_must_have_a_beginning() -> None:
    """A state that can't be made without values is refused when the class is declared."""
    with pytest.raises(DefinitionError) as raised:

        class Bad(LongRunning[int, int, FlowMetadata, Progress], id="bad", version="1.0.0"):
            async def run(self, input: int) -> int:
                return input

    assert (
        raised.value.message
        == "bad: state: FlowMetadata needs a default for everything in it: ValidationError"
    )


def test_a_declaration_names_four_types() -> None:
    """Two types are too few, and the refusal shows the form."""
    with pytest.raises(DefinitionError) as raised:
        type("Bad", (LongRunning,), {"run": Sets.run}, id="bad", version="1.0.0")
    assert raised.value.message == (
        "Bad: write class Bad(LongRunning[Request, Response, State, Metadata], id=…, version=…)"
    )


def test_our_names_are_ours() -> None:
    """An attribute named like one of ours is refused when the class is declared."""
    with pytest.raises(DefinitionError) as raised:

        class Bad(LongRunning[int, int, None, Wide], id="bad", version="1.0.0"):
            metadata = Wide()  # type: ignore[assignment]

            async def run(self, input: int) -> int:
                return input

    assert raised.value.message == "bad@1.0.0: metadata is ours; choose another name"


@pytest.mark.parametrize(("flow", "total"), [(Plain, None), (two, 2)], ids=["sequence", "saga"])
async def test_every_flow_tells_of_its_progress(
    serve: Serve, world: World, task_queue: str, flow: Any, total: int | None
) -> None:
    """Sequences and sagas answer the query `metadata` too: state, steps done, total, current."""
    async with serve(a, gated, flow) as client:
        handle = await start(client, flow, EmptyInput(), id=new_id(), task_queue=task_queue)
        while (await handle.query("status"))["steps"].get("gated") != "running":
            await asyncio.sleep(0.05)
        found = FlowMetadata.model_validate(await handle.query("metadata"))
        world.switch("gate")
        await handle.result()
        after = FlowMetadata.model_validate(await handle.query("metadata"))
    assert found == FlowMetadata(
        flow=str(flow.definition), state="running", steps_done=1, steps_total=total, current=("gated",)
    )
    assert after == FlowMetadata(
        flow=str(flow.definition), state="completed", steps_done=2, steps_total=total
    )


@pytest.mark.parametrize(
    ("state", "memo", "shown", "done", "point"),
    [
        ("running", {}, "running", None, ""),
        ("running", {"counterstep": {"state": "held"}}, "held", None, ""),
        ("failed", {"counterstep": {"state": "stuck"}}, "stuck", None, ""),
        ("completed", {"counterstep": {"state": "running"}}, "completed", None, ""),
        ("terminated", {"counterstep": {"state": "held"}}, "terminated", None, ""),
        ("running", {"counterstep.progress": {"steps_done": 7, "resume_point": "x"}}, "running", 7, "x"),
    ],
)
def test_progress_from_the_memo(
    state: str, memo: dict[str, Any], shown: str, done: int | None, point: str
) -> None:
    """Without a worker: what the memo tells, unless Temporal closed the run itself."""
    assert FlowMetadata.of_memo("f@1.0.0", state, memo, ["b"]) == FlowMetadata(
        flow="f@1.0.0", state=shown, steps_done=done, current=("b",), resume_point=point
    )
