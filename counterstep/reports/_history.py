"""A flow's history as a report tree. Pure: the same history gives the same report, byte for byte."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Any

from activities import Definition, DefinitionError, Failure, Status
from activities._spans import Spot, Trace, flow_span, step_spot
from activities._wire import Identity, StepHeader, without_leg
from counterstep.reports._asked import Asked
from counterstep.reports._nest import Leaf, definition_in, earlier_name, grafted, names_in, nested
from counterstep.reports._report import (
    ExecutionSeries,
    Kind,
    Planned,
    Report,
    RunInfo,
    report_id,
)
from counterstep.reports._run_history import OPEN, ChildHistory, RunHistory, StepHistory
from counterstep.reports._standing import waiting_of
from counterstep.reports._state import state_of
from counterstep.reports._waits import waits_of
from counterstep.reports._words import UNRESOLVED

AnyReport = Report[Any, Any]
_HIDDEN = ("counterstep-claim",)


def report_of(run: RunHistory, namespace: str, children: Mapping[str, AnyReport] | None = None) -> AnyReport:
    """Make the report of a flow.

    Args:
        run: as read from its history, or from several that were joined.
        namespace: a part of report ids.
        children: reports of its child runs, by the run id that it knows.
    """
    return _Making(run, namespace, children or {}).report()


class _Making:
    """The report of one flow on its way."""

    def __init__(self, run: RunHistory, namespace: str, children: Mapping[str, AnyReport]) -> None:
        self._run, self._namespace, self._children = run, namespace, children
        self._asked = Asked(run)
        self._plan = planned(run.plan or {})
        self._inline = {one.name: planned(one.plan, one.path) for one in run.inline}
        self._alone: dict[str, AnyReport] = {}
        self._undos: dict[str, AnyReport] = {}

    def report(self) -> AnyReport:
        run, ended = self._run, not self._run.is_open
        leaves = self._leaves()
        return Report(
            id=self._id(""),
            definition=self._own_definition(),
            step="",
            input=run.input,
            outcome=(Status.DONE if run.status == "completed" else Status.FAILED) if ended else None,
            timestamp=run.finished if ended else None,
            error=Failure.of(run.failure) if run.failure else _closed_by(run),
            children=nested(
                run, leaves, (self._plan, self._inline), self._id, self._own_definition().version
            ),
            scheduled=run.started,
            started=run.started,
            finished=run.finished if ended else None,
            is_flow=True,
            delays=self._asked.at_deadline,
            decisions=self._asked.of_run,
            run=self._info(leaves),
            plan=self._plan,
            result=run.result,
            spot=self._spot(),
        )

    def _id(self, step: str) -> str:
        """Give the id of what has no header: a child flow's is that of its place in the flow that all began with."""
        run, root = self._run, self._run.root or {}
        identity = Identity(
            namespace=self._namespace,
            workflow=root.get("workflow_id", run.workflow_id),
            origin=root.get("origin", run.flow_origin),
            step=f"{root.get('path', '')}{step}".removesuffix("/"),
        )
        return report_id(identity)

    def _spot(self) -> Spot:
        """Give where the flow's own span stands."""
        run, root = self._run, self._run.root or {}
        whole = (root.get("workflow_id", run.workflow_id), root.get("origin", run.flow_origin))
        trace = run.trace or Trace.derived(self._namespace, *whole)
        span = flow_span(self._namespace, run.workflow_id, run.flow_origin)
        return Spot(trace.id, span, trace.parent, trace.sampled, trace.part)

    def _own_definition(self) -> Definition:
        plan = self._run.plan
        return definition_of(self._run.workflow_type) if plan is None else definition_in(plan)

    def _leaves(self) -> list[Leaf]:
        """Give everything that isn't an inline flow, in the order of first events; undos of other runs last."""
        run = self._run
        found = [*self._taken_over()]
        found += [Leaf(step.order, step.header.flows, self._step(step)) for step in run.forward()]
        known = {leaf.report.step for leaf in found}
        alone = {s.step: s for s in run.steps if s.is_undo and s.step not in known}
        self._undos = {name: self._step(step) for name, step in alone.items()}
        self._alone = dict(self._undos)
        whole = (*self._plan, *(step for steps in self._inline.values() for step in steps))
        found += [Leaf(order, (), report) for order, report in waits_of(run, self._id, self._asked, whole)]
        found += [
            Leaf(child.order, child.flows, self._child(child, name, until))
            for name, child, until in self._children_named()
        ]
        found.sort(key=lambda leaf: leaf.order)
        return [*found, *(Leaf(alone[n].order, alone[n].header.flows, r) for n, r in self._alone.items())]

    def _step(self, step: StepHistory) -> AnyReport:
        settled, header = step.settled, step.header
        identity = self._identity(step)
        undone = identity.model_copy(update={"step": f"{identity.step}.undo"}) if step.is_undo else identity
        report: AnyReport = Report(
            id=report_id(undone),
            definition=definition_of(step.type, "" if step.is_undo else step.summary),
            step=step.step,
            input=step.args[0] if step.args else None,
            outcome=None if step.open and self._is_open(step) else settled.status,
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
            last_failure=step.last_failure,
            earlier=step.earlier,
            in_run=step.in_run,
            result=settled.output,
            spot=step_spot(identity, header, undo=step.is_undo),
        )
        report = self._asked.told(report, step)
        return report if step.is_undo else self._with_own_undos(report)

    def _with_own_undos(self, report: AnyReport) -> AnyReport:
        """Give a step's report with its undos: the one of what is in place, and those of its earlier executions."""
        undos = self._run.undos_of(report.step)
        if not undos:
            return report
        told = [self._step(undo) for undo in undos]
        told = [replace(one, spot=one.spot and one.spot.later(at)) for at, one in enumerate(told)]
        undo = told.pop() if undos[-1].until is None else None
        return replace(report, undo=undo, earlier_undos=tuple(told))

    def _is_open(self, step: StepHistory) -> bool:
        """Whether the run that a step is of goes on."""
        status = self._run.undoing if step.in_run else self._run.status
        return status in OPEN

    def _identity(self, step: StepHistory) -> Identity:
        header = step.header
        return Identity(
            namespace=self._namespace,
            workflow=header.workflow or self._run.workflow_id,
            origin=header.origin or self._run.flow_origin,
            leg=header.leg,
            step=header.path + without_leg(step.step),
        )

    def _children_named(self) -> Iterator[tuple[str, ChildHistory, int | None]]:
        """Give the child runs with their names and the order of the next; the last one has its step's name."""
        runs = [child for child in self._run.child_runs if child.type not in _HIDDEN]
        orders: dict[str, list[int]] = {}
        for child in runs:
            orders.setdefault(child.step, []).append(child.order)
        met: Counter[str] = Counter()
        for child in runs:
            met[child.step] += 1
            number = met[child.step]
            until = next(iter(orders[child.step][number:]), None)
            yield (child.step if until is None else earlier_name(child.step, number)), child, until

    def _child(self, child: ChildHistory, name: str, until: int | None) -> AnyReport:
        """Give the report of a child run: its own, if its history is there, or what the parent knows; and what was asked."""
        own = self._children.get(child.run_id or "")
        if own is not None:
            own = replace(own, step=name, kind=Kind.CHILD, scheduled=child.scheduled, key=child.key)
            return self._with_undos(self._asked.told_of_child(own, child, until), child)
        return self._asked.told_of_child(self._child_from_here(child, name), child, until)

    def _child_from_here(self, child: ChildHistory, name: str) -> AnyReport:
        ended = child.status != "running"
        return Report(
            id=report_id(
                Identity(
                    namespace=self._namespace,
                    workflow=child.workflow_id,
                    origin=child.run_id or "",
                    step="",
                )
            ),
            definition=definition_of(child.type),
            step=name,
            input=child.input,
            outcome=(Status.DONE if child.status == "completed" else Status.FAILED) if ended else None,
            timestamp=child.finished,
            error=Failure.of(child.failure) if child.failure else _not_completed(child.status),
            scheduled=child.scheduled,
            started=child.started,
            finished=child.finished,
            is_flow=True,
            kind=Kind.CHILD,
            result=child.result,
            spot=self._child_spot(child),
        )

    def _child_spot(self, child: ChildHistory) -> Spot:
        """Give where the span of a child run stands, as far as its parent knows."""
        own, span = self._spot(), flow_span(self._namespace, child.workflow_id, child.run_id or "")
        trace = Trace(own.trace).in_part(child.part)
        return Spot(trace, span, own.span, own.sampled, child.part)

    def _with_undos(self, own: AnyReport, child: ChildHistory) -> AnyReport:
        """Give a child's report with the undos of its steps that this run did."""
        path = self._path_of(child)
        by = (self._run.workflow_id, self._run.run_id)
        return own if path is None else grafted(own, path, self._alone, by)

    def _path_of(self, child: ChildHistory) -> str | None:
        """Give what this run's names of a child's steps begin with, if it is a child flow."""
        name = without_leg(child.step)
        namespace = replace(child, step=name).flow_of(self._run.workflow_id)
        return None if namespace is None else f"{child.step.removesuffix(name)}{namespace}/"

    def _taken_over(self) -> Iterator[Leaf]:
        """Give the steps of an earlier run that are this run's own now, and weren't run or taken over by a child here."""
        run, again = self._run, {step.step for step in self._run.forward()}
        for child in run.child_runs:
            own, path = self._children.get(child.run_id or ""), self._path_of(child)
            again |= {child.step, *(names_in(own, path) if own and path else ())}
        for taken in (run.earlier or {}).get("steps", ()):
            if taken["step"] not in again:
                header = StepHeader.model_validate(taken["header"])
                report = self._with_own_undos(_taken(taken, header, self._namespace))
                yield Leaf(0, header.flows, report)

    def _info(self, leaves: list[Leaf]) -> RunInfo:
        run, found = self._run, self._run.found
        ref = (found["ref"]["workflow_id"], found["origin"]) if found and "ref" in found else None
        reports = {leaf.report.step: leaf.report for leaf in leaves}
        return RunInfo(
            namespace=self._namespace,
            workflow_id=run.workflow_id,
            run_id=run.run_id,
            origin=run.flow_origin,
            workflow_type=run.workflow_type,
            status="running" if run.status == "continued_as_new" else run.status,
            state=state_of(run, self._asked),
            events=run.events,
            runs=run.runs or (run.run_id,),
            reset_from=run.base,
            resumed_from=ref,
            undoing=run.undoing,
            waiting=tuple(waiting_of(run, self._asked, reports, self._undos, self._own_definition())),
        )


