"""What a worker process needs in production: ends, health, metrics, several processes, an embedded Temporal."""

# Starting and ending
from counterstep.serving._embedded import embedded
from counterstep.serving._ending import Ending
from counterstep.serving._errors import StartError

# Being watched
from counterstep.serving._health import Polling, Probe, health_server
from counterstep.serving._metrics import measured, shifted

# Several processes
from counterstep.serving._processes import FAILED, Parent, Processes

__all__ = [
    "FAILED",
    "Ending",
    "Parent",
    "Polling",
    "Probe",
    "Processes",
    "StartError",
    "embedded",
    "health_server",
    "measured",
    "shifted",
]
