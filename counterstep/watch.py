"""The command ``counterstep watch``: a run's progress, live, until its end; without a worker."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from temporalio.client import Client
from temporalio.service import RPCError

from counterstep._connection import Connection, Refused, command, missing
from counterstep.reports import Node, Pending, Report, colour_of, fetch_report, pending_of, shape_of

AnyReport = Report[Any, Any]
_OVER = frozenset(("done", "skipped", "approved", "undone", "failed", "unknown", "not undone", "interrupted"))
_OVER |= {"not approved"}
_TOLD_BY_THE_RUN = frozenset(("refused", "stuck", "kept"))
"""Ends of which the run's own error says more than the failure that it began with."""


@dataclass(frozen=True)
class Look:
    """How a run stands at a moment.

    Attributes:
        report: of it.
        nodes: its steps.
        pending: what is open, by activity id.
        mark: changes when its history does.
    """

    report: AnyReport
    nodes: list[Node]
    pending: dict[str, Pending]
    mark: tuple[str, int] = ("", 0)

    @property
    def state(self) -> str:
        """The run's state."""
        return self.report.run.state if self.report.run else "running"

    @property
    def over(self) -> int:
        """How many steps have ended."""
        return sum(node.state in _OVER for node in self.nodes)

    def shown(self, node: Node) -> str:
        """Give a step's state, with the attempts that the history doesn't tell of yet."""
        pending = self.pending.get(node.name) or self.pending.get(f"{node.name}.undo")
        if pending is None or pending.attempt < 2:
            return node.state
        why = f": {pending.failure.root.message.splitlines()[0]}" if pending.failure else ""
        return f"{node.state}, attempt {pending.attempt}{why}"


@command
def watch(
    connection: Connection,
    workflow_id: Annotated[str, typer.Argument(help="The run's workflow id.")],
    run_id: Annotated[
        str | None, typer.Option("--run-id", "-r", help="Its run id; the newest run unless given.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON for each change.")] = False,
    interval: Annotated[float, typer.Option(help="Seconds between two looks, at least.", min=0.05)] = 0.5,
) -> None:
    """Show a run's progress until its end. The exit code is 0 if it completed, otherwise 1."""
    asyncio.run(_watch(connection, workflow_id, run_id, as_json, interval))


async def _watch(
    connection: Connection, workflow_id: str, run_id: str | None, as_json: bool, interval: float
) -> None:
    client = await connection.client()
    console = Console(highlight=False)
    screen = _Lines(as_json) if as_json or not console.is_terminal else _Screen(console)
    with screen:
        look = await _look(client, workflow_id, run_id)
        screen.show(look)
        while look.report.outcome is None:
            began = time.monotonic()
            newer = await _look(client, workflow_id, run_id, look)
            if newer is not look:
                screen.show(newer)
            look = newer
            await asyncio.sleep(max(interval, 4 * (time.monotonic() - began)))
    if look.state != "completed":
        raise Refused(f"{workflow_id} {look.state.replace('_', ' ')}: {_why(look)}")


def _why(look: Look) -> str:
    """Say why a run failed, whole: a refused plan has a line for each mistake, a stuck run one for each undo."""
    error = look.report.error
    if error is None:
        return look.state
    return (error if look.state in _TOLD_BY_THE_RUN else error.root).message


async def _look(client: Client, workflow_id: str, run_id: str | None, before: Look | None = None) -> Look:
    """Look at a run; gives the look ``before`` where nothing is new since."""
    newest = before.report.run.run_id if before and before.report.run else run_id
    try:
        described = await client.get_workflow_handle(workflow_id, run_id=newest).describe()
        pending = {one.activity_id: one for one in pending_of(described)}
        mark = (described.run_id, described.raw_info.history_length)
        if before is not None and (before.mark, before.pending) == (mark, pending):
            return before
        report = await fetch_report(client, workflow_id, newest)
    except RPCError as error:
        raise missing(error, workflow_id, run_id) from None
    nodes = [node for node in shape_of(report) if node.kind not in ("constant", "subsaga")]
    return Look(report, nodes, pending, mark)


class _Lines:
    """A line for each change, for pipes and logs."""

    def __init__(self, as_json: bool) -> None:
        self._json = as_json
        self._states: dict[str, str] = {}

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()

    def show(self, look: Look) -> None:
        for step, state, at in self._changes(look):
            if self._json:
                line = json.dumps({"at": at.isoformat(), "step": step, "state": state})
            else:
                line = f"{at:%H:%M:%S} {step or look.report.definition}  {state}"
            print(line, flush=True)

    def _changes(self, look: Look) -> Iterator[tuple[str, str, datetime]]:
        now = datetime.now(UTC)
        for node in look.nodes:
            state = look.shown(node)
            if node.report is not None and self._states.get(node.name) != state:
                self._states[node.name] = state
                yield node.name, state, _moment(node) or now
        if self._states.get("") != look.state:
            self._states[""] = look.state
            yield "", look.state, look.report.finished or now


def _moment(node: Node) -> datetime | None:
    """Give when a step came into its state."""
    report = node.report
    newest = report.undo if report and report.undo else report
    return None if newest is None else newest.finished or newest.scheduled


class _Screen:
    """A bar and a table, renewed in place."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False)

    def __enter__(self) -> _Screen:
        self._live.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._live.__exit__(*error)

    def show(self, look: Look) -> None:
        room = max(self._console.height - 6, 5)
        self._live.update(Group(_head(look), _table(look, room)), refresh=True)


def _head(look: Look) -> Table:
    head = Table.grid(padding=(0, 2))
    name = look.report.run.workflow_id if look.report.run else ""
    bar = ProgressBar(total=max(len(look.nodes), 1), completed=look.over, width=40)
    state = Text(look.state.replace("_", " "), style=colour_of(look.state))
    head.add_row(Text(name, style="bold"), bar, f"{look.over}/{len(look.nodes)}", state)
    return head


def _table(look: Look, room: int) -> Table:
    """Show the steps around those that are at work, as many as fit."""
    nodes = look.nodes
    at = next((i for i, node in enumerate(nodes) if node.state not in _OVER), len(nodes))
    first = max(0, min(at - room // 3, len(nodes) - room))
    table = Table(box=None, padding=(0, 2), show_header=False)
    for node in nodes[first : first + room]:
        table.add_row(node.name, Text(look.shown(node), style=colour_of(node.state)))
    hidden = len(nodes) - len(nodes[first : first + room])
    if hidden:
        table.add_row(Text(f"… {hidden} more", style="dim"), "")
    return table
