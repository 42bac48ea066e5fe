"""A saga inside a sequence, inline: its plan is recorded in the sequence's history, and interpreted under its path."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from activities import Definition
from activities._json import Json, size
from activities._schema import Schema
from activities._wire import Verdict
from counterstep.reports import Report
from flows._calls import call_digest
from flows._child import ChildSpec
from flows._earlier import answered_by, resuming, take
from flows._executing import Spec, bounded
from flows._handed import in_a_row, spliced
from flows._inline import run_inline
from flows._interpreter import Interpreter
from flows._packed import LIMIT
from flows._recorded import Recorded
from flows._resolved import plan_inline
from flows._resume import Taken
from flows._saga import Saga
from flows._scope import Options, Scope
from flows._step import wait_for

AnyReport = Report[Any, Any]


async def execute_saga_inline(at: Scope, saga: Saga[Any, Any], input: Any, options: Options) -> AnyReport:
    """Execute a saga inline, or answer from an equal call.

    Raises:
        SequenceFailed: with its report, after it was unwound by its own policy; also when it can't be planned.
        InvalidInput, NotSerializable: before anything is scheduled.
        DefinitionError: when its policy has a deadline.
    """
    who = f"{at.path}{saga.definition}: input"
    data = bounded(saga.input.dump(input, who), who)
    digest = call_digest("flow", str(saga.definition), data, options.key)

    async def new() -> AnyReport:
        typed = saga.input.load_value(data, who)
        report = await run_inline(at, saga, typed, options, lambda inner: _interpreted(inner, saga, data))
        at.run.calls.add(digest, report)
        return report

    return await (new() if options.force else at.once(digest, new, local=True))


async def _interpreted(inner: Scope, saga: Saga[Any, Any], data: Json) -> Any:
    """Run the saga's plan under its scope, by the policy that is recorded in it."""
    plan = Recorded(await _planned(inner, saga, data))
    inner.policy = plan.head.policy
    result = await Interpreter(inner, plan, carry_out=_Steps(inner).carry_out).run()
    return saga.output.load_value(result, f"{saga.definition}: result")


async def _planned(inner: Scope, saga: Saga[Any, Any], data: Json) -> str:
    """Have the plan made, at the gate that every step passes; a cancel meanwhile counts afterwards."""
    gate, sent = inner.run.gate, size(data)
    await gate.ready(LIMIT, local=True)
    name = inner.path.removesuffix("/")
    making = asyncio.create_task(plan_inline(name, str(saga.definition), data))
    gate.begun(making, lambda: None)
    cancelled = await wait_for([making])
    made = "" if making.cancelled() or making.exception() else making.result()
    gate.recorded(making, LIMIT, sent + len(made))
    if cancelled:
        raise asyncio.CancelledError(f"cancelled while {name} was planned")
    return making.result()


@dataclass(frozen=True)
class _Steps:
    """Runs a plan's steps in a sequence: the earlier run that it goes on from may have the answer.

    There is one call for each step, whatever equals it: the step's name in the plan is its key.
    """

    scope: Scope
    names: dict[str, str] = field(default_factory=dict)

    async def carry_out(self, spec: Spec | ChildSpec) -> AnyReport:
        """Run a step, unless it was done before.

        Raises:
            HistoryLimit: when unwinding needs what is left of the history.
            OperationFailed, SequenceFailed: when it fails.
        """
        run = self.scope.run
        kind = "operation" if isinstance(spec, Spec) else "flow"
        digest = call_digest(kind, str(spec.definition), spec.data, spec.name)
        taken = take(run, digest)
        answered = answered_by(self.scope, _Called(spec.definition), spec.data, digest, taken)
        if taken is not None and answered is not None:
            self._join(spec.name, taken)
            return answered
        run.room()
        name = taken.step if taken else self.names.get(spec.name) or run.names.give("", spec.name)
        self.names[spec.name] = name  # an operator may have it run again
        self._rename(spec.name, name)
        if isinstance(spec, ChildSpec):
            again = resuming(run, _Called(spec.definition), taken)
            return await self.scope.carry_out(replace(spec, name=name, key=spec.name, **again))
        return await self.scope.carry_on(self._operation(spec, name, taken), taken)

    def _operation(self, spec: Spec, name: str, taken: Taken | None) -> Spec:
        """Give a step under its key, which knows what the earlier run knew of it."""
        mine = {"key": spec.name, "pivot": spec.header.pivot, "no_undo": spec.header.no_undo}
        header = self.scope.taken_header(Options(), taken) if taken else spec.header
        carried = taken.carried if taken else Verdict()
        return replace(spec, name=name, header=header.model_copy(update=mine), carried=carried)

    def _join(self, planned: str, taken: Taken) -> None:
        """Put what the earlier run did for a step in its place among the edges, also a child flow's steps."""
        self._rename(planned, taken.step)
        if taken.flow and self.scope.graph is not None:
            inner = [r.step for r in self.scope.records if r.step.startswith(f"{taken.flow}/")]
            self.scope.graph = spliced(self.scope.graph, taken.step, in_a_row(inner))

    def _rename(self, planned: str, name: str) -> None:
        """Give a step another name than the plan does: an earlier run left one of that name with another input."""
        graph, run = self.scope.graph or {}, self.scope.run
        if name == planned:
            return
        run.planned.pop(planned, None)
        self.scope.graph = {
            name if step == planned else step: tuple(name if b == planned else b for b in befores)
            for step, befores in graph.items()
        }


@dataclass(frozen=True)
class _Called:
    """A step's operation or flow, of which a plan knows no types."""

    definition: Definition
    _inline: ClassVar[bool] = True  # what couldn't go on from an earlier run isn't offered by one
    input: Schema[Any] = Schema(Any)
    output: Schema[Any] = Schema(Any)
