"""What flows count, for Prometheus and whatever else the SDK's runtime exports to. A replay counts nothing.

Except one: a query that waits beside a task is answered by a replay that the SDK calls live.
"""

from __future__ import annotations

from temporalio import workflow

FLOWS = ("counterstep_flows", "Flows that ended, by end.")
STEPS = ("counterstep_steps", "Executions of steps, by outcome.")
UNDOS = ("counterstep_undos", "Executions of undos, by outcome.")


def count_flow(flow: str, end: str) -> None:
    """Count a flow that ended: ``completed``, ``rolled_back``, ``stuck``, ``kept``, ``cancelled``, ``refused``."""
    _count(FLOWS, flow=flow, end=end)


def count_step(definition: str, outcome: str) -> None:
    """Count an operation, or a child flow, that ended in a step, by its outcome."""
    _count(STEPS, operation=definition, outcome=outcome)


def count_undo(definition: str, outcome: str) -> None:
    """Count an undo that ended, by its outcome: only ``done`` and ``skipped`` leave nothing behind."""
    _count(UNDOS, operation=definition, outcome=outcome)


def _count(what: tuple[str, str], **labels: str) -> None:
    workflow.metric_meter().create_counter(*what).add(1, labels)
