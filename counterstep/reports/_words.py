"""The one word that says how a step stands; the same as in ``status`` and in the Temporal UI."""

from __future__ import annotations

from typing import Any

from activities import Definition, Status
from counterstep.reports._report import Kind, Report

AnyReport = Report[Any, Any]
NOT_STARTED = "not started"
INTERRUPTED = "interrupted"
UNRESOLVED = ("unresolved", "0.0.0")
"""Id and version of a definition that is only known by what was asked for, which is its description."""

_OPEN = {Kind.WAIT: "waiting", Kind.APPROVAL: "waiting for approval"}


def state_of_step(report: AnyReport) -> str:
    """Give the state of a step, a wait, an approval or an inner flow."""
    if report.undo is not None:
        return state_of_undo(report.undo)
    if report.outcome is None:
        return _standing(report) or _OPEN.get(report.kind, "running")
    if report.kind is Kind.APPROVAL:
        return _standing(report) or _state_of_approval(report)
    if report.kind is Kind.WAIT and report.outcome is Status.SKIPPED:
        return INTERRUPTED
    return _standing(report) or report.outcome.value


def _state_of_approval(report: AnyReport) -> str:
    if report.outcome is Status.SKIPPED and report.skipped != INTERRUPTED:
        return report.outcome.value
    return "approved" if report.outcome is Status.DONE else "not approved"


def state_of_undo(undo: AnyReport) -> str:
    """Give the state of a step that is undone, or was to be."""
    if _standing(undo) is not None:
        return "parked"
    if undo.outcome is None:
        return "undoing"
    return "undone" if undo.outcome in (Status.DONE, Status.SKIPPED) else "not undone"


def _standing(report: AnyReport) -> str | None:
    """Say whether it waits for an operator."""
    newest = report.delays[-1] if report.delays else None
    return newest.why if newest and newest.until is None and newest.why != "next attempt" else None


def has_answered(report: AnyReport) -> bool:
    """Whether what was taken over from an earlier run answers its call; what failed there runs again."""
    return report.outcome in (Status.DONE, Status.SKIPPED)


def is_resolved(definition: Definition) -> bool:
    """Whether it is known which definition is meant."""
    return (definition.id, definition.version) != UNRESOLVED


def name_of(definition: Definition) -> str:
    """Name a definition; one that never was resolved by what was asked for."""
    return str(definition) if is_resolved(definition) else definition.description or str(definition)


_COLOURS = {
    "green": ("done", "approved", "completed"),
    "red": ("failed", "not approved", "not undone", "stuck", "refused"),
    "magenta": ("unknown",),
    "yellow": ("held", "parked", "paused", "skipped", "interrupted", "kept", "terminated", "timed_out"),
    "blue": ("undone", "undoing", "unwinding", "rolled_back", "cancelled"),
    "dim": (NOT_STARTED,),
}


def colour_of(state: str) -> str:
    """Give a terminal's colour for a state of a step or a run."""
    return next((colour for colour, states in _COLOURS.items() if state in states), "cyan")
