"""A run's report as the run itself knows it, with what views of a whole run need: its plan, and how it stands."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from temporalio.client import Client

from activities._json import Json
from counterstep.reports import (
    Report,
    RunInfo,
    WorkflowReport,
    fetch_report,
    planned,
    workflow_report,
)
from flows._inline import flow_report
from flows._scope import Scope

AnyReport = Report[Any, Any]


async def fetch_workflow_report(
    client: Client, workflow_id: str, run_id: str | None = None
) -> WorkflowReport:
    """Make the report of a run from its history; no worker is needed.

    Args:
        client: reads the history; its codec decodes it.
        workflow_id: of the run, on Temporal.
        run_id: the newest run unless given.

    Raises:
        temporalio.service.RPCError: NOT_FOUND when there is no such run.
    """
    return workflow_report(await fetch_report(client, workflow_id, run_id))


def live_workflow_report(scope: Scope, plan: Json) -> WorkflowReport:
    """Make the report of a run as it stands, in the run.

    Args:
        scope: the run's own.
        plan: as it was recorded.
    """
    report: AnyReport = flow_report(scope, "")
    return workflow_report(replace(report, started=report.scheduled, plan=planned(plan), run=_info(scope)))


def _info(scope: Scope) -> RunInfo:
    info, run = scope.run.info, scope.run
    state = run.board.state.split(", ")[0]
    return RunInfo(
        namespace=info.namespace,
        workflow_id=info.workflow_id,
        run_id=info.run_id,
        origin=run.origin,
        workflow_type=info.workflow_type,
        status="running" if scope.outcome is None else state,
        state=state,
        events=info.get_current_history_length(),
    )
