"""Everything that can be wrong with a plan is found before its first step runs, and told at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin, get_type_hints

from pydantic import BaseModel, TypeAdapter, ValidationError

from activities import Operation, OperationNotFound, Registry
from activities._failure import describe
from activities._json import Json
from flows._errors import InvalidPlan
from flows._pivot import pivot_problems
from flows._plan import ConstantStep, OperationStep, Plan, PlanStep, SubsagaStep
from flows._template import LITERAL, REF, Ref, refs
from flows._undo import UndoSpec


def complete(plan: Plan, registry: Registry, problems: list[str]) -> Plan:
    """Resolve a plan's operations and fill in their options, with all that is wrong told at once.

    Args:
        plan: as built, or as somebody typed it.
        registry: that operations are resolved in.
        problems: what is known to be wrong already.

    Returns:
        The plan, with edges added where inputs refer to outputs.

    Raises:
        InvalidPlan: one message, a line for each mistake.
    """
    found = list(problems)
    operations: dict[str, Operation[Any, Any]] = {}
    steps = tuple(_complete(step, registry, operations, found) for step in plan.steps)
    whole = plan.model_copy(update={"steps": steps})
    found += [*_shape(whole), *pivot_problems(whole), *_references(whole, operations), *_inputs(whole, operations)]
    if found:
        who = f"{plan.id}@{plan.version}"
        raise InvalidPlan("\n".join([f"{who} can't be run, {len(found)} mistake{'s'[: len(found) > 1]}:", *found]))
    return whole


def _complete(
    step: PlanStep, registry: Registry, operations: dict[str, Operation[Any, Any]], found: list[str]
) -> PlanStep:
    if not isinstance(step, OperationStep):
        return step
    try:
        op = registry.retrieve(step.operation)
    except OperationNotFound as error:
        found.append(f"{step.name}: operation: {error.message}")
        return step
    if not isinstance(op, Operation):
        found.append(f"{step.name}: operation: {step.operation} is a flow, not an operation")
        return step
    operations[step.name] = op
    if op.undo_handler is None and not (step.no_undo or step.pivot):
        found.append(f"{step.name}: undo: {op.definition} has none; declare one, or say undo=no_undo")
    return _filled(step, op)


def _filled(step: OperationStep, op: Operation[Any, Any]) -> OperationStep:
    implied = tuple(ref.step for ref in refs(step.input) if ref.step not in step.after)
    return step.model_copy(
        update={
            "operation": str(op.definition),
            "after": (*step.after, *dict.fromkeys(implied)),
            "description": step.description or op.definition.description,
            "timeout": step.timeout or op.timeout,
            "retry": step.retry or op.retry,
            "local": op.placement == "local" if step.local is None else step.local,
            "task_queue": step.task_queue or op.task_queue,
            "at_most_once": op.at_most_once if step.at_most_once is None else step.at_most_once,
            "undo": None if step.no_undo else step.undo or UndoSpec.of(op),
        }
    )


def _shape(plan: Plan) -> Iterator[str]:
    """Find empty plans, names used twice, edges to nowhere, cycles."""
    if not any(isinstance(step, OperationStep) for step in plan.steps):
        yield "steps: there is no operation; a saga needs one"
    names = [step.name for step in plan.steps]
    for name in dict.fromkeys(n for n in names if names.count(n) > 1) if len(set(names)) < len(names) else ():
        yield f"{name}: name: used twice; each step needs its own"
    known = set(names)
    for step in plan.steps:
        yield from (f"{step.name}: after: there is no step {b!r}" for b in step.after if b not in known and not _refers(step, b))
    if plan.result is not None and plan.result not in known:
        yield f"result: there is no step {plan.result!r}"
    circle = _circle(plan)
    if circle:
        yield f"{circle[0]}: after: a circle, {' after '.join([*circle, circle[0]])}"


def _refers(step: PlanStep, name: str) -> bool:
    return isinstance(step, OperationStep) and any(ref.step == name for ref in refs(step.input))


def _circle(plan: Plan) -> list[str]:
    """Give the names of one circle, if there is any."""
    after = {step.name: [b for b in step.after] for step in plan.steps}
    open_ = {name: len([b for b in befores if b in after]) for name, befores in after.items()}
    followers: dict[str, list[str]] = {name: [] for name in after}
    for name, befores in after.items():
        for before in befores:
            if before in followers:
                followers[before].append(name)
    free = [name for name, count in open_.items() if count == 0]
    while free:
        for name in followers[free.pop()]:
            open_[name] -= 1
            if open_[name] == 0:
                free.append(name)
    left = [name for name, count in open_.items() if count > 0]
    return _follow(left[0], after, set(left)) if left else []


def _follow(name: str, after: Mapping[str, list[str]], left: set[str]) -> list[str]:
    path: list[str] = []
    while name not in path:
        path.append(name)
        name = next(b for b in after[name] if b in left)
    return path[path.index(name) :]


def _references(plan: Plan, operations: Mapping[str, Operation[Any, Any]]) -> Iterator[str]:
    steps = {step.name: step for step in plan.steps}
    for step in plan.steps:
        if isinstance(step, OperationStep):
            for ref in refs(step.input):
                yield from (f"{step.name}: input: {wrong}" for wrong in _reference(ref, steps, operations))


def _reference(ref: Ref, steps: Mapping[str, PlanStep], operations: Mapping[str, Operation[Any, Any]]) -> Iterator[str]:
    target = steps.get(ref.step)
    if target is None:
        yield f"refers to {ref.step!r}, and there is no such step"
        return
    while isinstance(target, SubsagaStep):
        if target.result is None or target.result not in steps:
            yield f"refers to {ref.step!r}, a subsaga without a result; let its builder return a step"
            return
        target = steps[target.result]
    if isinstance(target, ConstantStep):
        missing = _missing_value(target.value, ref.path)
    elif target.name in operations:
        missing = _missing_field(operations[target.name].output.type, ref.path)
    else:
        missing = None
    if missing is not None:
        yield f"refers to {ref.step}.{'.'.join(map(str, ref.path))}, and there is no {missing!r}"


def _missing_value(value: Json, path: tuple[str | int, ...]) -> str | int | None:
    for part in path:
        try:
            value = value[part]
        except (LookupError, TypeError):
            return part
    return None


def _missing_field(type_: Any, path: tuple[str | int, ...]) -> str | int | None:
    """Give the first part of a path that a type certainly lacks."""
    for part in path:
        fields = _fields(type_)
        if fields is None:
            return None
        if part not in fields:
            return part
        type_ = fields[str(part)]
    return None


def _fields(type_: Any) -> dict[str, Any] | None:
    """Give a type's fields by their JSON names; ``None`` when it may have any."""
    if get_origin(type_) is not None and not (isinstance(type_, type) and issubclass(type_, BaseModel)):
        arguments = [a for a in get_args(type_) if a is not type(None)]
        union = type(None) in get_args(type_) and len(arguments) == 1
        return _fields(arguments[0]) if union else None
    if isinstance(type_, type) and issubclass(type_, BaseModel):
        return {f.serialization_alias or f.alias or name: f.annotation for name, f in type_.model_fields.items()}
    if isinstance(type_, type) and dataclasses.is_dataclass(type_):
        return dict(get_type_hints(type_))
    return {} if type_ in (int, float, str, bool, type(None)) else None