def _taken(taken: dict[str, Any], header: StepHeader, namespace: str) -> AnyReport:
    step, workflow, origin = taken["step"], str(header.workflow), str(header.origin)
    ended = taken["timestamp"] and datetime.fromisoformat(taken["timestamp"])
    given = taken.get("given")  # with an operator's skip
    return Report(
        id=report_id(
            Identity(namespace=namespace, workflow=workflow, origin=origin, leg=header.leg, step=step)
        ),
        definition=definition_of(taken["definition"], taken["description"]),
        step=step,
        input=taken["input"],
        outcome=Status(taken["status"]) if given is None else Status.SKIPPED,
        timestamp=ended or None,
        execution_series=ExecutionSeries(*header.series) if header.series else None,
        key=taken["key"],
        finished=ended or None,
        skipped=taken["skipped"],
        answered_from=(workflow, origin),
        is_flow=bool(taken["flow"]),
        kind=Kind.CHILD if taken["flow"] else Kind.OPERATION,
        result=tuple(taken["output"] if given is None else given),
    )


def planned(plan: Mapping[str, Any], path: str = "") -> tuple[Planned, ...]:
    """Give the steps of a recorded plan, from its JSON, as they are named under a path."""
    return tuple(
        Planned(
            name=path + step["name"],
            kind=step.get("kind", "operation"),
            after=tuple(path + before for before in step.get("after", ())),
            operation=step.get("operation"),
            pivot=bool(step.get("pivot")),
            undoable=step.get("undo") is not None,
        )
        for step in plan.get("steps", ())
    )


@lru_cache(1024)
def definition_of(name: str, description: str = "") -> Definition:
    """Read an activity or workflow type; one that isn't ours, such as a bare id, keeps its text."""
    try:
        found = Definition.parse(name.removesuffix("/undo"))
    except DefinitionError:
        return Definition(*UNRESOLVED, name)
    return replace(found, description=description)


def _closed_by(run: RunHistory) -> Failure | None:
    return None if run.is_open else _not_completed(run.status)


def _not_completed(status: str) -> Failure | None:
    if status in ("running", "completed"):
        return None
    said = "the run was cancelled" if status == "canceled" else f"Temporal closed the run: {status}"
    return Failure(type=status, message=said)
