"""The exporter that OpenTelemetry's standard environment variables ask for."""

from __future__ import annotations

import logging
import os

from opentelemetry.sdk.trace.export import SpanExporter

from activities import CounterstepError
from counterstep.reports._otlp_answers import grpc_exporter, http_exporter

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_MADE_BY = {"grpc": grpc_exporter, "http/protobuf": http_exporter}

_log = logging.getLogger("counterstep.spans")


def otlp_asked() -> bool:
    """Whether the environment asks for spans: by an OTLP endpoint, or by ``OTEL_TRACES_EXPORTER=otlp``."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    named = [name.strip() for name in os.environ.get("OTEL_TRACES_EXPORTER", "").split(",") if name.strip()]
    return "otlp" in named if named else any(os.environ.get(name) for name in _ENDPOINTS)


def otlp_endpoint() -> tuple[str, str]:
    """Give where spans are sent, and the variable that says so, or could."""
    for name in _ENDPOINTS:
        if os.environ.get(name):
            return os.environ[name], name
    return f"http://localhost:{4317 if _protocol() == 'grpc' else 4318}", _ENDPOINTS[1]


def spans_asked() -> SpanExporter | None:
    """Give where a worker's spans go, if the environment asks for them; who can't have them is told, and served."""
    if not otlp_asked():
        return None
    try:
        return otlp_exporter()
    except CounterstepError as error:
        _log.warning("no spans are exported: %s", error.message)
        return None


def otlp_exporter() -> SpanExporter:
    """Make an exporter; endpoint, protocol, headers, certificates and timeout are those of the environment.

    Where the collector refuses spans for good, it raises ``SpansRefused``.

    Raises:
        CounterstepError: when the protocol isn't known, or the extra ``otlp`` isn't installed.
    """
    protocol = _protocol()
    if protocol not in _MADE_BY:
        raise CounterstepError(f"{_PROTOCOLS[1]}={protocol!r}: it can be {' or '.join(sorted(_MADE_BY))}")
    try:
        return _MADE_BY[protocol]()
    except ImportError as error:
        needs = "exporting spans needs more: pip install 'counterstep[otlp]'"
        raise CounterstepError(f"{needs} ({error})") from None


def _protocol() -> str:
    return next((os.environ[name] for name in _PROTOCOLS if os.environ.get(name)), "http/protobuf")
