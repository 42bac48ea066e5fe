"""How a run stands, in one word."""

from __future__ import annotations

from activities import Failure
from counterstep.reports._asked import Asked
from counterstep.reports._run_history import RunHistory

_ENDS = {"RolledBack": "rolled_back", "Stuck": "stuck", "Kept": "kept"}
_REFUSALS = ("InvalidInput", "UnknownFlow", "InvalidPlan", "ResetAfterUndo", "NotSerializable")
_WORDS = {"canceled": "cancelled"}


def state_of(run: RunHistory, asked: Asked) -> str:
    """Give the word: an end, or what an open run does."""
    if run.is_open:
        return _open(run, asked)
    if run.failure is None:
        return _WORDS.get(run.status, run.status)
    kind = Failure.of(run.failure).type
    return "refused" if kind in _REFUSALS else _ENDS.get(kind, "failed")


def _open(run: RunHistory, asked: Asked) -> str:
    held = {why for _, why in asked.open}
    for why in ("parked", "held"):
        if why in held:
            return why
    switches = [d.action for d in asked.of_run if d.action in ("pause", "unpause", "stop", "cancel")]
    if switches and switches[-1] == "pause":
        return "paused"
    ending = any(action in ("stop", "cancel") for action in switches)
    return "unwinding" if ending or run.unwinding else "running"
