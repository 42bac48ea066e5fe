"""Reading a plan that somebody typed: every mistake in it is told, by step and field."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import pydantic_core
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from activities import Registry
from activities._failure import LOC_LIMIT, cut, reason_of
from activities._json import Json
from flows._errors import InvalidPlan, refusal
from flows._plan import STEP, FlowStep, OperationStep, Plan, PlanStep
from flows._plan_checks import complete
from flows._plan_shape import Unread, linked, shape_problems
from flows._plan_size import warn_if_large
from flows._template import UNREAD, mended

_KINDS = ("operation", "constant", "wait", "approval", "subsaga", "flow")


def read_plan(value: Json) -> tuple[Plan, list[str], Unread]:
    """Read a plan's JSON, step by step; of a step that is wrong, all that can be read stays in the plan.

    Returns:
        The plan, a line for each mistake, the steps in which one is.

    Raises:
        InvalidPlan: when it is no plan at all.
    """
    if not isinstance(value, dict) or not isinstance(value.get("steps"), list):
        raise InvalidPlan('the input is no plan: a plan is {"id": …, "version": …, "steps": […]}')
    wrong: list[str] = []
    unread: dict[str, set[str]] = {}
    steps: list[PlanStep] = []
    for index, step in enumerate(value["steps"]):
        name = step.get("name") if isinstance(step, dict) else None
        where = name if isinstance(name, str) else f"steps.{index}"
        read = _read(step, where)
        wrong += [f"{where}: {line}" for line in read.wrong]
        steps += [read.step] if read.step else []
        if read.wrong:
            unread.setdefault(where, set()).update(read.unread)
        if "input" in read.unread:
            unread[UNREAD] = set()
    return _headed(value, wrong).model_copy(update={"steps": tuple(steps)}), wrong, unread


def checked_plan(value: Json, registry: Registry) -> Plan:
    """Read a plan's JSON and complete it.

    Raises:
        InvalidPlan: one message, a line for each mistake.

    Warns:
        LargePlan: when a run may have to carry more than Temporal records.
    """
    plan, wrong, unread = read_plan(value)
    whole = complete(plan, registry, wrong, unread)
    warn_if_large(whole)
    return whole


def drawn_plan(value: Json) -> Plan:
    """Read a plan's JSON for a drawing: its operations needn't be known.

    Raises:
        InvalidPlan: one message, a line for each mistake.
    """
    plan, wrong, unread = read_plan(value)
    whole = linked(plan)
    wrong += shape_problems(whole, unread)
    if wrong:
        raise refusal(f"{plan.id}@{plan.version}", wrong)
    return whole


def _headed(value: dict[str, Json], wrong: list[str]) -> Plan:
    """Read what stands beside the steps; what is wrong there is left out."""
    head = {**value, "steps": []}
    try:
        return Plan.model_validate_json(pydantic_core.to_json(head))
    except ValidationError as error:
        rows = _rows(error)
    wrong += [f"the plan: {_line(loc, row)}" for loc, row in rows]
    bad = {loc[:2] for loc, _ in rows}
    if () in bad:  # nested too deeply
        return Plan(
            steps=(), **{key: head[key] for key in ("id", "version") if isinstance(head.get(key), str)}
        )
    kept = {key: item for key, item in head.items() if (key,) not in bad}
    if isinstance(policy := kept.get("policy"), dict):
        lenient = {"allow_empty": True} if ("policy", "allow_empty") in bad else {}
        kept["policy"] = {key: item for key, item in policy.items() if ("policy", key) not in bad} | lenient
    return Plan.model_validate_json(pydantic_core.to_json(kept))


@dataclass(frozen=True)
class _Read:
    """What was read of a step.

    Attributes:
        step: ``None`` where nothing of it can be read.
        wrong: a line for each mistake.
        unread: its fields that hold a stand-in.
    """

    step: PlanStep | None
    wrong: list[str]
    unread: Collection[str] = ()


def _read(step: Json, where: str) -> _Read:
    if not isinstance(step, dict):
        return _Read(None, ["must be an object"])
    if step.get("kind", "operation") in _KINDS:
        return _template_read(_fields_read(step, where))
    line = f"kind: {str(step['kind'])[:100]!r} is none; there are {', '.join(_KINDS)}"
    common = {key: step[key] for key in ("name", "after") if key in step}
    read = _fields_read({**common, "operation": ""}, where)
    return _Read(read.step, [line, *read.wrong], {"kind", "operation", *read.unread})


def _fields_read(step: dict[str, Json], where: str) -> _Read:
    try:
        return _Read(STEP.validate_json(pydantic_core.to_json(step)), [])
    except ValidationError as error:
        rows = _rows(error)
    wrong = [_line(loc[1:], row) for loc, row in rows]  # the first part is the kind
    if any(len(loc) < 2 for loc, _ in rows):
        return _Read(None, wrong)
    bad = {str(loc[1]) for loc, _ in rows}
    unread = bad - {loc[1] for loc, row in rows if len(loc) == 2 and row["type"] == "extra_forbidden"}
    kept = {key: item for key, item in step.items() if key not in bad}
    stand_ins = {key: item for key, item in _stand_ins(step, where).items() if key in unread}
    return _Read(STEP.validate_json(pydantic_core.to_json({**kept, **stand_ins})), wrong, unread)


def _stand_ins(step: dict[str, Json], where: str) -> dict[str, Json]:
    """Give what stands for fields that can't be read: what is readable of them, or what no check finds fault with."""
    after = step.get("after")
    return {
        "name": where,
        "after": [name for name in after if isinstance(name, str)] if isinstance(after, list) else [],
        "operation": "",
        "flow": "",
        "duration": "PT1S",
        "retry": {"max_attempts": 1},
        "local": False,
        "at_most_once": False,
    }


def _template_read(read: _Read) -> _Read:
    lines: list[str] = []
    if not isinstance(read.step, (OperationStep, FlowStep)):
        return read
    template = mended(read.step.input, lines)
    if not lines:
        return read
    step = read.step.model_copy(update={"input": template})
    return _Read(step, [*read.wrong, *(f"input: {line}" for line in lines)], {"input", *read.unread})


def _rows(error: ValidationError) -> list[tuple[tuple[str | int, ...], ErrorDetails]]:
    """Give each mistake with its place."""
    return [(row["loc"], row) for row in error.errors(include_url=False, include_context=False)]


def _line(loc: tuple[str | int, ...], row: ErrorDetails) -> str:
    return f"{cut('.'.join(map(str, loc)), LOC_LIMIT) or 'value'}: {reason_of(row)}"
