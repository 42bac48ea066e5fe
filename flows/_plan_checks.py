"""Everything that can be wrong with a plan is found before its first step runs, and told at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from activities import Definition, DefinitionError, Operation, OperationNotFound, Registry
from flows._declaration import Declaration
from flows._errors import refusal
from flows._fit import misfits
from flows._frozen import frozen
from flows._lacking import Declared, lacking
from flows._pivot import pivot_problems
from flows._plan import (
    ConstantStep,
    FlowStep,
    OperationStep,
    Plan,
    PlanStep,
    SubsagaStep,
)
from flows._plan_shape import linked, shape_problems
from flows._template import Ref, refs
from flows._undo import UndoSpec


def complete(
    plan: Plan, registry: Registry, problems: Iterable[str] = (), refused: Collection[str] = ()
) -> Plan:
    """Resolve a plan's operations and fill in their options, with all that is wrong told at once.

    Args:
        plan: as built, or as somebody typed it; templates well formed.
        registry: that operations are resolved in.
        problems: what is known to be wrong already.
        refused: names of steps that aren't in the plan because of that; what refers to them isn't wrong too.

    Returns:
        The plan, with edges added where inputs refer to outputs.

    Raises:
        InvalidPlan: one message, a line for each mistake.
    """
    found = list(problems)
    declared: dict[str, Declaration] = {}
    bare = linked(plan)
    steps = tuple(_complete(step, registry, declared, found) for step in bare.steps)
    whole = bare.model_copy(update={"steps": steps})
    found += [*_header(plan), *shape_problems(whole, refused), *pivot_problems(whole)]
    by_name = {step.name: step for step in steps}
    found += _uncertain(whole, by_name)
    found += [line for step in steps for line in _step_problems(step, by_name, declared)]
    if found:
        raise refusal(f"{plan.id}@{plan.version}", found)
    return whole


def _uncertain(plan: Plan, steps: Mapping[str, PlanStep]) -> Iterator[str]:
    """Find steps that get what another one may not have given."""
    if plan.policy.on_failure != "continue":
        return
    for step in plan.steps:
        for ref in refs(step.input) if isinstance(step, (OperationStep, FlowStep)) else ():
            if not isinstance(steps.get(ref.step), ConstantStep):
                yield (
                    f"{step.name}: input: refers to {ref.step}, which may have failed; "
                    'with on_failure="continue" no step gets the output of another'
                )


def _header(plan: Plan) -> Iterator[str]:
    try:
        Definition(plan.id, plan.version)
    except DefinitionError as error:
        yield f"the plan: {error.message}"


def _complete(
    step: PlanStep, registry: Registry, declared: dict[str, Declaration], found: list[str]
) -> PlanStep:
    if isinstance(step, ConstantStep):
        return step.model_copy(update={"value": frozen(step.value)})
    if isinstance(step, FlowStep):
        return _complete_flow(step, registry, declared, found)
    if not isinstance(step, OperationStep):
        return step
    try:
        op = registry.retrieve(step.operation)
    except OperationNotFound as error:
        found.append(f"{step.name}: operation: {error.message}")
        return step
    if not isinstance(op, Operation):
        found.append(f"{step.name}: operation: {step.operation} is a flow; name an operation")
        return step
    declared[step.name] = op
    whole = _filled(step, op)
    found += [f"{step.name}: {wrong}" for wrong in (*_undo(step, op), *_options(whole, op))]
    return whole


def _complete_flow(
    step: FlowStep, registry: Registry, declared: dict[str, Declaration], found: list[str]
) -> FlowStep:
    try:
        flow: Any = registry.retrieve(step.flow)
    except OperationNotFound as error:
        found.append(f"{step.name}: flow: {error.message}")
        return step
    if isinstance(flow, Operation):
        found.append(
            f"{step.name}: flow: {step.flow} is an operation; name a flow, or make it an operation step"
        )
        return step
    declared[step.name] = flow
    text = step.description or flow.definition.description
    return step.model_copy(
        update={"flow": str(flow.definition), "input": frozen(step.input), "description": text}
    )


def _filled(step: OperationStep, op: Operation[Any, Any]) -> OperationStep:
    """Fill in what a step leaves to its operation."""
    return step.model_copy(
        update={
            "operation": str(op.definition),
            "input": frozen(step.input),
            "description": step.description or op.definition.description,
            "timeout": op.timeout if step.timeout is None else step.timeout,
            "retry": step.retry or op.retry,
            "local": op.placement == "local" if step.local is None else step.local,
            "task_queue": step.task_queue or op.task_queue,
            "at_most_once": op.at_most_once if step.at_most_once is None else step.at_most_once,
            "undo": None if step.no_undo else step.undo or UndoSpec.of(op),
        }
    )


def _undo(step: OperationStep, op: Operation[Any, Any]) -> Iterator[str]:
    if op.undo_handler is None and not (step.no_undo or step.pivot):
        yield f"undo: {op.definition} has none; declare one, or say no_undo"
    elif step.undo is not None and step.no_undo:
        yield "undo: given, and no_undo too; leave one of them out"
    elif step.undo is not None and (op.undo_handler is None or step.undo.type != op.undo_name):
        yield f"undo: {step.undo.type!r} isn't that of {op.definition}; leave it out, and it is filled in"


def _options(step: OperationStep, op: Operation[Any, Any]) -> Iterator[str]:
    """Find options that contradict each other; the step is filled in."""
    if step.timeout is not None and step.timeout <= timedelta(0):
        yield "timeout: must be above zero"
    if step.local and (step.task_queue or step.at_most_once or op.retry_input_handler):
        yield "local: a local step has no task_queue, no at_most_once and no retry_input; leave it out"
    if step.at_most_once and step.retry is not None and step.retry.max_attempts != 1:
        yield "retry: an at_most_once step is never tried again; leave it out"


def _step_problems(step: PlanStep, steps: Mapping[str, PlanStep], declared: Declared) -> Iterator[str]:
    """Find references to what isn't there, and templates that can't fit."""
    if isinstance(step, (OperationStep, FlowStep)):
        wrong = [line for ref in refs(step.input) for line in _reference(ref, steps, declared)]
        if step.name in declared:
            wrong += misfits(step.input, declared[step.name].input)
        yield from (f"{step.name}: input: {line}" for line in dict.fromkeys(wrong))


def _reference(ref: Ref, steps: Mapping[str, PlanStep], declared: Declared) -> Iterator[str]:
    target = steps.get(ref.step)
    for _ in steps:  # typed results may go in a circle
        if not isinstance(target, SubsagaStep):
            break
        if target.result is None:
            yield f"refers to {ref.step}, a subsaga without a result; let its builder return a step"
            return
        target = steps.get(target.result)
    wrong = lacking(target, ref, declared)
    if wrong is not None:
        yield f"refers to {'.'.join(map(str, (ref.step, *ref.path)))}, and {wrong}"
