"""What a saga's recorded plan says of a run: its edges, and the local steps that a terminate left no trace of. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from graphlib import TopologicalSorter
from typing import Any, TypeVar

from pydantic_core import to_json

from activities import Status
from activities._json import Json
from activities._settled import never_settled
from activities._wire import StepHeader, Verdict
from counterstep.reports import RunHistory, StepHistory
from flows._carry import Carried
from flows._plan import ConstantStep, FlowStep, OperationStep, Plan, PlanStep, SubsagaStep, WaitStep
from flows._resolved import Resolved
from flows._resume import Taken, TakenOver
from flows._root import Root
from flows._template import fill
from flows._undo import NotUndone

T = TypeVar("T")
_CUT_OFF = ("terminated", "timed_out")


def all_plans_of(run: RunHistory) -> list[tuple[str, Plan]]:
    """Give every plan that a run recorded, with the path of its steps: its own, and those of sagas inline in it."""
    own = plan_of(run)
    inline = [(one.path, Plan.model_validate(one.plan)) for one in run.inline]
    return inline if own is None else [("", own), *inline]


def plans_of(runs: Sequence[RunHistory]) -> list[Plan]:
    """Give the recorded plans of runs, equal ones once, the newest last."""
    plans: dict[bytes, Plan] = {}
    for run in runs:
        if (plan := plan_of(run)) is not None:
            plans.setdefault(to_json(plan.to_json()), plan)
    return list(plans.values())


def plan_of(run: RunHistory) -> Plan | None:
    """Give a run's recorded plan, if it has one: its own, or that of the run before it."""
    carried = Carried.unpack(run.input)
    if carried is not None:
        return carried.planned()
    recorded = Resolved.model_validate(run.resolved or {})
    return recorded.unpacked() if recorded.plan else None


class Untraced:
    """The local steps of a run that was cut off: those that were ready may have run, and left no trace."""

    def __init__(self, run: RunHistory, plan: Plan, path: str = "") -> None:
        """Take a run, its plan, or that of a saga inline in it, and the path of that plan's steps."""
        self._run, self._path = run, path
        self._steps: dict[str, PlanStep] = {step.name: step for step in plan.steps}
        self._continues = plan.policy.on_failure == "continue"
        self._traces = dict(self._mine((step.header.key, step.step, step) for step in run.forward()))
        self._answers = dict(self._mine(_answers(run)))
        carried = Carried.unpack(run.input)
        self._carried = carried or Carried(plan="", origin=run.origin, began=run.started)
        self._outputs = {step.step: step.output for step in self._carried.steps()}
        self._outputs |= {name: (output,) for name, output in self._carried.outputs.items()}
        self._outputs |= {name: trace.settled.output for name, trace in self._traces.items()}
        done = (child for child in run.child_runs if child.status == "completed")
        self._flows = dict(self._mine((child.key, child.step, child.result) for child in done))
        self._outputs |= {**self._answers, **self._flows}

    def _mine(self, named: Iterable[tuple[str | None, str, T]]) -> Iterator[tuple[str, T]]:
        """Give what is of this plan, by the names in it: an inline saga's steps have theirs as their keys."""
        for key, step, value in named:
            name = key if self._path and key and key.startswith(self._path) else step
            if name.startswith(self._path):
                yield name.removeprefix(self._path), value

    def find(self) -> Iterator[Taken | NotUndone]:
        """Give each as ``unknown``; or why it can't be undone, if its input isn't known either."""
        if self._run.status not in _CUT_OFF or self._unwinding:
            return
        ended = {*self._carried.ended, *self._answers}
        for name in TopologicalSorter(
            {name: step.after for name, step in self._steps.items()}
        ).static_order():
            step = self._steps[name]
            if name in ended or not ended.issuperset(step.after):
                continue
            if self._may_have_run(step):
                yield self._unknown(step)
                ended.add(name)
            elif self._may_have_ended(step):
                ended.add(name)

    @property
    def _unwinding(self) -> bool:
        """Whether the run was unwinding: what was in flight had settled before."""
        undos = [s.last for s in self._run.steps if s.is_undo and s.step.startswith(self._path)]
        if self._carried.phase == "unwinding":
            return True
        return bool(undos) and max(undos) > max((step.last for step in self._traces.values()), default=0)

    def _may_have_run(self, step: PlanStep) -> bool:
        """Whether an execution may be missing from the history: a step's first, or one after a failed attempt."""
        if not isinstance(step, OperationStep) or not step.local:
            return False
        trace, limit = self._traces.get(step.name), step.retry.max_attempts if step.retry else 1
        if trace is None:
            return True
        again = trace.settled.again is not None and trace.settled.status is Status.FAILED
        return again and (not limit or trace.verdict.failures < limit)

    def _may_have_ended(self, step: PlanStep) -> bool:
        if isinstance(step, OperationStep):
            trace = self._traces.get(step.name)
            goes_on = self._continues and trace is not None and not trace.open
            return trace is not None and (_ended_well(trace) or self._skipped(step) or goes_on)
        if isinstance(step, FlowStep):
            return step.name in self._flows or self._skipped(step)
        return not isinstance(step, WaitStep) or self._path + step.name in self._run.timers

    def _skipped(self, step: PlanStep) -> bool:
        return self._path + step.name in self._run.skips

    def _unknown(self, step: PlanStep) -> Taken | NotUndone:
        assert isinstance(step, OperationStep)
        name = self._path + step.name
        try:
            data = fill(step.input, self._output)
        except LookupError as error:
            reason = f"it may have run when the run was {self._run.status}, and its input isn't known: {error.args[0]}"
            return NotUndone(name, step.operation, reason)
        trace = self._traces.get(step.name)
        settled = never_settled(trace.verdict if trace else Verdict())
        return Taken(
            step=name,
            digest="",
            definition=step.operation,
            input=data,
            status=settled.status,
            verdict=settled.verdict.to_json(),
            header=self._header(step),
        )

    def _header(self, step: OperationStep) -> StepHeader:
        """Make the header that the step was sent with: its undo has the same key."""
        leg, root = self._carried.leg, self._run.root
        own = {"workflow": self._run.workflow_id, "origin": self._carried.origin}
        about: dict[str, Any] = dict(Root.model_validate(root).header() if root else own)
        return StepHeader(run="", **about, leg=leg.number if leg else 0, no_undo=step.undo is None)

    def _output(self, name: str) -> Json:
        step = self._steps[name]
        while isinstance(step, SubsagaStep) and step.result is not None:
            step = self._steps[step.result]
        if isinstance(step, ConstantStep):
            return step.value
        if not self._outputs.get(step.name):
            raise LookupError(f"it needs the output of {name}, which isn't recorded")
        return self._outputs[step.name][0]


def _answers(run: RunHistory) -> Iterator[tuple[str | None, str, tuple[Json, ...]]]:
    """Give the outputs of steps that a run needn't run, since the one that it went on from did."""
    earlier = TakenOver.model_validate(run.earlier or {})
    return ((taken.key, taken.step, taken.answer[1]) for taken in earlier.steps if taken.answers)


def _ended_well(trace: StepHistory) -> bool:
    return trace.settled.status in (Status.DONE, Status.SKIPPED)
