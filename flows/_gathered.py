"""Everything that the server knows of one flow's runs, gathered to say what they left."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from temporalio.client import Client

from activities import InvalidInput
from counterstep.reports import RunHistory
from flows import _lookup as lookup
from flows._inside import inside
from flows._left import Left, flow_origin, left_by
from flows._resume import Found, Owner, TakenOver


@dataclass(frozen=True)
class Gathered:
    """What is known of a flow.

    Attributes:
        runs: of the flow and its resets, oldest first.
        left: what all of them left in place.
        took_over: whether they went on from an earlier flow, whose steps are theirs.
    """

    runs: tuple[RunHistory, ...]
    left: Left
    took_over: bool


@dataclass(frozen=True)
class Undoer:
    """What a workflow that undoes a flow knows of itself.

    Attributes:
        previous: run id of one before it, which failed.
        chain: the run id that its own chain began with.
        undone: the steps that its chain has undone.
    """

    previous: str | None = None
    chain: str | None = None
    undone: tuple[str, ...] = ()


async def gather(
    client: Client, run: RunHistory, who: str, by: Undoer = Undoer(), but: str | None = None
) -> Gathered:
    """Gather all about the flow of a run.

    Args:
        client: asks the server.
        run: any of the flow's runs.
        who: wants to know; begins the message.
        by: what the workflow that undoes it knows of itself.
        but: run id of one that is left out, since it asks itself what the others left.

    Raises:
        InvalidInput: when one of its runs, or of its child flows, is open.
    """
    origin = flow_origin(run)
    runs = await lookup.runs_of_flow(client, run.workflow_id, run.run_id, origin)
    runs = [other for other in runs if other.run_id != but]
    for other in runs:
        if other.status == "running":
            raise InvalidInput(
                f"{who}: run {other.run_id} of {run.workflow_id} is still open; let it end, or end it, first"
            )
    undoing = await lookup.undoing_runs(client, run.workflow_id, origin, by.previous, by.chain)
    earlier = await _earlier(client, runs, who)

    async def read(child: RunHistory) -> Left:
        return (await gather(client, child, who)).left

    children = await inside(client, runs, who, read)
    mine = earlier or TakenOver()
    left = await asyncio.to_thread(left_by, runs, mine, undoing, by.undone, children)
    return Gathered(tuple(runs), left, earlier is not None)


async def _earlier(client: Client, runs: list[RunHistory], who: str) -> TakenOver | None:
    """Give what a flow took over from another one, also if it ended between its claim and its reading."""
    for run in runs:
        if run.earlier:
            return TakenOver.model_validate(run.earlier)
    for run in runs:
        found = Found.model_validate(run.found) if run.found else None
        me = Owner(workflow_id=run.workflow_id, origin=flow_origin(run))
        if found is not None and await lookup.owner_of(client, found.ref.workflow_id, found.origin) == me:
            read = await lookup.read_history(client, found.ref.workflow_id, found.ref.run_id)
            return TakenOver(steps=(await gather(client, read, who)).left.steps)
    return None
