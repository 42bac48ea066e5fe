"""A report for the terminal."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from rich.text import Text
from rich.tree import Tree

from activities import Status
from counterstep.reports._report import Decision, Delay, Kind, Report
from counterstep.reports._words import has_answered, name_of, state_of_step, state_of_undo

AnyReport = Report[Any, Any]
_PAUSE = "next attempt"
_EARLIER = "undo before it ran again"
_WORTH_IT = timedelta(seconds=1)
_COLOURS = {Status.DONE: "green", Status.FAILED: "red", Status.UNKNOWN: "magenta", Status.SKIPPED: "yellow"}


def render_tree(report: AnyReport) -> Tree:
    """Draw a report: one line a step with its outcome and error; below it its undo, delays and what operators decided.

    Of what failed a step has the first line; the flow itself has all of them.
    """
    tree = Tree(_line(report, whole=True))
    _told(tree, report)
    _branches(tree, report)
    return tree


def _branches(tree: Tree, report: AnyReport) -> None:
    for child in report.children:
        branch = tree.add(_line(child))
        _told(branch, child)
        _branches(branch, child)
        for undo in child.earlier_undos:
            _told(branch.add(_line(undo, _EARLIER)), undo)
        if child.undo is not None:
            _told(branch.add(_line(child.undo, "undo")), child.undo)


def _told(tree: Tree, report: AnyReport) -> None:
    """Draw how long it stood still, and what operators decided."""
    for delay in report.delays:
        if delay.why != _PAUSE or delay.until is None or delay.until - delay.since >= _WORTH_IT:
            tree.add(_delayed(delay))
    for decision in report.decisions:
        tree.add(_decided(decision))


def _line(report: AnyReport, name: str | None = None, *, whole: bool = False) -> Text:
    line = Text(name or report.step or name_of(report.definition), style="bold")
    line.append(f"  {_state(report, name)}", style=_colour(report))
    if report.step and not name and report.kind not in (Kind.WAIT, Kind.APPROVAL, Kind.LEG):
        line.append(f"  {name_of(report.definition)}", style="dim")
    if report.in_run is not None:
        line.append(f"  by {report.in_run[0]}", style="dim")
    if report.answered_from is not None:
        how = "answered by" if has_answered(report) else "taken over from"
        line.append("  {0} run {2} of {1}".format(how, *report.answered_from), style="dim")
    if report.attempts and report.attempts > 1:
        line.append(f"  {report.attempts} attempts", style="yellow")
    if report.error is not None:
        lines = str(report.error.root).splitlines()
        line.append("\n".join([f"  {lines[0]}", *(lines[1:] if whole else ())]), style="red")
    return line


def _colour(report: AnyReport) -> str:
    return _COLOURS[report.outcome] if report.outcome else "cyan"


def _state(report: AnyReport, name: str | None) -> str:
    """Give the state that a line shows; a step's own, since its undo has a line of its own."""
    if name is not None:
        skipped = report.outcome is Status.SKIPPED
        return "undone, nothing to do" if skipped and not report.decisions else state_of_undo(report)
    if report.run is not None and report.outcome is None:
        return report.run.state
    if report.kind in (Kind.WAIT, Kind.APPROVAL) or report.outcome is None:
        return state_of_step(report)
    return report.outcome.value


def _delayed(delay: Delay) -> Text:
    took = "" if delay.until is None else f" for {_seconds((delay.until - delay.since).total_seconds())}"
    if delay.why == _PAUSE:
        return Text(f"{'waited' if took else 'waits'}{took} before its next attempt", style="yellow")
    return Text(f"{delay.why}{took}{', until its time was over' if delay.expired else ''}", style="yellow")


def _decided(decision: Decision) -> Text:
    return Text(f"{decision.action}{decision}", style="cyan")


def _seconds(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, _ = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
