"""The shape of a plan, told without any operation: names, edges, circles, what is visible where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from flows._names import EXPLICIT, NAME_LIMIT, OURS
from flows._plan import ApprovalStep, FlowStep, OperationStep, Plan, PlanStep, SubsagaStep, WaitStep
from flows._template import refs


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


def shape_problems(plan: Plan, refused: Collection[str] = ()) -> Iterator[str]:
    """Find what is wrong with a linked plan whatever its operations are.

    Args:
        plan: with its implied edges.
        refused: steps that aren't in it because something else is wrong with them.
    """
    runs = any(isinstance(step, (OperationStep, FlowStep)) for step in plan.steps)
    if not (runs or refused or plan.policy.allow_empty):
        yield "steps: there is no operation; a saga needs one"
    counts = Counter(step.name for step in plan.steps)
    yield from (
        f"{name}: name: used twice; each step needs its own" for name, count in counts.items() if count > 1
    )
    known = {*counts, *refused}
    inner = {step.name for step in plan.steps if isinstance(step, SubsagaStep)}
    for step in plan.steps:
        yield from _misnamed(step.name)
        if isinstance(step, (WaitStep, ApprovalStep)) and step.name.rpartition("/")[2] in OURS:
            yield f"{step.name}: name: is ours; choose another"
        yield from (f"{step.name}: {wrong}" for wrong in _edges(step, known, inner))
    if plan.result is not None and plan.result not in known:
        yield f"result: there is no step {plan.result!r}; name one, or leave it out"
    elif plan.result is not None and (hidden := _hidden(plan.result, "", inner)):
        yield f"result: {plan.result} is inside the subsaga {hidden}; name {hidden}, which has its result"
    for circle in _circles(plan):
        shown = " after ".join([*circle, circle[0]])
        yield f"{circle[0]}: after: a circle, {shown}; take one of these edges out"


def _misnamed(name: str) -> Iterator[str]:
    if len(name) > NAME_LIMIT or not all(map(EXPLICIT.match, name.split("/"))):
        shown = name[:NAME_LIMIT] or "a step without a name"
        yield f"{shown}: name: must be letters, digits, '-' and '_', at most 100 of them"


def _edges(step: PlanStep, known: Collection[str], inner: Collection[str]) -> Iterator[str]:
    implied = set(_implied(step))
    own = step.name if isinstance(step, SubsagaStep) else ""
    if isinstance(step, SubsagaStep) and step.result and not step.result.startswith(f"{step.name}/"):
        yield f"result: {step.result} is none of its steps; name one of {step.name}/…"
    for name in step.after:
        field = ("result" if own else "input") if name in implied else "after"
        if name not in known:
            says = f"refers to {name!r}, and there is" if name in implied else "there is"
            yield f"{field}: {says} no such step; name one of the plan's"
        elif hidden := _hidden(name, step.name, inner, own):
            yield f"{field}: {name} is inside the subsaga {hidden}; refer to {hidden}, which has its result"


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
