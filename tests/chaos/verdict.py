"""What must be true afterwards.

Reports equal what was really done, step by step, the undo of a step taken as a step:

- what the report says is there is there, and nothing else; after an undo nothing is;
- a call of a handler is an attempt that the report counts: never more calls than attempts. Where a step was
  cancelled while no worker had it, history doesn't tell of its attempts, and the report counts fewer;
- an attempt that called nothing, or whose call didn't come to its end, was lost. So a step that ``failed`` has
  none of them: as many calls as attempts, each at its end. One that is done had at least one call at its end;
- what is there was called for, and what was taken back too; and no call is of a step that the report doesn't have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from temporalio.client import Client
from temporalio.service import RPCError

from activities import Status
from counterstep.reports import Report, fetch_report
from tests.chaos.store import Calls, Store

KEEPS = ("completed",)
UNDOES = ("rolled_back", "cancelled")
StepCalls = Mapping[tuple[str, str], Calls]


@dataclass
class Verdict:
    """What became of the runs.

    Attributes:
        ends: how many ended how.
        wrong: what must not be, a line each.
        open_from_to: when each run was open.
        attempts: that the reports count.
        calls: of handlers.
        ended: of those, how many came to their end.
    """

    ends: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    open_from_to: list[tuple[datetime, datetime]] = field(default_factory=list)
    attempts: int = 0
    calls: int = 0
    ended: int = 0

    def add(self, report: Report[Any, Any], id: str, effects: dict[str, bool], calls: StepCalls) -> None:
        """Compare a run's report with what was really done."""
        state = report.run.state if report.run else "lost"
        self.ends[state] += 1
        steps = {
            (step.step, what): told
            for step in report.walk()
            if str(step.definition) == "change@1.0.0" and not step.is_flow
            for what, told in (("do", step), ("undo", step.undo))
            if told is not None
        }
        self._count(steps.values(), calls.values())
        found = [*_of_effects(state, steps, effects), *_of_calls(steps, effects, calls)]
        self.wrong += [f"{id}: {line}" for line in found]

    def _count(self, told: Iterable[Report[Any, Any]], calls: Iterable[Calls]) -> None:
        self.attempts += sum(one.attempts or 0 for one in told)
        for one in calls:
            self.calls, self.ended = self.calls + one.begun, self.ended + one.ended

    @property
    def most_open(self) -> int:
        """The most runs that were open at once, by the server's own times."""
        changes = sorted(
            [(end, -1) for _, end in self.open_from_to] + [(start, 1) for start, _ in self.open_from_to]
        )
        now = most = 0
        for _, change in changes:
            now += change
            most = max(most, now)
        return most


def _of_effects(
    state: str, steps: Mapping[tuple[str, str], Report[Any, Any]], effects: dict[str, bool]
) -> Iterator[str]:
    done = {step for (step, what), told in steps.items() if what == "do" and told.outcome is Status.DONE}
    gone = {
        step
        for (step, what), told in steps.items()
        if what == "undo" and told.outcome in (Status.DONE, Status.SKIPPED)
    }
    there = {step for step, is_there in effects.items() if is_there}
    if state not in (*KEEPS, *UNDOES):
        yield f"ended as {state}"
    if state in UNDOES and there:
        yield f"{state}, and {sorted(there)} is still there"
    if not done <= set(effects):
        yield f"reported as done, and never was: {sorted(done - set(effects))}"
    if done - gone != there:
        yield f"the report says that {sorted(done - gone)} is there, and it is {sorted(there)}"


def _of_calls(
    steps: Mapping[tuple[str, str], Report[Any, Any]], effects: dict[str, bool], calls: StepCalls
) -> Iterator[str]:
    for step, is_there in effects.items():
        what = "do" if is_there else "undo"
        if (step, what) not in calls:
            yield f"{step} {'is there' if is_there else 'is undone'}, and nothing was called for it"
    for step, what in calls.keys() - steps.keys():
        yield f"{step}: {what} was called, and the report doesn't have it"
    for place, told in steps.items():
        yield from (f"{': '.join(place)}: {line}" for line in disagreements(told, calls.get(place, Calls())))


def disagreements(told: Report[Any, Any], called: Calls) -> Iterator[str]:
    """Say where a step's report, or its undo's, and the calls of its handler don't agree."""
    attempts = told.attempts or 0
    if called.begun > attempts and not _untold(told):
        yield f"{called.begun} calls, and {attempts} attempts reported"
    if told.outcome is Status.FAILED and not attempts <= called.begun == called.ended:
        yield f"failed, and of {attempts} attempts {called.begun} called, {called.ended} to the end"
    if told.outcome is Status.DONE and not called.ended:
        yield f"done, and none of {called.begun} calls came to its end"


def _untold(told: Report[Any, Any]) -> bool:
    """Whether it was asked for, and history tells of no attempt: a cancel found it with no worker."""
    earlier = [one.attempts for one in told.earlier]
    return 0 in (*earlier, (told.attempts or 0) - sum(earlier))


async def verdict(client: Client, ids: Iterable[str], open_: set[str], store: Store) -> Verdict:
    """Look at all runs."""
    effects, calls, found = store.effects(), store.calls(), Verdict(wrong=store.wrong())
    found.wrong += [f"{id}: still open" for id in sorted(open_)]
    for id in ids:
        try:
            described = await client.get_workflow_handle(id).describe()
            end = described.close_time or datetime.now(tz=UTC)
            found.open_from_to.append((described.start_time, end))
            if id not in open_:
                report = await fetch_report(client, id)
                found.add(report, id, effects.get(id, {}), calls.get(id, {}))
        except RPCError as error:
            found.wrong.append(f"{id}: lost: {error}")
    return found
