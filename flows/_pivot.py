"""The pivot of a plan: what comes after it must be retried, since nothing goes back."""

from __future__ import annotations

from collections.abc import Iterator

from flows._plan import OperationStep, Plan
from flows._plan_shape import Unread


def pivot_problems(plan: Plan, unread: Unread) -> Iterator[str]:
    """Find a second pivot, and steps after the pivot that aren't retried, as far as their retry can be read."""
    pivots = [step for step in plan.steps if isinstance(step, OperationStep) and step.pivot]
    for second in pivots[1:]:
        yield f"{second.name}: pivot: {pivots[0].name} is one already; a plan has one at most"
    for step in _after(plan, pivots[0].name) if pivots else ():
        retry = None if "retry" in unread.get(step.name, ()) else step.retry
        if retry is not None and retry.max_attempts == 1:
            yield f"{step.name}: retry: it comes after the pivot {pivots[0].name}, so it needs retry= with more than one attempt"


def _after(plan: Plan, pivot: str) -> Iterator[OperationStep]:
    """Give the operations that come after a step, in whatever order the plan lists its steps."""
    followers: dict[str, list[str]] = {}
    for step in plan.steps:
        for before in step.after:
            followers.setdefault(before, []).append(step.name)
    reached, waiting = {pivot}, [pivot]
    while waiting:
        new = [name for name in followers.get(waiting.pop(), ()) if name not in reached]
        reached.update(new)
        waiting += new
    return (s for s in plan.steps if isinstance(s, OperationStep) and s.name in reached and s.name != pivot)
