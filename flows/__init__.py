"""Flows: sequences of operations that run durably on Temporal and unwind when they fail."""

# Running them
from counterstep.reports import spans_asked

# Linear workflows, with names of their own
from flows import linear

# Actions
from flows._actions import Action, ActionService

# Errors
from flows._control import Decision

# Writing flows
from flows._dag import Dag, Pending, Step, no_undo
from flows._errors import (
    ApprovalRejected,
    ApprovalTimedOut,
    DeadlineExceeded,
    ExecutionStopped,
    HistoryLimit,
    InvalidPlan,
    Kept,
    OperationFailed,
    ResetAfterUndo,
    RolledBack,
    SequenceFailed,
    SeriesFailed,
    Stuck,
    WaitDeadlineExceeded,
)
from flows._jobs import Job, NoData, ignore_error, with_error_handler
from flows._longrunning import LongRunning
from flows._metadata import FlowMetadata

# Running them
from flows._module import Module, load_modules
from flows._operation_name import operation_name
from flows._plan import Plan
from flows._plan_size import LargePlan
from flows._plugin import CounterstepPlugin
from flows._policy import Policy
from flows._saga import Saga, saga
from flows._sequence import Sequence
from flows._start import TASK_QUEUE, start, undo
from flows._template import Ref
from flows._undone import Undone
from flows._wait_services import OperationsService

__all__ = [
    "Action",
    "ActionService",
    "ApprovalRejected",
    "ApprovalTimedOut",
    "CounterstepPlugin",
    "Dag",
    "DeadlineExceeded",
    "Decision",
    "ExecutionStopped",
    "FlowMetadata",
    "HistoryLimit",
    "InvalidPlan",
    "Job",
    "Kept",
    "LargePlan",
    "LongRunning",
    "Module",
    "NoData",
    "OperationFailed",
    "OperationsService",
    "Pending",
    "Plan",
    "Policy",
    "Ref",
    "ResetAfterUndo",
    "RolledBack",
    "Saga",
    "SequenceFailed",
    "SeriesFailed",
    "Sequence",
    "Step",
    "Stuck",
    "TASK_QUEUE",
    "Undone",
    "WaitDeadlineExceeded",
    "ignore_error",
    "linear",
    "load_modules",
    "no_undo",
    "operation_name",
    "saga",
    "spans_asked",
    "start",
    "undo",
    "with_error_handler",
]
