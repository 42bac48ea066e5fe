"""What happened: Temporal's history as reports, and views of them."""

# Façades
from counterstep.reports._deployment import Deployment, DeploymentError, deployment_of

# Histories
from counterstep.reports._events import read_run
from counterstep.reports._fetch import (
    Family,
    decode_events,
    fetch_ended,
    fetch_events,
    fetch_family,
    fetch_report,
    fetch_run,
)
from counterstep.reports._history import planned, report_of
from counterstep.reports._internal import CLAIM, INTERNAL, MARKS, TOMBSTONE, UNDOING
from counterstep.reports._joined import in_legs, joined

# Views
from counterstep.reports._log import saga_log, status_tree
from counterstep.reports._mermaid import mermaid

# Spans
from counterstep.reports._otlp import otlp_endpoint, otlp_exporter, spans_asked
from counterstep.reports._otlp_answers import SpansRefused
from counterstep.reports._page import page

# What only the server knows
from counterstep.reports._pending import Pending, pending_of

# What flows record
from counterstep.reports._recorded import CARRIED, PACKED, ROOT, carried_text, unpack

# Reports
from counterstep.reports._report import (
    Decision,
    Delay,
    Execution,
    ExecutionSeries,
    Kind,
    Planned,
    Report,
    RunInfo,
    Waiting,
    report_id,
)
from counterstep.reports._reporters import (
    HistoryReporter,
    MemoryReporter,
    RecentReporter,
    Reporter,
    SpanReporter,
)
from counterstep.reports._run_history import ChildHistory, InlinePlan, RunHistory, StepHistory, TimerHistory
from counterstep.reports._shape import Node, shape_of
from counterstep.reports._span_export import BATCH, RunExporter, options_for
from counterstep.reports._span_values import SpanOptions, span_resource
from counterstep.reports._spans import Begun, spans_of
from counterstep.reports._summary import READ_CHILD, left_summary, step_summary
from counterstep.reports._terminal import render_tree
from counterstep.reports._views import execution_reports, report_json, sequence_report_json, tree_json
from counterstep.reports._words import colour_of, state_of_step
from counterstep.reports._workflow_report import (
    StepAction,
    StepReport,
    StepStatus,
    WorkflowReport,
    workflow_report,
)

__all__ = [
    # Façades
    "Deployment",
    "DeploymentError",
    "deployment_of",
    # Histories
    "ChildHistory",
    "Family",
    "InlinePlan",
    "RunHistory",
    "StepHistory",
    "TimerHistory",
    "decode_events",
    "fetch_ended",
    "fetch_events",
    "fetch_family",
    "fetch_report",
    "fetch_run",
    "in_legs",
    "joined",
    "planned",
    "read_run",
    "report_of",
    # What only the server knows
    "Pending",
    "pending_of",
    # What flows record
    "CARRIED",
    "ROOT",
    "PACKED",
    "READ_CHILD",
    "carried_text",
    "left_summary",
    "step_summary",
    "unpack",
    # Workflows of our own
    "CLAIM",
    "INTERNAL",
    "MARKS",
    "TOMBSTONE",
    "UNDOING",
    # Reports
    "Decision",
    "Delay",
    "Execution",
    "ExecutionSeries",
    "Kind",
    "HistoryReporter",
    "MemoryReporter",
    "Planned",
    "RecentReporter",
    "Report",
    "Reporter",
    "RunInfo",
    "Waiting",
    "report_id",
    # Spans
    "BATCH",
    "Begun",
    "RunExporter",
    "SpanOptions",
    "SpanReporter",
    "SpansRefused",
    "options_for",
    "otlp_endpoint",
    "otlp_exporter",
    "spans_asked",
    "span_resource",
    "spans_of",
    # Views
    "Node",
    "StepAction",
    "StepReport",
    "StepStatus",
    "WorkflowReport",
    "colour_of",
    "execution_reports",
    "mermaid",
    "page",
    "render_tree",
    "report_json",
    "saga_log",
    "sequence_report_json",
    "shape_of",
    "state_of_step",
    "status_tree",
    "tree_json",
    "workflow_report",
]
