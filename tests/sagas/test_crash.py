"""A crash before and after every handler call, and after every workflow task: the same effects as without (point 6)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHandle

from activities import EmptyInput
from flows import Saga, start
from tests.sagas.crashing import (
    risky_diamond,
    risky_family,
    risky_line,
    risky_nest,
    risky_settling,
    risky_stopping,
)
from tests.spawning import Spawner, alive, kill, spawner
from tests.support import World, causes, events_of, failure_of, new_id

AT_ONCE = 6
PATIENCE = 300


@dataclass(frozen=True)
class Scenario:
    """A saga, what goes wrong in it, and what comes of it, whenever a worker crashes.

    Attributes:
        saga: what runs.
        switches: what goes wrong, such as ``fail-c``.
        effects: what happens; names after a bar happen beside each other, in any order.
        end: the run's failure, if it fails.
        left: the steps that are not undone.
        unsure: steps that fail: one that a crash hits before has an unknown outcome, and is undone as well.
    """

    saga: Saga[EmptyInput, Any]
    switches: tuple[str, ...]
    effects: str
    end: str | None = None
    left: tuple[str, ...] = ()
    unsure: str = ""

    @property
    def moments(self) -> list[str]:
        """Before and after each of its effects, and before what fails."""
        names = [name.replace("undo ", "undo-") for stage in self.stages for name in sorted(stage)]
        fails = [switch.removeprefix("fail-") for switch in self.switches if switch.startswith("fail-")]
        return [f"{when}-{name}" for name in names for when in ("before", "after")] + [
            f"before-{name}" for name in fails
        ]

    @property
    def stages(self) -> list[set[str]]:
        """What happens one after another."""
        return [set(stage.strip().split(" | ")) for stage in self.effects.split(",")]


SCENARIOS = {
    "1 success": Scenario(risky_line, (), "a, b, c"),
    "1 failure": Scenario(risky_line, ("fail-c",), "a, b, undo b, undo a", "RolledBack", unsure="c"),
    "1 unknown": Scenario(risky_line, ("unknown-c",), "a, b, c, undo c, undo b, undo a", "RolledBack"),
    "2 settles": Scenario(
        risky_diamond, ("fail-b", "slow-c"), "a, c, undo c, undo a", "RolledBack", unsure="b"
    ),
    "2 cancels": Scenario(
        risky_settling, ("fail-b", "hang-c"), "a, undo c, undo a", "RolledBack", unsure="b"
    ),
    "3 diamond": Scenario(
        risky_diamond, ("fail-d",), "a, b | c, undo b | undo c, undo a", "RolledBack", unsure="d"
    ),
    "4 goes on": Scenario(
        risky_diamond, ("fail-d", "fail-undo-b"), "a, b | c, undo c, undo a", "Stuck", ("b",), unsure="d"
    ),
    "4 stops": Scenario(risky_stopping, ("fail-c", "fail-undo-b"), "a, b", "Stuck", ("b", "a"), unsure="c"),
    "5 subsagas": Scenario(
        risky_nest,
        ("fail-z",),
        "x, s/x | s/y | t/x | t/y, undo s/x | undo s/y | undo t/x | undo t/y, undo x",
        "RolledBack",
        unsure="z",
    ),
    "5 child flows": Scenario(
        risky_family,
        ("fail-z",),
        "a, x | y | p | q, undo s/x | undo s/y | undo t/p | undo t/q, undo a",
        "RolledBack",
        unsure="z",
    ),
}
WHOLE = [name for name in SCENARIOS if name.startswith("1")]
REST = [name for name in SCENARIOS if not name.startswith("1")]
SAMPLE = ["3 diamond", "5 subsagas"]


@pytest.fixture(scope="module")
def workers() -> Iterator[Spawner]:
    """Start workers that die where tests want them to."""
    with spawner("tests.sagas.crashing") as made:
        yield made


class Case:
    """One run of a scenario, with a crash at a moment: ``before-a``, ``after-undo-a``, ``task 3``."""

    def __init__(self, sweep: Sweep, moment: str | None) -> None:
        """Prepare the world."""
        self.sweep, self.moment, self.queue = sweep, moment, new_id("crash")
        self.world = World(sweep.folder / self.queue)
        for switch in sweep.scenario.switches:
            self.world.switch(switch)
        if moment and not moment.startswith("task"):
            self.world.switch(f"die-{moment}")
        self.deaths = 0

    async def run(self) -> int:
        """Run it, starting the worker again when it dies; check the end; give how many tasks it took."""
        worker = self._worker()
        handle = await start(
            self.sweep.client,
            self.sweep.scenario.saga,
            EmptyInput(),
            id=new_id(),
            task_queue=self.queue,
            task_timeout=timedelta(seconds=1),
        )
        result = asyncio.ensure_future(self._end(handle))
        while not result.done():
            await asyncio.wait([result], timeout=0.05)
            if self.deaths == 0 and await self._after_task(handle):
                kill(worker)
            if not alive(worker):
                self.deaths, worker = self.deaths + 1, self._worker()
        kill(worker)
        self._check(result.result())
        return await self._tasks(handle)

    def _worker(self) -> int:
        return self.sweep.workers.spawn(self.sweep.address, self.queue, str(self.world.folder))

    async def _end(self, handle: WorkflowHandle[Any, Any]) -> BaseException | None:
        if self.sweep.scenario.end is None:
            await asyncio.wait_for(handle.result(), PATIENCE)
            return None
        return await failure_of(handle, PATIENCE)

    async def _after_task(self, handle: WorkflowHandle[Any, Any]) -> bool:
        if not (self.moment and self.moment.startswith("task")):
            return False
        return await self._tasks(handle) >= int(self.moment.split()[1])

    async def _tasks(self, handle: WorkflowHandle[Any, Any]) -> int:
        return (await events_of(handle)).count("WORKFLOW_TASK_COMPLETED")

    def _check(self, failure: BaseException | None) -> None:
        scenario, where = self.sweep.scenario, f"crash at {self.moment}"
        effects = self.world.effects
        sure = [effect for effect in effects if effect not in [f"undo {s}" for s in scenario.unsure.split()]]
        at = 0
        for stage in scenario.stages:
            assert sorted(sure[at : at + len(stage)]) == sorted(stage), f"{where}: {effects}"
            at += len(stage)
        assert len(sure) == at, f"{where}: {effects}"
        assert len(effects) - at <= (1 if self.moment else 0), f"{where}: {effects}"
        if failure is not None:
            kind, message = causes(failure)[0]
            left = [line.split()[2] for line in message.split("\n")[1:]]
            assert (kind, tuple(left)) == (scenario.end, scenario.left), f"{where}: {message}"
        if self.moment and not self.moment.startswith("task"):
            assert self.deaths == 1, f"{where}: the worker must have died there"


@dataclass(frozen=True)
class Sweep:
    """A scenario on its way through many crashes."""

    scenario: Scenario
    workers: Spawner
    folder: Path
    address: str
    client: Client

    async def run(self, *, whole: bool) -> None:
        """Run it without a crash, then with one at every moment, or at a few."""
        tasks = await Case(self, None).run()
        moments = [*(f"task {number}" for number in range(1, tasks + 1)), *self.scenario.moments]
        gate = asyncio.Semaphore(AT_ONCE)

        async def case(moment: str) -> None:
            async with gate:
                await Case(self, moment).run()

        await asyncio.gather(*(case(m) for m in (moments if whole else moments[tasks // 2 :: 4])))


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("name", "whole"),
    [
        *((name, True) for name in WHOLE),
        *((name, False) for name in SAMPLE),
        *(pytest.param(n, True, marks=pytest.mark.nightly) for n in REST),
    ],
)
async def test_a_crash_at_any_moment(
    workers: Spawner, tmp_path: Path, dev_address: str, name: str, whole: bool
) -> None:
    """V1, V3, S69, S71, S75: each effect once, undos in the order of the plan, the same end as without the crash."""
    client = await Client.connect(dev_address)
    await Sweep(SCENARIOS[name], workers, tmp_path, dev_address, client).run(whole=whole)
