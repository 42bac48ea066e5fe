"""A saga inside a sequence, inline: its plan is recorded in the sequence's history, and interpreted under its path."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from activities import Definition
from activities._schema import Schema
from counterstep.reports import Report
from flows._calls import call_digest
from flows._child import ChildSpec, again_of
from flows._earlier import answered_by, left_of, newest
from flows._executing import Spec, bounded
from flows._inline import run_inline
from flows._interpreter import Interpreter
from flows._recorded import Recorded
from flows._resolved import resolve
from flows._resume import Taken
from flows._saga import Saga
from flows._scope import Options, Scope

AnyReport = Report[Any, Any]


async def execute_saga_inline(at: Scope, saga: Saga[Any, Any], input: Any, options: Options) -> AnyReport:
    """Execute a saga inline, or answer from an equal call.

    Raises:
        SequenceFailed: with its report, after it was unwound by its own policy.
        ApplicationError: ``InvalidPlan``, when it can't be planned.
    """
    who = f"{at.path}{saga.definition}: input"
    data = bounded(saga.input.dump(input, who), who)
    digest = call_digest("flow", str(saga.definition), data, options.key)

    async def new() -> AnyReport:
        typed = saga.input.load_value(data, who)
        report = await run_inline(at, saga, typed, options, lambda inner: _interpreted(inner, saga, data))
        at.run.calls.add(digest, report)
        return report

    return await (new() if options.force else at.once(digest, new))


async def _interpreted(inner: Scope, saga: Saga[Any, Any], data: Any) -> Any:
    plan = Recorded((await resolve(str(saga.definition), [{"json": data}])).text)
    steps = _Steps(inner)
    return saga.output.load_value(
        await Interpreter(inner, plan, carry_out=steps.carry_out).run(), f"{saga.definition}: result"
    )


@dataclass(frozen=True)
class _Steps:
    """Runs a plan's steps in a sequence: the earlier run that it goes on from may have the answer.

    There is one call for each step, whatever equals it: the step's name is its key.
    """

    scope: Scope

    async def carry_out(self, spec: Spec | ChildSpec) -> AnyReport:
        """Run a step, unless it was done before.

        Raises:
            HistoryLimit: when unwinding needs what is left of the history.
            OperationFailed, SequenceFailed: when it fails.
        """
        kind = "operation" if isinstance(spec, Spec) else "flow"
        run, digest = self.scope.run, call_digest(kind, str(spec.definition), spec.data, spec.name)
        taken = newest(run, digest, None)
        if taken is not None:
            run.taken[digest].remove(taken)
            called = _Called(spec.definition)
            if taken.answers and (answered := answered_by(self.scope, called, spec.data, digest, taken)):
                return answered
            left_of(run, taken)
        run.room()
        return await self.scope.carry_out(self._keyed(spec, taken))

    def _keyed(self, spec: Spec | ChildSpec, taken: Taken | None) -> Spec | ChildSpec:
        if isinstance(spec, ChildSpec):
            again = again_of(taken.flow) if taken else spec.again
            return replace(spec, key=spec.name, resume_from=taken.run if taken else None, again=again)
        if taken is None:
            return replace(spec, header=spec.header.model_copy(update={"key": spec.name}))
        header = self.scope.taken_header(Options(key=spec.name), taken)
        return replace(spec, header=header, carried=taken.carried)


@dataclass(frozen=True)
class _Called:
    """A step's operation or flow, of which a plan knows no types."""

    definition: Definition
    input: Schema[Any] = Schema(Any)
    output: Schema[Any] = Schema(Any)
