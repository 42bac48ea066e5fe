"""The report of a linear workflow from Temporal's history."""

from __future__ import annotations

from temporalio.client import Client

from activities import InvalidInput
from counterstep.reports import WorkflowReport, fetch_events, read_run, report_of
from flows._errors import RolledBack, Stuck
from flows._left_plan import plan_of
from flows._linear_report import workflow_report

_UNWOUND = (RolledBack.__name__, Stuck.__name__, "canceled")


async def fetch_workflow_report(
    client: Client, workflow_id: str, run_id: str | None = None
) -> WorkflowReport:
    """Make the report of a run from its history; no worker is needed.

    Args:
        client: reads the history; its codec decodes it.
        workflow_id: of the run, on Temporal.
        run_id: the newest run unless given.

    Raises:
        InvalidInput: when it is no run of a plan.
        temporalio.service.RPCError: NOT_FOUND when there is no such run.
    """
    run = read_run(workflow_id, await fetch_events(client, workflow_id, run_id))
    plan = plan_of(run)
    if plan is None:
        raise InvalidInput(
            f"run {run.run_id} of {workflow_id} has no plan; only linear workflows and sagas have one"
        )
    report = report_of(run, client.namespace)
    unwound = report.error is not None and report.error.type in _UNWOUND
    return workflow_report(plan, report, unwound=unwound)
