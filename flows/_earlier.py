"""Answers of the run that this one goes on from: a call that succeeded there isn't made again."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from activities import Definition, InvalidInput
from counterstep.reports import ExecutionSeries, Report, report_id
from flows._declaration import Declaration
from flows._resume import Taken
from flows._run import Run
from flows._undo import UndoRecord

if TYPE_CHECKING:
    from flows._scope import Scope

AnyReport = Report[Any, Any]


def take(run: Run, digest: str, series: tuple[str, int] | None = None) -> Taken | None:
    """Take out the newest step of the earlier run that an equal call left: a success first.

    A member of a series may answer a plain call, but runs again only as that member.
    """
    found = run.taken.get(digest, [])
    mine = [taken for taken in found if taken.header.series == series]
    left = [taken for taken in (mine if series else found) if taken.answers] or mine
    if not left:
        return None
    found.remove(left[-1])
    return left[-1]


def left_of(run: Run, taken: Taken) -> list[UndoRecord]:
    """Take out what may have to be undone of a step of the earlier run, or of a child flow's steps."""
    if taken.flow:
        return left_inside(run, taken.flow)
    return [run.taken_records.pop(taken.step)] if taken.step in run.taken_records else []


def left_inside(run: Run, namespace: str) -> list[UndoRecord]:
    """Take out what may have to be undone of a child flow's steps in the earlier run."""
    names = [name for name in run.taken_records if name.startswith(f"{namespace}/")]
    return [run.taken_records.pop(name) for name in names]


def resuming(run: Run, flow: Declaration, taken: Taken | None) -> dict[str, Any]:
    """Say how a child goes on that an earlier run began: from its run, or else anew, under names of its own.

    What it left stays with this run: until the child says that it took it over, or for good where it runs anew.
    """
    if taken is None:
        return {}
    if taken.run is not None and resumable(flow):
        return {"resume_from": taken.run, "again": again_of(taken.flow)}
    left = any(name.startswith(f"{taken.flow}/") for name in run.taken_records)
    return {"again": again_of(taken.flow) + left}


def again_of(namespace: str) -> int:
    """Give how often a flow had run again, by the namespace that its steps had."""
    count = namespace.rpartition("~")[2] if "~" in namespace else "1"
    return int(count) - 1


def resumable(flow: Any) -> bool:
    """Whether a flow can go on from an earlier run: a plain sequence, whose calls are answered one by one."""
    return bool(getattr(flow, "_inline", False))


def answered_by(
    scope: Scope, called: Declaration, input: Any, digest: str, taken: Taken | None
) -> AnyReport | None:
    """Answer a call with what was taken out, if it succeeded and its output still fits; its effect is now this scope's."""
    if taken is None or not taken.answers:
        return None
    status, output = taken.answer
    try:
        result = tuple(called.output.load_value(value, taken.step) for value in output)
    except InvalidInput:
        return None
    run = scope.run
    scope.records += left_of(run, taken)
    report = replace(_report(run, taken, called.definition), input=input, result=result)
    scope.children.append(lambda: report)
    run.calls.add(digest, report)
    run.settled(taken.step, status)
    return report


def _report(run: Run, taken: Taken, definition: Definition) -> AnyReport:
    header, finished = taken.header, taken.timestamp and datetime.fromisoformat(taken.timestamp)
    return Report(
        id=report_id(run.identity(taken.step, header)),
        definition=definition,
        step=taken.step,
        input=taken.input,
        outcome=taken.answer[0],
        timestamp=finished or None,
        finished=finished or None,
        skipped=taken.skipped,
        execution_series=ExecutionSeries(*header.series) if header.series else None,
        key=taken.key,
        is_flow=bool(taken.flow),
        answered_from=(header.workflow or run.info.workflow_id, header.origin or header.run),
    )
