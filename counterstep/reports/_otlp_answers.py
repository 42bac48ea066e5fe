"""OpenTelemetry's OTLP exporters, and what they keep to themselves: whether a collector refuses spans for good.

Which answers say so is in `OTLP's specification <https://opentelemetry.io/docs/specs/otlp/#failures>`_.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from activities import CounterstepError

_PASSING_HTTP = frozenset((429, 502, 503, 504))
_PASSING_GRPC = frozenset(
    ("CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS")
)
_CREDENTIALS = (
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER",
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER",
)

_log = logging.getLogger("counterstep.spans")


class SpansRefused(CounterstepError):
    """A collector won't take these spans, however often they are sent; the message says what it answered."""


@dataclass
class _Answer:
    """The newest answer of a collector.

    Attributes:
        refusal: what it said, if that was a refusal for good.
        left_out: how many spans it left out of what it took, with what it said.
    """

    refusal: str = ""
    left_out: str = ""

    def took(self, answer: Any) -> None:
        """Note an ``ExportTraceServiceResponse``, which may tell of spans that were left out."""
        part = answer.partial_success
        self.left_out = (
            f"{part.rejected_spans}{_said(part.error_message.encode())}" if part.rejected_spans else ""
        )


class Refusals(SpanExporter):
    """An exporter that raises where its collector refuses for good."""

    def __init__(self, exporter: SpanExporter, answer: _Answer) -> None:
        """Take who sends the spans, and where it leaves the newest answer."""
        self._exporter, self._answer = exporter, answer

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans; the log tells of some that the collector left out, which it wouldn't take again either.

        Raises:
            SpansRefused: when it is no use to send them again.
        """
        self._answer.refusal = self._answer.left_out = ""
        result = self._exporter.export(spans)
        if self._answer.left_out:
            _log.warning("of %s spans the collector left out %s", len(spans), self._answer.left_out)
        if result is not SpanExportResult.SUCCESS and self._answer.refusal:
            raise SpansRefused(self._answer.refusal)
        return result

    def shutdown(self) -> None:
        """See base class."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """See base class."""
        return self._exporter.force_flush(timeout_millis)


def http_exporter() -> SpanExporter:
    """Make an exporter of OTLP over HTTP.

    Raises:
        ImportError: when the extra ``otlp`` isn't installed.
    """
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from requests import Session

    if any(os.environ.get(name) for name in _CREDENTIALS):
        return OTLPSpanExporter()  # it makes a session of its own, whose answers can't be seen
    answer, session = _Answer(), Session()

    def note(response: Any, **_: Any) -> None:
        answer.refusal = _http_refusal(response.status_code, response.headers, response.content)
        if response.status_code == 200:
            answer.took(_of_success(response.content))

    session.hooks["response"].append(note)
    return Refusals(OTLPSpanExporter(session=session), answer)


def _http_refusal(status: int, headers: Any, body: bytes) -> str:
    if status in _PASSING_HTTP:
        return ""
    return (
        f"HTTP {status}{_said(_of_status(body) if 'protobuf' in headers.get('Content-Type', '') else body)}"
    )


def _of_success(body: bytes) -> Any:
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

    try:
        return ExportTraceServiceResponse.FromString(body)
    except DecodeError:
        return ExportTraceServiceResponse()


def _of_status(body: bytes) -> bytes:
    """Give the message of a ``google.rpc.Status``, which a collector answers with."""
    from google.protobuf.message import DecodeError
    from google.rpc.status_pb2 import Status

    try:
        return Status.FromString(body).message.encode()
    except DecodeError:
        return b""


def grpc_exporter() -> SpanExporter:
    """Make an exporter of OTLP over gRPC.

    Raises:
        ImportError: when the extra ``otlp`` isn't installed.
    """
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    answer = _Answer()

    class Exporter(OTLPSpanExporter):
        """Only its stub sees the status; after an outage it makes a new one."""

        def __setattr__(self, name: str, value: Any) -> None:
            noted = name == "_client" and value is not None
            super().__setattr__(name, _Stub(value, answer) if noted else value)

    return Refusals(Exporter(), answer)


class _Stub:
    """A stub of OTLP's trace service that notes what is answered."""

    def __init__(self, stub: Any, answer: _Answer) -> None:
        self._stub, self._answer = stub, answer

    def Export(self, *args: Any, **more: Any) -> Any:  # noqa: N802
        """See the service."""
        import grpc

        self._answer.refusal = ""
        try:
            answer = self._stub.Export(*args, **more)
        except grpc.RpcError as error:
            self._answer.refusal = _grpc_refusal(error)
            raise
        self._answer.took(answer)
        return answer


def _grpc_refusal(error: Any) -> str:
    code = error.code().name
    if code in _PASSING_GRPC or (code == "RESOURCE_EXHAUSTED" and _recovers(error)):
        return ""
    return f"gRPC {code}{_said((error.details() or '').encode())}"


def _recovers(error: Any) -> bool:
    """Whether a collector that has no room says when it will have some."""
    from google.rpc.status_pb2 import Status

    told = {key: value for key, value in error.trailing_metadata() or () if isinstance(value, bytes)}
    details = Status.FromString(told.get("grpc-status-details-bin", b"")).details
    return "google.rpc.retryinfo-bin" in told or any(
        one.type_url.endswith("/google.rpc.RetryInfo") for one in details
    )


def _said(body: bytes) -> str:
    text = body.decode(errors="replace").strip().partition("\n")[0][:500]
    return f": {text}" if text else ""
