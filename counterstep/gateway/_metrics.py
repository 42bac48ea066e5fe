"""What the gateway counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from google.rpc import code_pb2
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Calls by transport, method and code; how long they take; open waits."""

    def __init__(self, open_waits: Callable[[], float]) -> None:
        """Begin at nothing.

        Args:
            open_waits: says how many there are.
        """
        self._registry = CollectorRegistry()
        self._calls = Counter(
            "counterstep_gateway_calls",
            "Calls that were answered.",
            ("transport", "method", "code"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "counterstep_gateway_call_seconds",
            "How long calls took.",
            ("transport", "method"),
            registry=self._registry,
        )
        waits = Gauge("counterstep_gateway_open_waits", "Waits that are open.", registry=self._registry)
        waits.set_function(open_waits)

    def answered(self, transport: str, method: str, code: int, seconds: float) -> None:
        """Count a call."""
        self._calls.labels(transport, method, code_pb2.Code.Name(code)).inc()
        self._seconds.labels(transport, method).observe(seconds)

    def text(self) -> bytes:
        """Give them as Prometheus reads them."""
        return generate_latest(self._registry)
