"""A sweep: a flow run once for each step and each way to go wrong, and every run held against what must be true."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from temporalio.client import WorkflowFailureError

from activities import Failure
from flows._policy import Policy
from flows._start import undo
from flows.testing._alone import not_alone
from flows.testing._bench import Bench, Fresh, Operator, told
from flows.testing._cases import cases
from flows.testing._checks import Expected, difference, problems
from flows.testing._coverage import Cell, Coverage, NotHeld, Status
from flows.testing._modes import ALL, RESETS, RESTARTS, Mode
from flows.testing._planning import Case, Planning
from flows.testing._resets import After, resets
from flows.testing._steps import Step, steps_of
from flows.testing._temporal import Temporal, dev_server
from flows.testing._trial import Place, Trial
from flows.testing._worker import Ran, collected, leaves_of, refuse_unknown, serving

_NO_RESET = Cell("not applicable", why=("the time-skipping server can't reset",))
_FIRST = "the run without faults"
_TWICE = "the same after two runs without faults: leave out what differs"
_CLEAN, _BEFORE = "as after a run without faults", "as before"


async def sweep(
    flow: Any,
    input: Any = None,
    *,
    world: Callable[[Any], Any],
    lifespan: Callable[[], AbstractAsyncContextManager[Any]],
    serve: Iterable[Any] = (),
    temporal: Temporal | None = None,
    modes: Collection[Mode] = ALL,
    steps: Collection[str] | None = None,
    operator: Operator | None = None,
    survives: Collection[str] = (),
    late: Collection[str] = (),
    parallel: int = 16,
    cache: int = 1000,
    **options: Any,
) -> Coverage:
    """Run a flow once for each step and each way to go wrong, and check every run.

    Each run has a world of its own. It is checked against the plan (which steps are undone, and in which order), the
    history (which steps failed and how it ended), what was called, and the world: after a run that was unwound it is as
    before, after one that completed it is as after a run without faults.

    Args:
        flow: a sequence class, a saga, an action, a linear workflow.
        input: the start input; or a function of the dependencies that gives it.
        world: a function of the dependencies that tells what is there, as values that can be compared, without what
            differs from run to run: keys, times, ids.
        lifespan: yields dependencies that nobody has used yet, once for each run.
        serve: operations and flows that the flow needs, or names of modules; the flow itself needn't be named.
        temporal: where; a dev server of its own unless given. On a time-skipping server, whose clock is one for all, the
            runs go one after another, and some modes don't apply.
        modes: those to try.
        steps: those to try; all unless given.
        operator: does what an operator does in each run, such as approving; it is cancelled when the run ends.
        survives: steps whose failure the flow catches.
        late: steps whose operation has no effect any more once it was undone; only these are tried so.
        parallel: how many runs are open at once.
        cache: how many runs the worker keeps; with 0 every workflow task replays.
        options: of :class:`flows.CounterstepPlugin`, such as ``secrets``.

    Returns:
        The table.

    Raises:
        NotHeld: with the table, when a cell is broken or missing, or the sweep itself would show nothing.
        NoSuchStep: when ``steps``, ``survives`` or ``late`` names none of the flow's.
        ValueError: when ``modes`` names none, or ``parallel`` is below one.
    """
    asked = _Asked.of(modes, steps, survives, late)
    with contextlib.ExitStack() as stack:
        where = temporal or stack.enter_context(dev_server())
        served = [*serve, *_itself(flow, serve)]
        async with serving(*served, temporal=where, cache=cache, sandbox=False, **options) as worker:
            gate = _gate(1 if where.skips_time else parallel)
            bench = Bench(worker, flow, input, world, lifespan, operator, gate, cache)
            return _held(await _Sweep(bench, where, asked, time.monotonic()).run())


def _gate(parallel: int) -> asyncio.Semaphore:
    """Let so many runs be open at once; none would wait for ever."""
    if parallel < 1:
        raise ValueError(f"parallel={parallel}: no run would ever be open; give 1 or more")
    return asyncio.Semaphore(parallel)


def _held(coverage: Coverage) -> Coverage:
    """Give a table that holds.

    Raises:
        NotHeld: with the table, when it doesn't.
    """
    if not coverage.holds:
        raise NotHeld(coverage)
    return coverage


def _itself(flow: Any, serve: Iterable[Any]) -> list[Any]:
    """Give the flow, unless it is served already."""
    registry, _ = collected(list(serve))
    ours = {str(definition) for definition in registry.definitions()}
    return [one for one in getattr(flow, "definitions", (flow,)) if str(one.definition) not in ours]


@dataclass(frozen=True)
class _Asked:
    """What somebody wants to have tried."""

    modes: tuple[Mode, ...]
    steps: frozenset[str] | None
    survives: frozenset[str]
    late: frozenset[str]

    @classmethod
    def of(
        cls,
        modes: Collection[Mode],
        steps: Collection[str] | None,
        survives: Collection[str],
        late: Collection[str],
    ) -> _Asked:
        """Take it as it was given; a mode that there isn't is refused."""
        only = None if steps is None else frozenset(steps)
        return cls(tuple(map(Mode, modes)), only, frozenset(survives), frozenset(late))

    @property
    def named(self) -> frozenset[str]:
        """All steps that somebody names."""
        return (self.steps or frozenset()) | self.survives | self.late


