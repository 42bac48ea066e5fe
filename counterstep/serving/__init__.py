"""What a process of ours needs: a connection, ends, health, metrics, several processes, an embedded Temporal."""

# Connecting, as the Temporal CLI does
from counterstep.serving._connecting import connect_config, decoding

# Starting and ending
from counterstep.serving._embedded import embedded
from counterstep.serving._ending import Ending
from counterstep.serving._errors import StartError, host_port
from counterstep.serving._flags import ConnectionFlags, takes_flags

# Being watched
from counterstep.serving._health import Polling, Probe, health_server
from counterstep.serving._metrics import measured, shifted

# Several processes
from counterstep.serving._processes import FAILED, Parent, Processes
from counterstep.serving._remote_codec import CodecError

__all__ = [
    "FAILED",
    "CodecError",
    "ConnectionFlags",
    "Ending",
    "Parent",
    "Polling",
    "Probe",
    "Processes",
    "StartError",
    "connect_config",
    "decoding",
    "embedded",
    "health_server",
    "host_port",
    "measured",
    "shifted",
    "takes_flags",
]
