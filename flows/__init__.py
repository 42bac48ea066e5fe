"""Flows: sequences of operations that run durably on Temporal and unwind when they fail."""

# Errors
from flows._control import Decision
from flows._errors import (
    ApprovalRejected,
    ApprovalTimedOut,
    ExecutionStopped,
    HistoryLimit,
    Kept,
    OperationFailed,
    ResetAfterUndo,
    RolledBack,
    SequenceFailed,
    SeriesFailed,
    Stuck,
)

# Running them
from flows._module import Module, load_modules
from flows._plugin import CounterstepPlugin

# Writing flows
from flows._policy import Policy
from flows._sequence import Sequence
from flows._start import TASK_QUEUE, start

__all__ = [
    "ApprovalRejected",
    "ApprovalTimedOut",
    "CounterstepPlugin",
    "Decision",
    "ExecutionStopped",
    "HistoryLimit",
    "Kept",
    "Module",
    "OperationFailed",
    "Policy",
    "ResetAfterUndo",
    "RolledBack",
    "SequenceFailed",
    "SeriesFailed",
    "Sequence",
    "Stuck",
    "TASK_QUEUE",
    "load_modules",
    "start",
]
