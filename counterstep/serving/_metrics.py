"""Metrics for Prometheus: the SDK's own, and what flows count (:mod:`flows._metrics`)."""

from __future__ import annotations

from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig

from counterstep.serving._errors import StartError, host_port


def measured(where: str) -> Runtime:
    """Make a runtime that serves its metrics at ``http://HOST:PORT/metrics``, named as Prometheus wants.

    Args:
        where: host and port.

    Raises:
        StartError: when it can't listen there.
    """
    host, port = host_port(where, "--metrics")
    host = f"[{host}]" if ":" in host else host.replace("localhost", "127.0.0.1")
    config = PrometheusConfig(
        f"{host}:{port}", counters_total_suffix=True, unit_suffix=True, durations_as_seconds=True
    )
    try:
        return Runtime(telemetry=TelemetryConfig(metrics=config))
    except (RuntimeError, ValueError) as error:
        raise StartError(f"--metrics: can't listen on {where}: {error}") from None


def shifted(where: str, by: int) -> str:
    """Give the same host with a later port: each of several processes has its own.

    Raises:
        StartError: when there is none.
    """
    _, port = host_port(where, "--metrics")
    if port == 0 or port + by > 65535:
        raise StartError(f"--metrics: {where} leaves no port for process {by + 1}")
    return f"{where.rpartition(':')[0]}:{port + by}"
