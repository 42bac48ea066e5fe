"""What a saga's recorded plan says of a run: its edges, and the local steps that a terminate left no trace of. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from graphlib import TopologicalSorter

from pydantic_core import to_json

from activities import Status
from activities._json import Json
from activities._settled import never_settled
from activities._wire import StepHeader, Verdict
from counterstep.reports import RunHistory, StepHistory
from flows._carry import Carried
from flows._dispatcher import Resolved
from flows._plan import ConstantStep, FlowStep, OperationStep, Plan, PlanStep, SubsagaStep, WaitStep
from flows._resume import Taken
from flows._template import fill
from flows._undo import NotUndone

_CUT_OFF = ("terminated", "timed_out")


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

    def __init__(self, run: RunHistory, plan: Plan) -> None:
        """Take a run and its plan."""
        self._run = run
        self._steps: dict[str, PlanStep] = {step.name: step for step in plan.steps}
        self._continues = plan.policy.on_failure == "continue"
        self._traces = {step.step: step for step in run.forward()}
        carried = Carried.unpack(run.input)
        self._carried = carried or Carried(plan="", origin=run.origin, began=run.started)
        self._outputs = {step.step: step.output for step in self._carried.steps()}
        self._outputs |= {name: (output,) for name, output in self._carried.outputs.items()}
        self._outputs |= {name: trace.settled.output for name, trace in self._traces.items()}
        self._flows = {child.step: child.result for child in run.child_runs if child.status == "completed"}
        self._outputs |= self._flows

    def find(self) -> Iterator[Taken | NotUndone]:
        """Give each as ``unknown``; or why it can't be undone, if its input isn't known either."""
        if self._run.status not in _CUT_OFF or self._unwinding:
            return
        ended = set(self._carried.ended)
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
        undos = [step.last for step in self._run.steps if step.is_undo]
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
            return trace is not None and (_ended_well(trace) or step.name in self._run.skips or goes_on)
        if isinstance(step, FlowStep):
            return step.name in self._flows or step.name in self._run.skips
        return not isinstance(step, WaitStep) or step.name in self._run.timers

    def _unknown(self, step: PlanStep) -> Taken | NotUndone:
        assert isinstance(step, OperationStep)
        try:
            data = fill(step.input, self._output)
        except LookupError as error:
            reason = f"it may have run when the run was {self._run.status}, and its input isn't known: {error.args[0]}"
            return NotUndone(step.name, step.operation, reason)
        header = StepHeader(run="", workflow=self._run.workflow_id, origin=self._carried.origin)
        trace = self._traces.get(step.name)
        settled = never_settled(trace.verdict if trace else Verdict())
        return Taken(
            step=step.name,
            digest="",
            definition=step.operation,
            input=data,
            status=settled.status,
            verdict=settled.verdict.to_json(),
            header=header,
        )

    def _output(self, name: str) -> Json:
        step = self._steps[name]
        while isinstance(step, SubsagaStep) and step.result is not None:
            step = self._steps[step.result]
        if isinstance(step, ConstantStep):
            return step.value
        if not self._outputs.get(step.name):
            raise LookupError(f"it needs the output of {name}, which isn't recorded")
        return self._outputs[step.name][0]


def _ended_well(trace: StepHistory) -> bool:
    return trace.settled.status in (Status.DONE, Status.SKIPPED)
