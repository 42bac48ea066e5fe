"""Runs a scenario once for each moment at which its worker may die, and checks what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError

from activities import EmptyInput
from flows import start
from tests.dying import answered, dispatched
from tests.sagas.crash_scenarios import Scenario
from tests.spawning import Spawner, alive, kill
from tests.support import World, causes, eventually, failure_of, new_id

AT_ONCE = 6
PATIENCE = 300
REPEATS = 5
T = TypeVar("T")


@dataclass(frozen=True)
class Death:
    """A worker's death: at which moment, after how many calls, and the calls whose end no history knew."""

    moment: str
    calls: int
    in_flight: list[str]

    @property
    def call(self) -> str:
        """The call, or the task, before or after which it was."""
        return self.moment.partition(" ")[2].rpartition(" ")[0]


@dataclass(frozen=True)
class Ended:
    """A run that has ended.

    Attributes:
        scenario: what ran.
        moment: at which its worker was to die.
        failure: the run's.
        tasks: how many it answered, and each of its children.
        sent: how often the server sent each call to a worker.
        deaths: of its worker.
        calls: of handlers, each with its key.
        effects: of these calls.
    """

    scenario: Scenario
    moment: str | None
    failure: BaseException | None
    tasks: dict[str, int]
    sent: Counter[str]
    deaths: list[Death]
    calls: list[tuple[str, str]]
    effects: list[str]

    @property
    def strained(self) -> bool:
        """Whether the server took a call for lost that no death explains, as it does on a busy machine."""
        allowed = self.scenario.counts + Counter(self._undone_too)
        allowed += Counter(call for death in self.deaths for call in death.in_flight)
        return bool(self.sent - allowed)

    def check(self) -> None:
        """Check all of it."""
        self._check_deaths()
        self._check_counts()
        self._check_order()
        self._check_keys()
        if self.failure is not None:
            found = causes(self.failure)
            assert found in self._chains, f"{self}: {found}"

    @property
    def _names(self) -> list[str]:
        return [name for name, _ in self.calls]

    def _check_deaths(self) -> None:
        """It died once, there; where results may arrive together, a task may be one that never came."""
        wanted = [self.moment] if self.moment else []
        if self.moment and " task " in self.moment and self.scenario.parallel:
            *_, run, number = self.moment.split(" ")
            wanted = wanted if int(number) <= self.tasks[run] else []
        assert [death.moment for death in self.deaths] == wanted, self

    def _check_counts(self) -> None:
        """What had ended isn't called again, what was in flight once more at most; each effect is there once."""
        wanted, counts = self.scenario.counts + Counter(self._undone_too), Counter(self._names)
        assert counts.keys() == wanted.keys(), self
        for name, count in wanted.items():
            assert counts[name] - count in self._more(name), f"{name}: {self}"
        assert sorted(self.effects) == sorted([*self.scenario.effects, *self._undone_too]), self

    def _more(self, name: str) -> tuple[int, ...]:
        """How much more often than without a crash a handler may be called."""
        for death in self.deaths:
            if death.call == name:
                return (1,) if death.moment.startswith("after") else (0,)
            if name in death.in_flight and name in self._names[: death.calls]:
                return (0, 1)
        return (0,)

    @property
    def _undone_too(self) -> list[str]:
        """The undos of steps that fail, but of whose end a crash took one: for sure where the step itself was hit."""
        found = []
        for step in self.scenario.unsure:
            hit = [death for death in self.deaths if step in death.in_flight]
            assert f"undo {step}" in self._names or step not in [death.call for death in hit], self
            found += [f"undo {step}" for _ in hit if f"undo {step}" in self._names]
        return found

    @property
    def _chains(self) -> list[list[tuple[str, str]]]:
        """The failure and its causes, as they may be."""
        step = self.scenario.switches[0].partition("-")[2]
        if self._undone_too:
            return [self.scenario.chain(2, lost=True)]
        if step in self.scenario.unsure or not any(step in death.in_flight for death in self.deaths):
            return [self.scenario.chain()]
        return [self.scenario.chain(), self.scenario.chain(2, lost=True)]

    def _check_order(self) -> None:
        """Nothing begins before all calls of what it follows."""
        last = {name: at for at, name in enumerate(self._names)}
        first = {name: at for at, name in reversed(list(enumerate(self._names)))}
        for before, after in self.scenario.order:
            if before in last and after in first:
                assert last[before] < first[after], f"{before}, then {after}: {self}"

    def _check_keys(self) -> None:
        """A step has one key, in each of its calls and undos, and no other step has it."""
        pairs = {(self._step(name), key) for name, key in self.calls}
        steps, keys = {step for step, _ in pairs}, {key for _, key in pairs}
        assert len(pairs) == len(steps) == len(keys), self

    def _step(self, call: str) -> str:
        """The step that a call is of; in a child flow it has a name without the flow's."""
        step = call.removeprefix("undo ")
        return step if step in self.scenario.counts else step.rpartition("/")[2]


