"""Whether undos take back their own effect alone: where one failed, what is left can't depend on what others undid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

from flows.testing._checks import difference
from flows.testing._planning import Case, Planning
from flows.testing._steps import Step

Left = Mapping[tuple[str, str, str], tuple[Case, Any]]
"""By the step whose undo failed, the one that failed before, and how: the run, and the world that it left."""


def not_alone(planning: Planning, left: Left) -> Iterator[tuple[Case, str]]:
    """Compare what is left of a step after one failure and after a later one, which undid more steps before it.

    A policy that stops at the first undo that fails leaves other steps too, so that nothing can be said.
    """
    for step in planning.steps.values():
        if step.policy.on_undo_failure == "stop":
            continue
        found = [
            (one, *left[key])
            for one, fault in planning.triggers(step)
            if (key := (step.name, one.name, fault.name)) in left
        ]
        yield from _of_nothing(planning, left, step, found[:1])
        for (less, _, before), (more, case, now) in pairwise(found):
            others = more.before - less.before - {step.name}
            tried = [name for name in others if any(key[:2] == (name, name) for key in left)]
            blamed = replace(case, step=tried[0]) if len(others) == len(tried) == 1 else case
            names = ", ".join(sorted(others)) or "what came after it"
            what = (
                f"what {step.name} alone left: undoing {names} takes back more than its own effect, or less"
            )
            yield from ((blamed, line) for line in difference(before, now, what))


def _of_nothing(
    planning: Planning, left: Left, step: Step, alone: list[tuple[Step, Case, Any]]
) -> Iterator[tuple[Case, str]]:
    """Compare what is left of a step with that after the undo of a next one that never had its effect."""
    for next_, fault in planning.never_happened(step) if alone else ():
        if (key := (step.name, next_.name, fault.name)) in left:
            case, now = left[key]
            what = f"what {step.name} alone left: undoing {next_.name}, which never happened, takes back something"
            yield from ((replace(case, step=next_.name), line) for line in difference(alone[0][2], now, what))
