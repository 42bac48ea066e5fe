"""What must be true afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from temporalio.client import Client
from temporalio.service import RPCError

from activities import Status
from counterstep.reports import Report, fetch_report
from tests.chaos.store import Store

KEEPS = ("completed",)
UNDOES = ("rolled_back", "cancelled")


@dataclass
class Verdict:
    """What became of the runs.

    Attributes:
        ends: how many ended how.
        wrong: what must not be, a line each.
    """

    ends: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def add(self, report: Report[Any, Any], id: str, effects: dict[str, bool]) -> None:
        """Compare a run's report with what was really done."""
        state = report.run.state if report.run else "lost"
        self.ends[state] += 1
        steps = [
            step for step in report.walk() if str(step.definition) == "change@1.0.0" and not step.is_flow
        ]
        done = {s.step for s in steps if s.outcome is Status.DONE}
        there = {step for step, is_there in effects.items() if is_there}
        left = {s.step for s in steps if s.outcome is Status.DONE and not _undone(s)}
        if state not in (*KEEPS, *UNDOES):
            self.wrong.append(f"{id}: ended as {state}")
        if state in UNDOES and there:
            self.wrong.append(f"{id}: {state}, and {sorted(there)} is still there")
        if not done <= set(effects):
            self.wrong.append(f"{id}: reported as done, and never was: {sorted(done - set(effects))}")
        if left != there:
            self.wrong.append(
                f"{id}: the report says that {sorted(left)} is there, and it is {sorted(there)}"
            )


def _undone(step: Report[Any, Any]) -> bool:
    return step.undo is not None and step.undo.outcome in (Status.DONE, Status.SKIPPED)


async def verdict(client: Client, ids: Iterable[str], open_: set[str], store: Store) -> Verdict:
    """Look at all runs."""
    effects, found = store.effects(), Verdict(wrong=store.wrong())
    found.wrong += [f"{id}: still open" for id in sorted(open_)]
    for id in ids:
        if id in open_:
            continue
        try:
            report = await fetch_report(client, id)
        except RPCError as error:
            found.wrong.append(f"{id}: lost: {error}")
        else:
            found.add(report, id, effects.get(id, {}))
    return found
