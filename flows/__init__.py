"""Flows: sequences of operations that run durably on Temporal and unwind when they fail."""

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
)
from flows._jobs import Job, NoData, ignore_error, with_error_handler

# Running them
from flows._module import Module, load_modules
from flows._plan import Plan
from flows._plan_size import LargePlan
from flows._plugin import CounterstepPlugin
from flows._policy import Policy
from flows._saga import Saga, saga
from flows._sequence import Sequence
from flows._start import TASK_QUEUE, start, undo
from flows._template import Ref
from flows._undone import Undone

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
    "HistoryLimit",
    "InvalidPlan",
    "Job",
    "Kept",
    "LargePlan",
    "Module",
    "NoData",
    "OperationFailed",
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
    "ignore_error",
    "linear",
    "load_modules",
    "no_undo",
    "saga",
    "start",
    "undo",
    "with_error_handler",
]
