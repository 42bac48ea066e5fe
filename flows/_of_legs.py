"""What the legs of a long-running operation did, by names that tell the leg: each leg gives names anew. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from activities._wire import in_leg
from counterstep.reports import RunHistory, in_legs
from flows._carry import Carried

if TYPE_CHECKING:
    from flows._left import Inside


def of_legs(
    runs: Sequence[RunHistory], inside: Mapping[str, Sequence[Inside]]
) -> tuple[Sequence[RunHistory], Mapping[str, Sequence[Inside]]]:
    """Name the steps of runs, and of their child flows, with the legs that the runs are; other flows' stay as they are.

    Args:
        runs: of one flow.
        inside: what their child flows left, by run id.
    """
    legs = {run.run_id: c.leg.number for run in runs if (c := Carried.unpack(run.input)) and c.leg}
    if not legs:
        return runs, inside
    named = {id: [_inside(child, legs.get(id, 0)) for child in found] for id, found in inside.items()}
    return list(in_legs(runs)), named


def _inside(child: Inside, leg: int) -> Inside:
    call = {"step": in_leg(child.call.step, leg), "flow": in_leg(child.call.flow, leg)}
    edges = {in_leg(step, leg): tuple(in_leg(b, leg) for b in before) for step, before in child.edges.items()}
    return replace(
        child,
        call=child.call.model_copy(update=call),
        steps=tuple(taken.model_copy(update={"step": in_leg(taken.step, leg)}) for taken in child.steps),
        edges=edges,
        undone=tuple(in_leg(step, leg) for step in child.undone),
        missing=tuple(replace(left, step=in_leg(left.step, leg)) for left in child.missing),
    )
