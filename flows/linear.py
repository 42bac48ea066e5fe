"""Linear workflows: steps in a line, each with what runs and what undoes it (seed automa)."""

from counterstep.reports import ReportStatus, StepAction, StepReport, WorkflowReport
from flows._linear import Step, StepFunc, StepRegistry, Workflow
from flows._linear_fetch import fetch_workflow_report

__all__ = [
    "ReportStatus",
    "Step",
    "StepAction",
    "StepFunc",
    "StepRegistry",
    "StepReport",
    "Workflow",
    "WorkflowReport",
    "fetch_workflow_report",
]
