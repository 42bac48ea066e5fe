"""Linear workflows: steps in a line, each with what runs and what undoes it (seed automa)."""

from counterstep.reports import StepAction, StepReport, StepStatus, WorkflowReport
from flows._linear import Step, StepFunc, StepRegistry, Workflow
from flows._linear_report import fetch_workflow_report

__all__ = [
    "Step",
    "StepAction",
    "StepFunc",
    "StepRegistry",
    "StepReport",
    "StepStatus",
    "Workflow",
    "WorkflowReport",
    "fetch_workflow_report",
]
