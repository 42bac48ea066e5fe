"""Durable waits and approvals, which are timers and updates in the history, as reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from activities import Definition, Failure, Status
from counterstep.reports._asked import AGAIN, APPROVAL, OURS, Asked
from counterstep.reports._report import Decision, Kind, Planned, Report
from counterstep.reports._run_history import HELD, PARKED, RunHistory, TimerHistory
from counterstep.reports._words import INTERRUPTED

AnyReport = Report[Any, Any]
Id = Callable[[str], str]
_ENDS = ("approve", "reject", "skip")


def waits_of(
    run: RunHistory, id_of: Id, asked: Asked, plan: tuple[Planned, ...]
) -> Iterator[tuple[int, AnyReport]]:
    """Give the waits and approvals of a run, each with its order.

    An approval without a timeout leaves nothing behind until it is decided; a saga's is known from its plan.
    """
    making = _Making(run, id_of, asked, plan)
    yield from making.waits()
    yield from making.approvals()


class _Making:
    def __init__(self, run: RunHistory, id_of: Id, asked: Asked, plan: tuple[Planned, ...]) -> None:
        self._run, self._id, self._asked = run, id_of, asked
        self._plan = {step.name: step for step in plan}
        self._taken = {step.step for step in run.forward()}

    def waits(self) -> Iterator[tuple[int, AnyReport]]:
        found: dict[str, list[TimerHistory]] = {}
        for timer in self._run.clocks:
            if _is_wait(timer.name):
                again = timer.name in found and self._goes_on(timer.name)
                name = timer.name if again else self._own(timer.name or "timer")
                found.setdefault(name, []).append(timer)
        for name, timers in found.items():
            yield timers[0].order, self._wait(name, timers)

    def _goes_on(self, name: str) -> bool:
        """Whether a second timer of a name is the rest of the first: a saga's names are unique."""
        return name in self._plan

    def _wait(self, name: str, timers: list[TimerHistory]) -> AnyReport:
        first, last = timers[0], timers[-1]
        values = {"input": {"seconds": first.duration.total_seconds()}, "scheduled": first.started}
        return self._made(name, Kind.WAIT, **values, **self._ended(last))

    def _ended(self, timer: TimerHistory) -> dict[str, Any]:
        if timer.fired:
            return {"outcome": Status.DONE, "finished": timer.ended}
        if timer.ended is None and self._run.is_open:
            return {}
        finished = timer.ended or self._run.finished
        return {"outcome": Status.SKIPPED, "skipped": INTERRUPTED, "finished": finished}

    def approvals(self) -> Iterator[tuple[int, AnyReport]]:
        timers: dict[str, list[TimerHistory]] = {}
        for timer in self._run.clocks:
            if timer.name.startswith(APPROVAL):
                timers.setdefault(timer.name.removeprefix(APPROVAL), []).append(timer)
        planned = [step.name for step in self._plan.values() if step.kind == "approval"]
        for name in dict.fromkeys((*timers, *self._asked.of_approvals, *planned)):
            yield from self._named(name, timers.get(name, []), self._asked.of_approvals.get(name, []))

    def _named(
        self, name: str, timers: list[TimerHistory], decisions: list[tuple[int, Decision]]
    ) -> Iterator[tuple[int, AnyReport]]:
        """Give the approvals of one name, one after the other; a saga's is one, whatever its timers."""
        began = self._began(name)
        if name in self._plan:
            if began is not None or timers or decisions:
                order = min([t.order for t in timers] + [o for o, _ in decisions], default=10**9)
                yield order, self._of_saga(name, timers[0].started if timers else began, timers)
            return
        left = list(decisions)
        for timer in timers:
            mine = next(
                (d for d in left if timer.order < d[0] and (not timer.last or d[0] < timer.last)), None
            )
            if mine is not None:
                left.remove(mine)
            decision = mine[1] if mine else None
            yield timer.order, self._approval(self._own(name), timer.started, timer, decision)
        for order, decision in left:
            yield order, self._approval(self._own(name), None, None, decision)

    def _of_saga(self, name: str, began: datetime | None, timers: list[TimerHistory]) -> AnyReport:
        """Give the approval of a saga, which may have been held, and have waited again."""
        decisions, delays = self._asked.of_approval(name)
        again = max((order for order, one in decisions if one.action == "retry"), default=0)
        timer = next((timer for timer in reversed(timers) if timer.order > again), None)
        ends = [one for order, one in decisions if order > again and one.action in _ENDS]
        report = self._approval(name, began, timer, ends[-1] if ends else None)
        return replace(report, decisions=tuple(one for _, one in decisions), delays=delays)

    def _began(self, name: str) -> datetime | None:
        """Give when a saga's approval began to wait: once all that it comes after had ended."""
        step = self._plan.get(name)
        if step is None or not step.after:
            return self._planned(name) if step else None
        ends = {s.step: s.finished for s in self._run.forward() if not s.open}
        times = [ends.get(before) for before in step.after]
        known = [time for time in times if time is not None]
        return max(known) if known and len(known) == len(times) and not self._run.unwinding else None

    def _planned(self, name: str) -> datetime:
        """Give when the plan began that a name is of: the run's own, or that of a saga inline in it."""
        inline = (one.recorded for one in self._run.inline if name.startswith(one.path))
        return next(inline, self._run.started)

    def _approval(
        self, name: str, began: datetime | None, timer: TimerHistory | None, decision: Decision | None
    ) -> AnyReport:
        values: dict[str, Any] = {"scheduled": began}
        if timer is not None:
            values["input"] = {"seconds": timer.duration.total_seconds()}
        if decision is not None:
            values |= _decided(name, decision)
        elif timer is not None and timer.fired:
            values |= _nobody(name, timer)
        elif not self._run.is_open or (timer is not None and timer.ended is not None):
            finished = (timer and timer.ended) or self._run.finished
            values |= {"outcome": Status.SKIPPED, "skipped": INTERRUPTED, "finished": finished}
        return self._made(name, Kind.APPROVAL, **values)

    def _own(self, name: str) -> str:
        """Give a name that no other step or wait has."""
        own, count = name, 1
        while own in self._taken and own not in self._plan:
            count += 1
            own = f"{name}.{count}"
        self._taken.add(own)
        return own

    def _made(self, name: str, kind: Kind, **values: Any) -> AnyReport:
        values.setdefault("input", None)
        return Report(
            id=self._id(name),
            definition=Definition(kind.value, "1.0.0"),
            step=name,
            kind=kind,
            timestamp=values.get("finished"),
            started=values.get("scheduled"),
            **values,
        )


def _is_wait(name: str) -> bool:
    ours = name in OURS or name.startswith(APPROVAL)
    return not ours and not name.endswith((AGAIN, HELD, PARKED))


def _decided(name: str, decision: Decision) -> dict[str, Any]:
    told = {"name": name, "by": decision.by, "reason": decision.reason}
    told = {key: value for key, value in told.items() if value is not None}
    values: dict[str, Any] = {"finished": decision.at, "decisions": (decision,)}
    if decision.action == "approve":
        return {**values, "outcome": Status.DONE, "result": (told,)}
    if decision.action == "skip":
        return {
            **values,
            "outcome": Status.SKIPPED,
            "skipped": f"skipped{decision}",
            "result": decision.value,
        }
    error = Failure(type="ApprovalRejected", message=f"approval {name!r} rejected{decision}")
    return {**values, "outcome": Status.FAILED, "error": error}


def _nobody(name: str, timer: TimerHistory) -> dict[str, Any]:
    message = f"approval {name!r}: nobody decided within {timer.duration}"
    error = Failure(type="ApprovalTimedOut", message=message)
    return {"outcome": Status.FAILED, "error": error, "finished": timer.ended}
