"""What waits for the end of a pause hasn't begun: `status` doesn't show it, nor as failed once the run was cancelled."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio.client import WorkflowHandle

from flows import Sequence
from tests.conftest import Serve
from tests.sagas.operations import Given, work
from tests.sagas.test_holding import begin, holding, shows
from tests.support import World, failure_of


class Pair(Sequence[int, int], id="paused-pair", version="1.0.0"):
    """Two steps."""

    async def run(self, input: int) -> int:
        await self.execute(work, Given(number=input), step="a")
        return (await self.execute(work, Given(number=input + 1), step="b")).output.id


async def _steps(handle: WorkflowHandle[Any, Any]) -> dict[str, str]:
    steps: dict[str, str] = (await handle.query("status"))["steps"]
    return steps


@pytest.mark.parametrize("how", ["cancel", "stop", "unpause"])
@pytest.mark.parametrize(("flow", "last"), [(holding, "c"), (Pair, "b")])
async def test_a_paused_step_has_not_begun(
    serve: Serve, world: World, task_queue: str, cache: int, flow: Any, last: str, how: str
) -> None:
    """Paused while a runs: once a is done, b isn't shown; cancelled, it never is; unpaused, it runs."""
    world.switch("hold-a")
    async with serve(work, holding, Pair, cache=cache) as client:
        handle = await begin(client, flow, task_queue, *([1] if flow is Pair else []))
        await world.until("a")
        await handle.execute_update("pause")
        world.switch("go-a")
        await shows(handle, "a", "done")
        await asyncio.sleep(0.2)
        assert await _steps(handle) == {"a": "done"}
        if how == "unpause":
            await handle.execute_update("unpause")
            await handle.result()
            assert (await _steps(handle))[last] == "done"
            return
        await (handle.cancel() if how == "cancel" else handle.execute_update("stop"))
        await failure_of(handle)
        assert await _steps(handle) == {"a": "undone"}
    assert world.calls == ["a", ("undo a", "done"), "undone a"]