async def begin(client: Client, flow: Any, input: Any, queue: str) -> WorkflowHandle[Any, Any]:
    """Start a flow whose tasks time out soon."""
    second = timedelta(seconds=1)
    return await start(client, flow, input, id=new_id(), task_queue=queue, task_timeout=second)


async def served(workers: Spawner, args: tuple[str, ...], asked: Coroutine[Any, Any, T]) -> T:
    """Serve until something has come, with another worker whenever one dies."""
    worker, coming = workers.spawn(*args), asyncio.ensure_future(asked)
    while not coming.done():
        await asyncio.wait([coming], timeout=0.05)
        if not alive(worker):
            worker = workers.spawn(*args)
    kill(worker)
    return coming.result()


async def looked_at(handle: WorkflowHandle[Any, Any], query: str) -> Any:
    """Have a worker replay a closed run; what was asked of one that died is asked again."""
    while True:
        with contextlib.suppress(RPCError):
            return await handle.query(query, rpc_timeout=timedelta(seconds=2))


class Case:
    """One run of a scenario, with a crash at a moment, or without one."""

    def __init__(self, sweep: Sweep, moment: str | None) -> None:
        """Prepare the world."""
        self._sweep, self._moment, self._queue = sweep, moment, new_id("crash")
        self._world = World(sweep.folder / self._queue)
        for switch in sweep.scenario.switches:
            self._world.switch(switch)
        if moment:
            self._world.append("die", moment)

    async def run(self) -> Ended:
        """Run it, starting the worker again when it dies."""
        handle = await begin(self._sweep.client, self._sweep.scenario.saga, EmptyInput(), self._queue)
        operator = asyncio.ensure_future(self._repair(handle))
        args = (self._sweep.address, self._queue, str(self._world.folder))
        ended = await served(self._sweep.workers, args, self._end(handle))
        operator.cancel()
        return ended

    async def _end(self, handle: WorkflowHandle[Any, Any]) -> Ended:
        """Wait for the end; where the worker dies right after it, another one looks at the run, and calls nothing."""
        failure = None
        if self._sweep.scenario.end is None:
            await asyncio.wait_for(handle.result(), PATIENCE)
        else:
            failure = await failure_of(handle, PATIENCE)
        tasks, sent = await self._histories()
        if self._moment == f"after task root {tasks['root']}":
            await eventually(lambda: self._world.lines("deaths"))
            await looked_at(handle, "status")
        deaths = [Death(*json.loads(line)) for line in self._world.lines("deaths")]
        calls, effects = self._world.calls, self._world.effects
        return Ended(self._sweep.scenario, self._moment, failure, tasks, sent, deaths, calls, effects)

    async def _histories(self) -> tuple[dict[str, int], Counter[str]]:
        tasks, sent = {}, Counter[str]()
        for workflow in self._world.lines("runs"):
            history = await self._sweep.client.get_workflow_handle(workflow).fetch_history()
            tasks[workflow.partition("/")[2] or "root"] = answered(history.events)
            sent += dispatched(history.events)
        return tasks, sent

    async def _repair(self, handle: WorkflowHandle[Any, Any]) -> None:
        """Be the operator: once b's undo is parked, repair what is wrong with it, and have it tried again."""
        while (await (await handle.describe()).memo()).get("counterstep", {}).get("state") != "parked":
            await asyncio.sleep(0.05)
        self._world.switch("fail-undo-b", on=False)
        await handle.execute_update("retry", {"step": "b"}, id="repaired")


@dataclass(frozen=True)
class Sweep:
    """A scenario on its way through many crashes."""

    scenario: Scenario
    workers: Spawner
    folder: Path
    address: str
    client: Client

    async def run(self, every: int) -> list[Ended]:
        """Run it without a crash, then with one at each moment, or at one of so many; give how these ended."""
        whole = await self._checked(None)
        at_tasks = [
            f"{when} task {run} {number}"
            for run, count in whole.tasks.items()
            for number in range(1, count + 1)
            for when in ("before", "after")
        ]
        gate = asyncio.Semaphore(AT_ONCE)

        async def case(moment: str) -> Ended:
            async with gate:
                return await self._checked(moment)

        return await asyncio.gather(*map(case, [*at_tasks, *self.scenario.moments][::every]))

    async def _checked(self, moment: str | None) -> Ended:
        """Run a case and check it; one on which the machine was too busy is repeated."""
        for _ in range(REPEATS):
            ended = await Case(self, moment).run()
            if not ended.strained:
                break
        ended.check()
        return ended
