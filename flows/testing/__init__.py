"""Testing flows: a worker for tests, faults in any step, and sweeps through all of them (``docs/testing.md``)."""

# Sweeps
# Running flows in tests
from flows.testing._bugs import BodyFailed
from flows.testing._coverage import Cell, Coverage, NotHeld
from flows.testing._fakes import fake

# What goes wrong
from flows.testing._faults import Fault, cancel, crash, error, repeat, slow, timeout
from flows.testing._modes import ALL, QUICK, Mode

# Histories
from flows.testing._replay import HistoriesDiffer, Replayed, replay, way_to_end
from flows.testing._sweep import sweep
from flows.testing._temporal import Temporal, dev_server
from flows.testing._trial import Call, Place
from flows.testing._worker import FlowWorker, NoSuchStep, NotReached, Ran, serving

__all__ = [
    # Running flows in tests
    "BodyFailed",
    "Call",
    "FlowWorker",
    "NoSuchStep",
    "NotReached",
    "Place",
    "Ran",
    "Temporal",
    "dev_server",
    "fake",
    "serving",
    # What goes wrong
    "Fault",
    "cancel",
    "crash",
    "error",
    "repeat",
    "slow",
    "timeout",
    # Histories
    "HistoriesDiffer",
    "Replayed",
    "replay",
    "way_to_end",
    # Sweeps
    "ALL",
    "Cell",
    "Coverage",
    "Mode",
    "NotHeld",
    "QUICK",
    "sweep",
]
