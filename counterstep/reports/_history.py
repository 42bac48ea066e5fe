"""A run's history as a report tree. Pure: the same history gives the same report, byte for byte."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from temporalio.client import Client

from activities import Definition, DefinitionError, Failure, Status
from activities._wire import Identity, StepHeader
from counterstep.reports._events import RunHistory, StepHistory, fetch_events, read_run
from counterstep.reports._report import ExecutionSeries, Report, report_id

AnyReport = Report[Any, Any]


async def fetch_report(client: Client, workflow_id: str, run_id: str | None = None) -> AnyReport:
    """Make the report of a run from its history; no worker is needed.

    Args:
        client: reads the history; its codec decodes it.
        workflow_id: of the run.
        run_id: the newest run unless given.

    Returns:
        The report of the flow, its steps as children.

    Raises:
        temporalio.service.RPCError: NOT_FOUND when there is no such run.
    """
    return report_of(read_run(workflow_id, await fetch_events(client, workflow_id, run_id)), client.namespace)


def report_of(run: RunHistory, namespace: str) -> AnyReport:
    """Make the report of a run.

    Args:
        run: as read from its history.
        namespace: a part of report ids.
    """
    taken = [(report, header) for report, header in _taken_over(run, namespace)]
    reports = [report for report, _ in taken] + [_step(run, step, namespace) for step in run.forward()]
    flows = {report.step: header.flows for report, header in taken}
    flows |= {step.step: step.header.flows for step in run.forward()}
    alone = (step for step in run.steps if step.is_undo and step.step not in flows)  # it undoes another run
    ended = run.status != "running"
    return Report(
        id=report_id(Identity(namespace=namespace, workflow=run.workflow_id, origin=run.origin, step="")),
        definition=_definition(run.workflow_type),
        step="",
        input=run.input,
        outcome=(Status.DONE if run.status == "completed" else Status.FAILED) if ended else None,
        timestamp=run.finished,
        error=Failure.of(run.failure) if run.failure else _closed_by(run),
        children=(
            *_nest(run, namespace, reports, flows, ""),
            *(_step(run, step, namespace) for step in alone),
        ),
        scheduled=run.started,
        started=run.started,
        finished=run.finished,
        is_flow=True,
        result=run.result,
    )


def _step(run: RunHistory, step: StepHistory, namespace: str) -> AnyReport:
    settled, header = step.settled, step.header
    undo = None if step.is_undo else run.undo_of(step.step)
    report: AnyReport = Report(
        id=report_id(_identity(run, step, namespace)),
        definition=_definition(step.type),
        step=step.step,
        input=step.args[0] if step.args else None,
        outcome=None if step.open and run.status == "running" else settled.status,
        timestamp=step.finished,
        error=settled.failure,
        execution_series=ExecutionSeries(*header.series) if header.series else None,
        key=header.key,
        scheduled=step.scheduled,
        started=step.started,
        finished=step.finished,
        attempts=step.attempts,
        worker=step.worker,
        skipped=settled.skipped,
        saved=settled.verdict.saved,
        errors=settled.verdict.errors,
        metadata=settled.verdict.metadata,
        result=settled.output,
    )
    return report if undo is None else replace(report, undo=_step(run, undo, namespace))


def _taken_over(run: RunHistory, namespace: str) -> Iterator[tuple[AnyReport, StepHeader]]:
    """Give the steps of an earlier run that are this run's own now, and weren't run again here."""
    again = {step.step for step in run.forward()}
    for taken in (run.earlier or {}).get("steps", ()):
        if taken["step"] not in again:
            header = StepHeader.model_validate(taken["header"])
            undo = run.undo_of(taken["step"])
            report = _taken(taken, header, namespace)
            yield (report if undo is None else replace(report, undo=_step(run, undo, namespace))), header


def _taken(taken: dict[str, Any], header: StepHeader, namespace: str) -> AnyReport:
    step, workflow, origin = taken["step"], str(header.workflow), str(header.origin)
    ended = taken["timestamp"] and datetime.fromisoformat(taken["timestamp"])
    return Report(
        id=report_id(
            Identity(namespace=namespace, workflow=workflow, origin=origin, leg=header.leg, step=step)
        ),
        definition=replace(_definition(taken["definition"]), description=taken["description"]),
        step=step,
        input=taken["input"],
        outcome=Status(taken["status"]),
        timestamp=ended or None,
        execution_series=ExecutionSeries(*header.series) if header.series else None,
        key=taken["key"],
        finished=ended or None,
        skipped=taken["skipped"],
        answered_from=(workflow, origin),
        result=tuple(taken["output"]),
    )


def _identity(run: RunHistory, step: StepHistory, namespace: str) -> Identity:
    header = step.header
    return Identity(
        namespace=namespace,
        workflow=header.workflow or run.workflow_id,
        origin=header.origin or run.origin,
        leg=header.leg,
        step=f"{step.step}.undo" if step.is_undo else step.step,
    )


def _nest(
    run: RunHistory, namespace: str, reports: list[AnyReport], flows: dict[str, tuple[str, ...]], path: str
) -> tuple[AnyReport, ...]:
    """Put steps under the inline flows that their names tell of, in the order of their first events."""
    depth = path.count("/")
    nested: dict[str, AnyReport] = {}
    for report in reports:
        name, slash, _ = report.step[len(path) :].partition("/")
        if not slash:
            nested[report.step] = report
        elif path + name not in nested:
            inside = [r for r in reports if r.step.startswith(f"{path}{name}/")]
            children = _nest(run, namespace, inside, flows, f"{path}{name}/")
            around = flows[report.step][depth:]
            nested[path + name] = _inline(run, namespace, path + name, next(iter(around), name), children)
    return tuple(nested.values())


def _inline(
    run: RunHistory, namespace: str, name: str, definition: str, children: tuple[AnyReport, ...]
) -> AnyReport:
    """Make the report of an inline flow, which leaves no event of its own: input and output are unknown."""
    failed = next((child for child in children if child.outcome in (Status.FAILED, Status.UNKNOWN)), None)
    ended = all(child.outcome is not None for child in children)
    last = max((child.finished for child in children if child.finished), default=None)
    return Report(
        id=report_id(Identity(namespace=namespace, workflow=run.workflow_id, origin=run.origin, step=name)),
        definition=_definition(definition),
        step=name,
        input=None,
        outcome=(Status.FAILED if failed else Status.DONE) if ended else None,
        timestamp=last if ended else None,
        error=failed.error if failed else None,
        children=children,
        scheduled=children[0].scheduled,
        started=children[0].started,
        finished=last if ended else None,
        is_flow=True,
    )


def _definition(name: str) -> Definition:
    """Read an activity or workflow type; one that isn't ours, such as a bare id, keeps its text."""
    try:
        return Definition.parse(name.removesuffix("/undo"))
    except DefinitionError:
        return Definition("unresolved", "0.0.0", name)


def _closed_by(run: RunHistory) -> Failure | None:
    if run.status in ("running", "completed", "continued_as_new"):
        return None
    return Failure(type=run.status, message=f"Temporal closed the run: {run.status}")
