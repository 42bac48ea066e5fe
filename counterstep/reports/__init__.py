"""What happened: Temporal's history as reports, and views of them."""

# Façades
from counterstep.reports._deployment import Deployment, DeploymentError, deployment_of

# Histories
from counterstep.reports._events import RunHistory, StepHistory, fetch_events, read_run
from counterstep.reports._history import fetch_report, report_of

# Reports
from counterstep.reports._report import ExecutionSeries, Report, report_id
from counterstep.reports._reporters import MemoryReporter, RecentReporter, Reporter

# Views
from counterstep.reports._views import (
    execution_reports,
    render_tree,
    report_json,
    sequence_report_json,
    tree_json,
)
from counterstep.reports._workflow_report import ReportStatus, StepAction, StepReport, WorkflowReport

__all__ = [
    "Deployment",
    "DeploymentError",
    "ExecutionSeries",
    "MemoryReporter",
    "RecentReporter",
    "Report",
    "ReportStatus",
    "Reporter",
    "RunHistory",
    "StepAction",
    "StepHistory",
    "StepReport",
    "WorkflowReport",
    "deployment_of",
    "execution_reports",
    "fetch_events",
    "fetch_report",
    "read_run",
    "render_tree",
    "report_id",
    "report_json",
    "report_of",
    "sequence_report_json",
    "tree_json",
]
