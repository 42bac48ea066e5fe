"""The runs that one flow went on in, and the runs that undo it, joined into one. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from activities import Failure, Status
from activities._json import Json
from activities._settled import Settled
from activities._wire import StepHeader, Verdict, in_leg
from counterstep.reports._asked import APPROVAL, OURS
from counterstep.reports._run_history import UNDO, RunHistory, StepHistory


def joined(runs: Sequence[RunHistory], undoing: Iterable[RunHistory] = ()) -> RunHistory:
    """Join runs into one history.

    Args:
        runs: that the flow went on in, oldest first. What the runs before the first of them did is known from what
            they handed on, without times.
        undoing: of the workflow that undoes it, oldest first.
    """
    runs = tuple(in_legs(runs))
    first, newest = runs[0], runs[-1]
    undoing = tuple(undoing)
    if len(runs) == 1 and not first.carried and not undoing:
        return first
    moved = _in_a_row((*runs, *undoing))
    parts = moved[: len(runs)]
    steps = list(_handed_on(first))
    for part in parts:
        steps = _merged(steps, part.steps)
    for run in moved[len(runs) :]:
        in_run = (run.workflow_id, run.run_id)
        steps = _merged(steps, (replace(s, in_run=in_run) for s in run.steps if s.is_undo))
    return replace(
        newest,
        input=None if first.carried else first.input,
        started=datetime.fromisoformat(first.carried["began"]) if first.carried else first.started,
        base=first.base or newest.base,
        found=first.found,
        earlier=first.earlier,
        resolved=first.resolved or _plan_of(first),
        inline=tuple(plan for part in parts for plan in part.inline),
        steps=tuple(sorted(steps, key=lambda step: step.order)),
        clocks=tuple(timer for part in parts for timer in part.clocks),
        decisions=tuple(decision for part in parts for decision in part.decisions),
        child_runs=tuple(child for part in parts for child in part.child_runs),
        events=sum(run.events for run in runs),
        runs=tuple(run.run_id for run in runs),
        previous=first.previous,
        origin=first.flow_origin,
        undoing=undoing[-1].status if undoing else None,
    )


def _in_a_row(runs: Iterable[RunHistory]) -> list[RunHistory]:
    """Number the events of runs as if they were one history."""
    moved, offset = [], 0
    for run in runs:
        moved.append(_moved(run, offset))
        offset += run.events
    return moved


def in_legs(runs: Sequence[RunHistory]) -> Iterator[RunHistory]:
    """Name what is in the legs of a long-running operation with its leg, since each leg gives names anew."""
    legs = [(run.carried or {}).get("leg") for run in runs]
    for run, leg in zip(runs, legs, strict=True):
        yield _in_leg(run, leg.get("number", 0) if leg else 0) if any(legs) else run


def _in_leg(run: RunHistory, leg: int) -> RunHistory:
    decisions = (
        (order, replace(one, step=one.step and in_leg(one.step, leg))) for order, one in run.decisions
    )
    return replace(
        run,
        steps=tuple(replace(step, step=in_leg(step.step, leg)) for step in run.steps),
        inline=tuple(replace(one, name=in_leg(one.name, leg)) for one in run.inline),
        clocks=tuple(replace(timer, name=_timer_in_leg(timer.name, leg)) for timer in run.clocks),
        decisions=tuple(decisions),
        child_runs=tuple(replace(child, step=in_leg(child.step, leg)) for child in run.child_runs),
    )


def _timer_in_leg(name: str, leg: int) -> str:
    """Name a timer; what it says beside the name of what it is for stays."""
    if name in OURS:
        return name
    if name.startswith(APPROVAL):
        return f"{APPROVAL}{in_leg(name.removeprefix(APPROVAL), leg)}"
    return in_leg(name, leg)


def _plan_of(run: RunHistory) -> Json:
    return {"plan": run.carried.get("plan", "")} if run.carried else None


def _moved(run: RunHistory, offset: int) -> RunHistory:
    """Give a run whose orders come after those of the runs before it."""
    if not offset:
        return run
    return replace(
        run,
        steps=tuple(_step_moved(step, offset) for step in run.steps),
        inline=tuple(replace(one, order=one.order + offset) for one in run.inline),
        clocks=tuple(replace(t, order=t.order + offset, last=t.last + offset) for t in run.clocks),
        decisions=tuple((order + offset, decision) for order, decision in run.decisions),
        child_runs=tuple(replace(c, order=c.order + offset) for c in run.child_runs),
    )


def _step_moved(step: StepHistory, offset: int) -> StepHistory:
    until = None if step.until is None else step.until + offset
    before = tuple(_step_moved(one, offset) for one in step.before)
    return replace(step, order=step.order + offset, last=step.last + offset, until=until, before=before)


def _merged(before: list[StepHistory], after: Iterable[StepHistory]) -> list[StepHistory]:
    """Put the steps of a later run to those of earlier ones; the same step again is one step."""
    steps = {(step.step, step.is_undo): step for step in before}
    for step in after:
        known = steps.get((step.step, step.is_undo))
        steps[step.step, step.is_undo] = step if known is None else _again(known, step)
        undo = None if step.is_undo else steps.get((step.step, True))
        if undo is not None and undo.until is None:
            steps[step.step, True] = replace(undo, until=step.order)
    return list(steps.values())


def _again(before: StepHistory, after: StepHistory) -> StepHistory:
    if before.until is not None:
        return replace(after, before=(*before.before, replace(before, before=()), *after.before))
    failure = before.settled.failure
    return replace(
        after,
        order=before.order,
        scheduled=before.scheduled,
        attempts=before.attempts + after.attempts,
        last_failure=after.last_failure or failure,
        earlier=(*before.earlier, before.execution, *after.earlier),
        before=(*before.before, *after.before),
    )


def _handed_on(run: RunHistory) -> Iterator[StepHistory]:
    """Give the steps of runs that are gone, as the run after them was told."""
    carried = run.carried
    if not carried:
        return
    planned = {step["name"]: step for step in (run.plan or {}).get("steps", ())}
    records = {record["step"]: record for record in carried.get("records", ())}
    outputs = carried.get("outputs", {})
    order = -2 * len({**planned, **records}) - 2
    for name in dict.fromkeys((*carried.get("ended", ()), *records)):
        record = records.get(name)
        step = {"name": name, **(record or {}), **planned.get(name, {})}
        if "operation" not in step:
            continue
        order += 1
        header = _header(record or {}, carried["origin"])
        yield _kept(step, record, outputs, header, order)
        undo = record and _undo_kept(step, record, header)
        if undo:
            yield undo


def _header(record: dict[str, Json], origin: str) -> StepHeader:
    """Give a step's header; most say nothing but where the flow began, and aren't handed on."""
    return StepHeader.model_validate({"run": origin, "origin": origin, **record.get("header", {})})


def _kept(
    step: dict[str, Json], record: dict[str, Json] | None, outputs: Json, header: StepHeader, order: int
) -> StepHistory:
    if record is None:
        output = (outputs[step["name"]],) if step["name"] in outputs else ()
        settled = Settled(Status.DONE, output=output)
    else:
        settled = Settled(
            Status(record.get("status", "done")),
            Verdict.from_json(record.get("verdict", {})),
            tuple(record.get("output", ())),
            error=_error(record.get("failure")),
        )
    args = _input(record or {})
    return StepHistory(step["name"], step["operation"], header, args, None, order, settled, open=False)


def _input(record: dict[str, Json]) -> tuple[Json, ...]:
    return (record["input"],) if "input" in record else ()


def _undo_kept(step: dict[str, Json], record: dict[str, Json], header: StepHeader) -> StepHistory | None:
    failure = _error(record.get("undoing"))
    if not record.get("undone") and failure is None:
        return None
    settled = Settled(Status.DONE) if record.get("undone") else Settled(Status.FAILED, error=failure)
    kind = f"{step['operation']}{UNDO}"
    return StepHistory(step["name"], kind, header, _input(record), None, -1, settled, open=False)


def _error(failure: Json) -> BaseException | None:
    return None if failure is None else Failure.model_validate(failure).as_error()