def _inputs(plan: Plan, operations: Mapping[str, Operation[Any, Any]]) -> Iterator[str]:
    for step in plan.steps:
        if isinstance(step, OperationStep) and step.name in operations:
            for wrong in _input(step.input, operations[step.name].input.type):
                yield f"{step.name}: input: {wrong}"


def _input(template: Json, type_: Any) -> Iterator[str]:
    """Say what can't fit: literals are validated, a field given as a reference fits for now."""
    if not any(True for _ in refs(template)):
        yield from _literal(template, type_, "")
        return
    if REF in template if isinstance(template, dict) else False:
        return
    fields = _model_fields(type_)
    if fields is None or not isinstance(template, dict):
        return
    for name, (annotation, required) in fields.items():
        if name not in template and required:
            yield f"{name}: Field required"
        elif name in template and not any(True for _ in refs(template[name])):
            yield from _literal(template[name], annotation, name)
    yield from (f"{name}: {type_.__name__} has no such field" for name in template if name not in fields)


def _literal(template: Json, type_: Any, name: str) -> Iterator[str]:
    value = template[LITERAL] if isinstance(template, dict) and LITERAL in template else template
    try:
        TypeAdapter(type_).validate_python(value)
    except ValidationError as error:
        yield f"{name + ': ' if name else ''}{describe(error)}"


def _model_fields(type_: Any) -> dict[str, tuple[Any, bool]] | None:
    if isinstance(type_, type) and issubclass(type_, BaseModel):
        return {f.validation_alias if isinstance(f.validation_alias, str) else f.alias or name: (f.annotation, f.is_required())
                for name, f in type_.model_fields.items()}  # fmt: skip
    if isinstance(type_, type) and dataclasses.is_dataclass(type_):
        hints = get_type_hints(type_)
        empty = dataclasses.MISSING
        return {
            f.name: (hints[f.name], f.default is empty and f.default_factory is empty) for f in dataclasses.fields(type_)
        }
    return None
