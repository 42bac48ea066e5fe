"""The shape of a plan, told without any operation: names, edges, circles, what is visible where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches

from flows._names import EXPLICIT, NAME_LIMIT, OURS
from flows._plan import ApprovalStep, FlowStep, OperationStep, Plan, PlanStep, SubsagaStep, WaitStep
from flows._template import refs

Unread = Mapping[str, Collection[str]]
"""Steps in which something is wrong already, and those of their fields that hold a stand-in because of that."""
_HELPED, _COMPARED = 100, 200


def linked(plan: Plan) -> Plan:
    """Add the edges that references imply."""
    return plan.model_copy(update={"steps": tuple(map(_linked, plan.steps))})


def _linked(step: PlanStep) -> PlanStep:
    edges = tuple(dict.fromkeys((*step.after, *_implied(step))))
    return step if edges == step.after else step.model_copy(update={"after": edges})


def _implied(step: PlanStep) -> Iterator[str]:
    if isinstance(step, (OperationStep, FlowStep)):
        yield from (ref.step for ref in refs(step.input))
    elif isinstance(step, SubsagaStep) and step.result is not None:
        yield step.result


def shape_problems(plan: Plan, unread: Unread) -> Iterator[str]:
    """Find what is wrong with a linked plan whatever its operations are.

    Args:
        plan: with its implied edges.
        unread: steps in which something is wrong already; they needn't be in it.
    """
    names = {step.name for step in plan.steps}
    runs = any(isinstance(step, (OperationStep, FlowStep)) for step in plan.steps)
    if not (runs or unread.keys() - names or plan.policy.allow_empty):
        yield "steps: there is no operation; a saga needs one"
    yield from _repeated(plan)
    known = {*names, *unread}
    inner = {step.name for step in plan.steps if isinstance(step, SubsagaStep)}
    near = _Near(plan, inner)
    for step in plan.steps:
        if "name" not in unread.get(step.name, ()):
            yield from _misnamed(step, {*inner, *unread})
        yield from (f"{step.name}: {wrong}" for wrong in _edges(step, known, inner, near))
    if plan.result is not None:
        yield from _misresulting(plan.result, known, inner)
    for circle in _circles(plan):
        shown = " after ".join([*circle, circle[0]])
        yield f"{circle[0]}: after: a circle, {shown}; take one of these edges out"


def _repeated(plan: Plan) -> Iterator[str]:
    for name, count in Counter(step.name for step in plan.steps).items():
        if count > 1:
            yield f"{name}: name: used twice; each step needs its own"


def _misnamed(step: PlanStep, around: Collection[str]) -> Iterator[str]:
    name = step.name
    if len(name) > NAME_LIMIT or not all(map(EXPLICIT.match, name.split("/"))):
        shown = name[:NAME_LIMIT] or "a step without a name"
        yield f"{shown}: name: must be letters, digits, '-' and '_', at most 100 of them"
    elif (outer := name.rpartition("/")[0]) and outer not in around:
        yield f"{name}: name: {outer} is no subsaga, and '/' is for the steps of one; choose another name"
    if isinstance(step, (WaitStep, ApprovalStep)) and name.rpartition("/")[2] in OURS:
        yield f"{name}: name: is ours; choose another"


def _misresulting(result: str, known: Collection[str], inner: Collection[str]) -> Iterator[str]:
    if result not in known:
        yield f"result: there is no step {result!r}; name one, or leave it out"
    elif hidden := _hidden(result, "", inner):
        yield f"result: {result} is inside the subsaga {hidden}; name {hidden}, which has its result"


class _Near:
    """Says what to name instead of a step that isn't there: one that is near, in as many lines as can be shown."""

    def __init__(self, plan: Plan, inner: Collection[str]) -> None:
        self._names = [step.name for step in plan.steps if len(step.name) <= NAME_LIMIT][:_COMPARED]
        self._inner = inner
        self._left = _HELPED

    def __call__(self, name: str, step: PlanStep) -> str:
        self._left -= 1
        looks = self._left >= 0 and len(name) <= NAME_LIMIT
        for near in get_close_matches(name, self._names) if looks else ():
            if near != step.name and not _hidden(near, step.name, self._inner, _own(step)):
                return f"did you mean {near}?"
        return "name one of the plan's"


def _own(step: PlanStep) -> str:
    return step.name if isinstance(step, SubsagaStep) else ""


def _edges(step: PlanStep, known: Collection[str], inner: Collection[str], near: _Near) -> Iterator[str]:
    implied, own = set(_implied(step)), _own(step)
    result = step.result if isinstance(step, SubsagaStep) else None
    stray = result if result and not result.startswith(f"{own}/") else None
    if stray:
        yield f"result: {stray} is none of its steps; name one of {own}/…"
    for name in step.after:
        field = ("result" if own else "input") if name in implied else "after"
        if name == stray:
            continue
        if name not in known:
            yield f"{field}: {_absent(field, name[:NAME_LIMIT])}; {near(name, step)}"
        elif hidden := _hidden(name, step.name, inner, own):
            yield f"{field}: {name} is inside the subsaga {hidden}; refer to {hidden}, which has its result"


def _absent(field: str, name: str) -> str:
    return (
        f"there is no step {name!r}" if field == "after" else f"refers to {name!r}, and there is no such step"
    )


def _hidden(name: str, seer: str, inner: Collection[str], own: str = "") -> str | None:
    """Give the subsaga that hides a step from another one."""
    parts = name.split("/")
    around = ("/".join(parts[:count]) for count in range(1, len(parts)))
    return next((s for s in around if s in inner and s != own and not seer.startswith(f"{s}/")), None)


def _circles(plan: Plan) -> Iterator[list[str]]:
    """Give the names of each circle."""
    after = {step.name: step.after for step in plan.steps}
    left = _unordered(after)
    seen: set[str] = set()
    for name in left:
        path: dict[str, None] = {}
        while name not in seen and name not in path:
            path[name] = None
            name = next(before for before in after[name] if before in left)
        if name in path:
            names = list(path)
            yield names[names.index(name) :]
        seen.update(path)


def _unordered(after: Mapping[str, Collection[str]]) -> dict[str, None]:
    """Give the steps that never could start."""
    followers: dict[str, list[str]] = {name: [] for name in after}
    waiting = dict.fromkeys(after, 0)
    for name, befores in after.items():
        for before in befores:
            if before in followers:
                followers[before].append(name)
                waiting[name] += 1
    free = [name for name, count in waiting.items() if count == 0]
    while free:
        for name in followers[free.pop()]:
            waiting[name] -= 1
            if waiting[name] == 0:
                free.append(name)
    return {name: None for name, count in waiting.items() if count > 0}
