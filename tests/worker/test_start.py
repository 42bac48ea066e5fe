"""`flows.start` starts any flow from Python: typed, checked before anything starts, eagerly."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator
from temporalio import workflow
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from activities import EmptyInput, InvalidInput, NotSerializable
from flows import TASK_QUEUE, Sequence, start
from tests.conftest import Serve
from tests.support import new_id

with workflow.unsafe.imports_passed_through():
    from tests.sample import a, nothing


class Spec(BaseModel):
    """A closed model with an alias."""

    model_config = ConfigDict(extra="forbid")
    size: int = Field(alias="theSize")


class Lossy(BaseModel):
    """A model that a round trip changes."""

    size: int

    @field_validator("size")
    @classmethod
    def grow(cls, value: int) -> int:
        """Add one, each time."""
        return value + 1


class Sized(Sequence[Spec, Spec], id="sized", version="1.0.0"):
    """Double a size."""

    async def run(self, input: Spec) -> Spec:
        return Spec(theSize=(await self.execute(a, input.size)).output)


class Grows(Sequence[Lossy, int], id="grows", version="1.0.0"):
    """Take what doesn't survive JSON."""

    async def run(self, input: Lossy) -> int:
        return input.size


class Empty(Sequence[EmptyInput, None], id="empty", version="1.0.0"):
    """Take and give nothing."""

    async def run(self, input: EmptyInput) -> None:
        await self.execute(nothing, input)


class Asks(Sequence[int, int], id="asks", version="1.0.0"):
    """Wait for an approval."""

    async def run(self, input: int) -> int:
        await self.approval("go")
        return input


async def there(client: Client, id: str) -> bool:
    """Say whether a run is there."""
    try:
        return bool(await client.get_workflow_handle(id).describe())
    except RPCError:
        return False


async def test_the_result_is_typed(serve: Serve, task_queue: str) -> None:
    """The handle's result is an instance of the output's type; by name it is plain JSON."""
    async with serve(a, nothing, Sized, Empty) as client:
        typed = await start(client, Sized, Spec(theSize=3), id=new_id(), task_queue=task_queue)
        assert await typed.result() == Spec(theSize=6)
        named = await start(client, "sized@^1", {"theSize": 3}, id=new_id(), task_queue=task_queue)
        assert await named.result() == {"theSize": 6}
        empty = await start(client, Empty, EmptyInput(), id=new_id(), task_queue=task_queue)
        assert await empty.result() is None


async def test_a_start_is_eager(serve: Serve, task_queue: str) -> None:
    """With a worker on the same client, the first task comes with the answer to the start."""
    async with serve(a, Sized) as client:
        handle = await start(client, Sized, Spec(theSize=3), id=new_id(), task_queue=task_queue)
        events = [event async for event in handle.fetch_history_events()]
        assert events[0].workflow_execution_started_event_attributes.eager_execution_accepted is True
        await handle.result()


BAD: list[tuple[Any, Any, type[Exception], str]] = [
    (
        Sized,
        {"theSize": "x"},
        InvalidInput,
        "sized@1.0.0: input doesn't fit Spec: theSize: Input should be a valid integer",
    ),
    (Sized, {}, InvalidInput, "sized@1.0.0: input doesn't fit Spec: theSize: Field required"),
    (Sized, None, InvalidInput, "sized@1.0.0: input doesn't fit Spec: value: Input should be"),
    (
        Grows,
        Lossy(size=1),
        NotSerializable,
        "grows@1.0.0: input doesn't survive JSON: a round trip changes it",
    ),
]


@pytest.mark.parametrize("case", range(len(BAD)))
async def test_bad_input_starts_nothing(dev_address: str, task_queue: str, case: int) -> None:
    """It is refused here, naming the field, and there is no run."""
    flow, input, kind, message = BAD[case]
    client, id = await Client.connect(dev_address), new_id()
    with pytest.raises(kind) as caught:
        await start(client, flow, input, id=id, task_queue=task_queue)
    assert caught.value.message.startswith(message)
    assert not await there(client, id)


async def test_an_open_run_is_not_started_again(serve: Serve, task_queue: str) -> None:
    """While a run with this id is open, AlreadyStarted; once it has ended, a new run."""
    id = new_id()
    async with serve(Asks) as client:
        first = await start(client, Asks, 1, id=id, task_queue=task_queue)
        with pytest.raises(WorkflowAlreadyStartedError):
            await start(client, Asks, 2, id=id, task_queue=task_queue)
        await first.execute_update("stop")
        with pytest.raises(WorkflowFailureError):
            await first.result()
        second = await start(client, Asks, 3, id=id, task_queue=task_queue)
        assert second.result_run_id != first.result_run_id
        await second.execute_update("approve", {"name": "go"})
        assert await second.result() == 3


async def test_options_and_memo_are_passed_on(dev_address: str) -> None:
    """Memo and the options of Client.start_workflow arrive; the queue's default is ours."""
    client = await Client.connect(dev_address)
    handle = await start(client, Asks, 1, id=new_id(), memo={"ticket": "T-1"}, static_summary="by hand")
    described = await handle.describe()
    assert (described.task_queue, TASK_QUEUE) == ("counterstep", "counterstep")
    assert await described.memo() == {"ticket": "T-1"}
    assert await described.static_summary() == "by hand"
    await handle.terminate()
