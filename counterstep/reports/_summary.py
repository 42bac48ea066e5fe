"""What Temporal's UI shows of a step, beside its activity's type: written with it, read from its history."""

from __future__ import annotations

from activities import Definition

_LIMIT = 200


def step_summary(name: str, definition: Definition) -> str | None:
    """Give the summary of a step: its name, unless that is its operation's id, and the operation's description."""
    told = definition.description[:_LIMIT]
    if name == definition.id:
        return told or None
    return f"{name}: {told}" if told else name


def description_in(summary: str, name: str, type: str) -> str:
    """Give the description that a summary holds; those of earlier releases hold nothing else."""
    if summary == name or type.partition("@")[0] == name:
        return "" if summary == name else summary
    return summary.removeprefix(f"{name}: ")
