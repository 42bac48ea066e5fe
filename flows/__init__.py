"""Flows: sequences of operations that run durably on Temporal and unwind when they fail."""

# Errors
from flows._control import Decision

# Writing flows
from flows._dag import Dag, Pending, Step, no_undo
from flows._errors import (
    ApprovalRejected,
    ApprovalTimedOut,
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
from flows._longrunning import LongRunning
from flows._metadata import FlowMetadata

# Running them
from flows._module import Module, load_modules
from flows._operation_name import operation_name
from flows._plan import Plan
from flows._plugin import CounterstepPlugin
from flows._policy import Policy
from flows._saga import Saga, saga
from flows._sequence import Sequence
from flows._start import TASK_QUEUE, start, undo
from flows._template import Ref
from flows._undone import Undone
from flows._wait_services import OperationsService

__all__ = [
    "ApprovalRejected",
    "ApprovalTimedOut",
    "CounterstepPlugin",
    "Dag",
    "Decision",
    "ExecutionStopped",
    "FlowMetadata",
    "HistoryLimit",
    "InvalidPlan",
    "Kept",
    "LongRunning",
    "Module",
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
    "load_modules",
    "no_undo",
    "operation_name",
    "saga",
    "start",
    "undo",
]
