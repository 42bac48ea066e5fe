"""Reading a plan that somebody typed: every mistake in it is told, by step and field."""

from __future__ import annotations

from collections.abc import Iterator

import pydantic_core
from pydantic import ValidationError

from activities import Registry
from activities._failure import LOC_LIMIT, cut, reason_of
from activities._json import Json
from flows._errors import InvalidPlan, refusal
from flows._plan import STEP, FlowStep, OperationStep, Plan, PlanStep
from flows._plan_checks import complete
from flows._plan_shape import linked, shape_problems
from flows._plan_size import warn_if_large
from flows._template import malformed

_KINDS = ("operation", "constant", "wait", "approval", "subsaga", "flow")


def read_plan(value: Json) -> tuple[Plan, list[str], set[str]]:
    """Read a plan's JSON, step by step.

    Returns:
        The plan of all steps that are well formed, a line for each mistake, the names of the other steps.

    Raises:
        InvalidPlan: when it is no plan at all.
    """
    if not isinstance(value, dict) or not isinstance(value.get("steps"), list):
        raise InvalidPlan('the input is no plan: a plan is {"id": …, "version": …, "steps": […]}')
    wrong: list[str] = []
    refused: set[str] = set()
    steps: list[PlanStep] = []
    for index, step in enumerate(value["steps"]):
        name = step.get("name") if isinstance(step, dict) else None
        where = name if isinstance(name, str) else f"steps.{index}"
        lines, read = _read(step)
        wrong += [f"{where}: {line}" for line in lines]
        if read is None or lines:
            refused.add(where)
        else:
            steps.append(read)
    return _headed(value, wrong).model_copy(update={"steps": tuple(steps)}), wrong, refused


def checked_plan(value: Json, registry: Registry) -> Plan:
    """Read a plan's JSON and complete it.

    Raises:
        InvalidPlan: one message, a line for each mistake.

    Warns:
        LargePlan: when a run may have to carry more than Temporal records.
    """
    plan, wrong, refused = read_plan(value)
    whole = complete(plan, registry, wrong, refused)
    warn_if_large(whole)
    return whole


def drawn_plan(value: Json) -> Plan:
    """Read a plan's JSON for a drawing: its operations needn't be known.

    Raises:
        InvalidPlan: one message, a line for each mistake.
    """
    plan, wrong, refused = read_plan(value)
    whole = linked(plan)
    wrong += shape_problems(whole, refused)
    if wrong:
        raise refusal(f"{plan.id}@{plan.version}", wrong)
    return whole


def _headed(value: dict[str, Json], wrong: list[str]) -> Plan:
    """Read what stands beside the steps; what is wrong there is left out."""
    head = {**value, "steps": []}
    try:
        return Plan.model_validate_json(pydantic_core.to_json(head))
    except ValidationError as error:
        wrong += [f"the plan: {line}" for line in _lines(error)]
        known = {key: head[key] for key in ("id", "version") if isinstance(head.get(key), str)}
        return Plan(steps=(), **known)


def _read(step: Json) -> tuple[list[str], PlanStep | None]:
    if not isinstance(step, dict):
        return ["must be an object"], None
    if step.get("kind", "operation") not in _KINDS:
        return [f"kind: {str(step['kind'])[:100]!r} is none; there are {', '.join(_KINDS)}"], None
    try:
        read = STEP.validate_json(pydantic_core.to_json(step))
    except ValidationError as error:
        return list(_lines(error)), None
    if isinstance(read, (OperationStep, FlowStep)):
        return [f"input: {line}" for line in malformed(read.input)], read
    return [], read


def _lines(error: ValidationError) -> Iterator[str]:
    for row in error.errors(include_url=False, include_context=False):
        loc = [part for part in row["loc"] if part not in _KINDS]
        yield f"{cut('.'.join(map(str, loc)), LOC_LIMIT) or 'value'}: {reason_of(row)}"
