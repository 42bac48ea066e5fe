"""A flow that waits as its input says, and a service that knows foreign operations."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import BaseModel
from temporalio import workflow
from temporalio.client import Client, WorkflowHandle

from flows import LongRunning, Sequence

with workflow.unsafe.imports_passed_through():
    from tests.sample import a, b
    from tests.support import World


class Waits(BaseModel):
    """Arguments of `wait`; those that aren't given have the defaults."""

    sleep: timedelta | None = None
    operations: list[str] = []
    service: str | None = "tests.longrunning.waiting.Foreign"
    more: dict[str, Any] = {}
    poll: timedelta | None = None
    timeout: timedelta | None = None
    resume_point: str | None = None


class Waiter(LongRunning[Waits, str, None, None], id="waiter", version="1.0.0"):
    """A step, a wait, and in the leg after it nothing but the end."""

    async def run(self, input: Waits) -> str:
        if self.resume_point:
            return f"resumed at {self.resume_point}"
        await self.execute(a, 1)
        given = {
            name: getattr(input, name) for name in ("poll", "timeout") if getattr(input, name) is not None
        }
        await self.wait(
            input.sleep,
            operations=input.operations,
            service=input.service,
            resume_point=input.resume_point,
            **given,
            **input.more,
        )
        return "waited"


class Naps(Sequence[timedelta, None], id="naps", version="1.0.0"):
    """Sleep."""

    async def run(self, input: timedelta) -> None:
        await self.wait(input)


class Fails(Sequence[timedelta, None], id="fails", version="1.0.0"):
    """Sleep, then fail."""

    async def run(self, input: timedelta) -> None:
        await self.wait(input)
        await self.execute(b, 1)


class Missing(Exception):
    code = 404


@dataclass(frozen=True)
class Foreign:
    """Operations elsewhere: `done`, `failed`, `missing`, `broken`, or open for a number of looks: `after-9`."""

    world: World

    async def get_operation(self, name: str, /) -> Any:
        self.world.append("looks", name)
        return await self._found(name)

    async def _found(self, name: str) -> Any:
        kind = name.removeprefix("operations/")
        looks = self.world.lines("looks").count(name)
        if kind == "missing":
            raise Missing(f"there is no {name}")
        if kind == "broken" or (kind == "shaky" and looks < 3):
            raise ConnectionError("the line is dead")
        if kind == "failed":
            return {"name": name, "done": True, "error": {"code": 9, "message": "no room"}}
        return {"name": name, "done": kind in ("done", "shaky") or _after(kind, looks)}


@dataclass(frozen=True)
class Blocking:
    """The same, as a client without asyncio."""

    world: World

    def get_operation(self, name: str, /) -> Any:
        self.world.append("looks", name)
        return type("Found", (), {"done": True, "error": None})()


def _after(kind: str, looks: int) -> bool:
    return kind.startswith("after-") and looks > int(kind.removeprefix("after-"))


async def took(client: Client, handle: WorkflowHandle[Any, Any]) -> float:
    """Say how many seconds all runs of an operation took, by the server's clock."""
    first = await client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id).describe()
    last = await client.get_workflow_handle(handle.id).describe()
    assert last.close_time is not None
    return (last.close_time - first.start_time).total_seconds()


__all__ = ["a", "b"]