@dataclass
class _Sweep:
    """A sweep on its way."""

    bench: Bench
    temporal: Temporal
    asked: _Asked
    began: float
    cells: dict[tuple[str, Mode], Cell] = field(default_factory=dict)
    left: dict[tuple[str, str, str], tuple[Case, Any]] = field(default_factory=dict)
    runs: int = 0

    async def run(self) -> Coverage:
        """Run it without faults first, and then with each."""
        try:
            first, trial, fresh, clean = await self._clean(self.bench.cache)
        except Exception as error:
            return self._table([], [f"{_FIRST}: {told(error)}"])
        policy = _policy(self.bench.flow)
        found = steps_of(first, trial, self.bench.worker.registry, policy)
        wrong = self._guards(first, found, fresh, clean)
        if not self.asked.modes or self.asked.steps == frozenset():
            wrong.append(
                "modes or steps are empty, so that nothing would be tried: leave them out, or name some"
            )
        chosen = [step for step in found if self.asked.steps is None or step.name in self.asked.steps]
        known = [step.name for step in found]
        wanted = {Place(name): () for name in self.asked.named}
        if not wrong:
            refuse_unknown(wanted, known)
            by_name = {step.name: step for step in found}
            skips = self.temporal.skips_time
            planning = Planning(by_name, policy, skips, self.asked.survives, self.asked.late)
            wrong += [
                "its policy, or its pivot, waits for an operator: give one, or sweep it on the time-skipping server"
            ] * (planning.waits and self.bench.operator is None)
            if not wrong:
                by_hand = frozenset(
                    name for name, leaf in leaves_of(first.report).items() if leaf.undo is not None
                )
                wrong = await self._all(planning, Expected(by_name, policy, clean, by_hand), chosen)
        return self._table([step.name for step in chosen], wrong)

    def _table(self, steps: Sequence[str], wrong: Sequence[str]) -> Coverage:
        seconds = time.monotonic() - self.began
        flow = _name(self.bench.flow)
        return Coverage(flow, steps, self.asked.modes, self.cells, wrong, self.runs, seconds)

    async def _clean(self, cache: int) -> tuple[Ran, Trial, Fresh, Any]:
        async with self.bench.fresh() as fresh:
            self.runs += 1
            ran, trial = await self.bench.alone(fresh, {}, cache=cache, sandbox=True)
            return ran, trial, fresh, await self.bench.look(fresh.deps)

    def _guards(self, ran: Ran, steps: Sequence[Step], fresh: Fresh, clean: Any) -> list[str]:
        """Say why the sweep would show nothing."""
        if ran.state != "completed":
            return [f"without faults it ended {ran.state}: {ran.failure}"]
        if not steps:
            return ["it has no steps"]
        if fresh.before == clean:
            return ["`world` shows no difference after a run without faults, so it would show no leak"]
        return []

    async def _all(self, planning: Planning, expected: Expected, chosen: Sequence[Step]) -> list[str]:
        """Try everything; what isn't as it must be stands in the cells."""
        wrong = await self._again(expected)
        if wrong:
            return wrong
        async with asyncio.TaskGroup() as group:
            for one in self._runs(planning, expected, chosen):
                group.create_task(one)
        for case, line in not_alone(planning, self.left):
            self._note(case, [line], runs=0)
        return []

    def _runs(
        self, planning: Planning, expected: Expected, chosen: Sequence[Step]
    ) -> Iterator[Coroutine[Any, Any, None]]:
        """Give what fills the cells; those that don't apply are filled."""
        for mode in self.asked.modes:
            if mode in RESETS:
                yield self._reset(planning, expected, mode, chosen)
                continue
            for step in chosen:
                found = cases(planning, step, mode)
                if isinstance(found, str):
                    self.cells[step.name, mode] = Cell("not applicable", why=(found,))
                else:
                    yield from (self._case(expected, case) for case in found)

    async def _again(self, expected: Expected) -> list[str]:
        """Run it without faults once more, in a world of its own, replaying it in each task; say what differs."""
        try:
            _, _, _, clean = await self._clean(cache=0)
        except Exception as error:
            return [f"{_FIRST}, the second time: {told(error)}"]
        return [*difference(expected.clean, clean, _TWICE)]

    async def _case(self, expected: Expected, case: Case) -> None:
        try:
            found, reached = await self._tried(expected, case)
        except (
            Exception
        ) as error:  # such as a `world` that can't look at what a bug has left: the others go on
            found, reached = [told(error)], len(case.faults) == 1
        self._note(case, found, reached=reached)

    async def _tried(self, expected: Expected, case: Case) -> tuple[list[str], bool]:
        async with self.bench.fresh() as fresh:
            self.runs += 1
            if case.mode is Mode.REPLAYED:
                ran, trial = await self.bench.alone(fresh, case.faults, cache=0)
            else:
                ran, trial = await self.bench.run(fresh, case.faults, replace=case.mode in RESTARTS)
            found = list(problems(expected, case, ran, trial))  # before `undo` calls more
            found += await self._world(expected, case, ran, fresh)
            return found, not trial.missed

    async def _world(self, expected: Expected, case: Case, ran: Ran, fresh: Fresh) -> list[str]:
        """Compare the world with what it must be after such an end; what is stuck is undone first."""
        if ran.state == "stuck" and case.mode is Mode.UNDO_FAILS:
            self.left[case.step, *case.cause] = case, await self.bench.look(fresh.deps)
        if ran.state == "kept" or case.leaves:
            return []
        if ran.state == "stuck":
            try:
                await undo(self.bench.worker.client, ran.handle.id, task_queue=self.bench.worker.task_queue)
            except WorkflowFailureError as error:
                return [f"`undo` of what was stuck failed: {Failure.of(error.cause)}"]
        now = await self.bench.look(fresh.deps)
        if ran.state == "completed":
            return [*difference(expected.clean, now, _CLEAN)]
        return [*difference(fresh.before, now, _BEFORE)]

    def _note(self, case: Case, found: Sequence[str], *, runs: int = 1, reached: bool = True) -> None:
        for step in (case.step, *case.others):
            before = self.cells.get((step, case.mode), Cell("held"))
            why = (*before.why, *(f"({case.name}) {line}" for line in found))
            status: Status = "broken" if why else "held"
            reached, crowded = before.reached and reached, before.crowded or case.crowded
            self.cells[step, case.mode] = Cell(status, before.runs + runs, why, reached, crowded)

    async def _reset(
        self, planning: Planning, expected: Expected, mode: Mode, chosen: Sequence[Step]
    ) -> None:
        names = [step.name for step in chosen]
        faults = {} if mode is Mode.RESET_COMPLETED else _unwinding(planning)
        if self.temporal.skips_time or faults is None:
            why = (
                _NO_RESET
                if self.temporal.skips_time
                else Cell("not applicable", why=("nothing in it is undone",))
            )
            self.cells |= {(name, mode): why for name in names}
            return
        undone = mode is Mode.RESET_UNWOUND or bool(expected.by_hand)
        once = {name: planning.after_failure(step) for name, step in expected.steps.items() if step.once}
        after = After(refused=undone, world=None if once else expected.clean, lost=once)
        try:
            self.runs += 1
            async for step, cell, tried in resets(self.bench, faults, names, after):
                self.runs += tried
                self.cells[step, mode] = cell
        except Exception as error:  # of the run that was to be reset, or of its world
            broken = Cell("broken", 1, (told(error),))
            untried = [name for name in names if (name, mode) not in self.cells]
            self.cells |= {(name, mode): broken for name in untried or names}


def _unwinding(planning: Planning) -> Mapping[Place, Any] | None:
    """Give what makes the flow unwind as much as can be."""
    for step in reversed(list(planning.steps.values())):
        triggers = planning.triggers(step) if step.undoable else []
        if triggers:
            failing, fault = triggers[-1]
            return {Place(failing.name): (fault,)}
    return None


def _policy(flow: Any) -> Policy:
    found = getattr(getattr(flow, "flow", flow), "policy", None)
    return found if isinstance(found, Policy) else Policy()


def _name(flow: Any) -> str:
    return str(getattr(getattr(flow, "flow", flow), "definition", flow))
