"""Everything that can be wrong with a plan is found before its first step runs, and told at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from activities import Operation, OperationNotFound, Registry
from activities._definition import malformed
from activities._json import Json
from activities._schema import Schema
from flows._declaration import Declaration
from flows._errors import refusal
from flows._fit import misfits
from flows._frozen import frozen
from flows._kinds import clashes
from flows._outputs import Declared, kinds, lacking
from flows._pivot import pivot_problems
from flows._plan import (
    ConstantStep,
    FlowStep,
    OperationStep,
    Plan,
    PlanStep,
    SubsagaStep,
)
from flows._plan_shape import Unread, linked, shape_problems
from flows._template import Ref, refs, settled
from flows._undo import UndoSpec

_OTHERS = {
    "operation": "a flow; name an operation",
    "flow": "an operation; name a flow, or make it an operation step",
}


def complete(plan: Plan, registry: Registry, problems: Iterable[str], unread: Unread) -> Plan:
    """Resolve a plan's operations and fill in their options, with all that is wrong told at once.

    Args:
        plan: as built, or as somebody typed it; templates well formed.
        registry: that operations are resolved in.
        problems: what is known to be wrong already.
        unread: steps in which that is, in the plan or not; what only follows from it isn't told too.

    Returns:
        The plan, with edges added where inputs refer to outputs.

    Raises:
        InvalidPlan: one message, a line for each mistake.
    """
    found = list(problems)
    declared: dict[str, Declaration] = {}
    bare = linked(plan)
    steps = tuple(
        _complete(step, registry, declared, found, unread.get(step.name, ())) for step in bare.steps
    )
    whole = bare.model_copy(update={"steps": steps})
    found += [f"the plan: {wrong}" for wrong in malformed(plan.id, plan.version)]
    found += [*shape_problems(whole, unread), *pivot_problems(whole, unread)]
    by_name = {s.name: s for s in steps if {"kind", "result"}.isdisjoint(unread.get(s.name, ()))}
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
            if ref.step in steps and not isinstance(steps[ref.step], ConstantStep):
                yield (
                    f"{step.name}: input: refers to {ref.step}, which may have failed; "
                    'with on_failure="continue" no step gets the output of another'
                )


def _complete(
    step: PlanStep,
    registry: Registry,
    declared: dict[str, Declaration],
    found: list[str],
    unread: Collection[str],
) -> PlanStep:
    if isinstance(step, ConstantStep):
        return step.model_copy(update={"value": frozen(step.value)})
    if not isinstance(step, (OperationStep, FlowStep)):
        return step
    entry = None if step.kind in unread else _looked_up(step, registry, found)
    if entry is not None:
        declared[step.name] = entry
    if isinstance(step, FlowStep):
        return step if entry is None else _filled_flow(step, entry)
    whole = step if entry is None else _filled(step, entry)
    found += [f"{step.name}: {wrong}" for wrong in (*_undo(step, entry, unread), *_options(whole, entry))]
    return whole


def _looked_up(step: OperationStep | FlowStep, registry: Registry, found: list[str]) -> Any:
    """Give a step's operation or flow; ``None`` when there is none."""
    name = step.flow if isinstance(step, FlowStep) else step.operation
    try:
        entry = registry.retrieve(name)
    except OperationNotFound as error:
        found.append(f"{step.name}: {step.kind}: {error.message}")
        return None
    if isinstance(entry, Operation) == isinstance(step, OperationStep):
        return entry
    found.append(f"{step.name}: {step.kind}: {name} is {_OTHERS[step.kind]}")
    return None


def _filled_flow(step: FlowStep, flow: Declaration) -> FlowStep:
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


def _undo(step: OperationStep, op: Operation[Any, Any] | None, unread: Collection[str]) -> Iterator[str]:
    unsure = step.no_undo or step.pivot or {"no_undo", "pivot"}.intersection(unread)
    if op is not None and op.undo_handler is None and not unsure:
        yield f"undo: {op.definition} has none; declare one, or say no_undo"
    elif step.undo is not None and step.no_undo:
        yield "undo: given, and no_undo too; leave one of them out"
    elif op is None or step.undo is None:
        return
    elif op.undo_handler is None or step.undo.type != op.undo_name:
        yield f"undo: {step.undo.type!r} isn't that of {op.definition}; leave it out, and it is filled in"


def _options(step: OperationStep, op: Operation[Any, Any] | None) -> Iterator[str]:
    """Find options that contradict each other; the step is filled in, unless its operation isn't known."""
    retries_input = op is not None and op.retry_input_handler is not None
    if step.timeout is not None and step.timeout <= timedelta(0):
        yield "timeout: must be above zero"
    if step.local and (step.task_queue or step.at_most_once or retries_input):
        yield "local: a local step has no task_queue, no at_most_once and no retry_input; leave it out"
    if step.at_most_once and step.retry is not None and step.retry.max_attempts != 1:
        yield "retry: an at_most_once step is never tried again; leave it out"


def _step_problems(step: PlanStep, steps: Mapping[str, PlanStep], declared: Declared) -> Iterator[str]:
    """Find references to what isn't there, and templates that can't fit."""
    if isinstance(step, (OperationStep, FlowStep)):
        wrong = [line for ref in refs(step.input) for line in _reference(ref, steps, declared)]
        if step.name in declared:
            wrong += _unfit(step.input, declared[step.name].input, steps, declared)
        yield from (f"{step.name}: input: {line}" for line in dict.fromkeys(wrong))


def _unfit(
    template: Json, schema: Schema[Any], steps: Mapping[str, PlanStep], declared: Declared
) -> Iterator[str]:
    constants = {
        ref.step: target.value
        for ref in refs(template)
        if isinstance(target := steps.get(ref.step), ConstantStep)
    }
    template = settled(template, constants)
    yield from misfits(template, schema)
    yield from clashes(template, schema.core, lambda ref: kinds(_target(ref, steps), ref.path, declared))


def _reference(ref: Ref, steps: Mapping[str, PlanStep], declared: Declared) -> Iterator[str]:
    target = _target(ref, steps)
    if isinstance(target, SubsagaStep):
        if target.result is None:
            yield f"refers to {ref.step}, a subsaga without a result; let its builder return a step"
        return
    wrong = lacking(target, ref, declared)
    if wrong is not None:
        yield f"refers to {'.'.join(map(str, (ref.step, *ref.path)))}, and {wrong}"


def _target(ref: Ref, steps: Mapping[str, PlanStep]) -> PlanStep | None:
    """Give the step whose output a reference means: for a subsaga that of its result, if it has one."""
    target = steps.get(ref.step)
    for _ in steps:  # typed results may go in a circle
        if not isinstance(target, SubsagaStep) or target.result is None:
            break
        target = steps.get(target.result)
    return target
