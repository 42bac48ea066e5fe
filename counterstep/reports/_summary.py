"""What Temporal's UI shows beside an activity's type: written with it, read from its history."""

from __future__ import annotations

from activities import Definition

READ_CHILD = "counterstep-read-child"
"""Local activity that reads what a child flow left, where it handed over nothing."""

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


def left_summary(child: str) -> str:
    """Give the summary of the question what a child flow left, by the step that it is."""
    return f"what did {child} leave?"


def child_in(summary: str) -> str:
    """Give the step that such a summary asks about."""
    return summary.removeprefix("what did ").removesuffix(" leave?")
