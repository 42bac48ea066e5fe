"""Which answers of a collector mean that it is no use to send the same spans again: those of OTLP's specification."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as Packed
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.sdk.trace.export import SpanExportResult

from activities._spans import Trace
from counterstep.reports import Begun, SpanOptions, SpansRefused, otlp_exporter
from tests.reports.making import AT

SPAN = Begun("default", "w", "o", "flow@1.0.0", AT, Trace("1" * 32)).span(SpanOptions())
FAILURE = SpanExportResult.FAILURE
Metadata = Sequence[tuple[str, Any]]


@contextmanager
def http_answering(status: int, body: bytes, kind: str) -> Iterator[str]:
    """Answer every request over HTTP."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextmanager
def grpc_answering(code: grpc.StatusCode, metadata: Metadata) -> Iterator[str]:
    """Answer every request over gRPC."""

    class Service(TraceServiceServicer):
        def Export(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
            context.set_trailing_metadata(tuple(metadata))
            context.abort(code, "told\nmore")

    server = grpc.server(ThreadPoolExecutor(1))
    add_TraceServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop(None).wait()


def answer_of(monkeypatch: pytest.MonkeyPatch, url: str, protocol: str) -> object:
    """Send a span; give the result, or why it was refused."""
    for name, value in {"ENDPOINT": url, "PROTOCOL": protocol, "TIMEOUT": "0.7"}.items():
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", value)
    exporter = otlp_exporter()
    try:
        return exporter.export([SPAN])
    except SpansRefused as refusal:
        return refusal.message
    finally:
        exporter.shutdown()


@pytest.mark.parametrize("status", [400, 401, 404, 408, 413, 500, 501])
def test_http_answers_that_refuse(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    """All errors that aren't listed as passing; what the collector says is handed on, a text's first line."""
    with http_answering(status, b"told\nmore", "text/plain") as url:
        assert answer_of(monkeypatch, url, "http/protobuf") == f"HTTP {status}: told"


@pytest.mark.parametrize(("body", "said"), [(Status(message="told"), ": told"), (Status(), "")])
def test_http_answers_with_a_status(monkeypatch: pytest.MonkeyPatch, body: Status, said: str) -> None:
    """A collector's own answer is a message; it need not say anything."""
    with http_answering(400, body.SerializeToString(), "application/x-protobuf") as url:
        assert answer_of(monkeypatch, url, "http/protobuf") == f"HTTP 400{said}"


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_http_answers_that_pass(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    """A collector that has too much to do, or isn't there behind its proxy, may take them later."""
    with http_answering(status, b"later", "text/plain") as url:
        assert answer_of(monkeypatch, url, "http/protobuf") is FAILURE


@pytest.mark.parametrize(
    "code",
    [
        "INVALID_ARGUMENT",
        "UNAUTHENTICATED",
        "PERMISSION_DENIED",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNKNOWN",
        "NOT_FOUND",
    ],
)
def test_grpc_answers_that_refuse(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """All codes that aren't listed as passing."""
    with grpc_answering(grpc.StatusCode[code], ()) as url:
        assert answer_of(monkeypatch, url, "grpc") == f"gRPC {code}: told"


@pytest.mark.parametrize(
    "code", ["CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"]
)
def test_grpc_answers_that_pass(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """The codes of the specification."""
    with grpc_answering(grpc.StatusCode[code], ()) as url:
        assert answer_of(monkeypatch, url, "grpc") is FAILURE


def _details(*messages: Any) -> Metadata:
    packed = [Packed() for _ in messages]
    for one, message in zip(packed, messages, strict=True):
        one.Pack(message)
    return [("grpc-status-details-bin", Status(code=8, details=packed).SerializeToString())]


@pytest.mark.parametrize(
    ("metadata", "refused"),
    [
        ((), True),
        (_details(Status()), True),
        (_details(Status(), RetryInfo()), False),
        ([("google.rpc.retryinfo-bin", RetryInfo().SerializeToString())], False),
    ],
)
def test_a_collector_without_room(monkeypatch: pytest.MonkeyPatch, metadata: Metadata, refused: bool) -> None:
    """`RESOURCE_EXHAUSTED` passes only if the collector says when to come again."""
    with grpc_answering(grpc.StatusCode.RESOURCE_EXHAUSTED, metadata) as url:
        told = "gRPC RESOURCE_EXHAUSTED: told" if refused else FAILURE
        assert answer_of(monkeypatch, url, "grpc") == told


@contextmanager
def grpc_taking(answer: ExportTraceServiceResponse) -> Iterator[str]:
    """Take every request over gRPC."""

    class Service(TraceServiceServicer):
        def Export(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
            return answer

    server = grpc.server(ThreadPoolExecutor(1))
    add_TraceServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
@pytest.mark.parametrize(
    ("left_out", "said"), [(1, "of 1 spans the collector left out 1: too big"), (0, None)]
)
def test_what_is_taken_in_part(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    protocol: str,
    left_out: int,
    said: str | None,
) -> None:
    """Spans that a collector leaves out of what it takes aren't sent again, and the log tells of them."""
    part = ExportTracePartialSuccess(rejected_spans=left_out, error_message="too big")
    answer = ExportTraceServiceResponse(partial_success=part)
    taking = (
        grpc_taking(answer)
        if protocol == "grpc"
        else http_answering(200, answer.SerializeToString(), "application/x-protobuf")
    )
    with taking as url:
        assert answer_of(monkeypatch, url, protocol) is SpanExportResult.SUCCESS
    assert [record.getMessage() for record in caplog.records if record.name == "counterstep.spans"] == [
        *([said] if said else [])
    ]


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_nobody_there(monkeypatch: pytest.MonkeyPatch, protocol: str) -> None:
    """That no collector answers is no refusal."""
    assert answer_of(monkeypatch, "http://127.0.0.1:1", protocol) is FAILURE


def test_an_answer_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a refusal, a collector that has gone doesn't refuse."""
    with grpc_answering(grpc.StatusCode.INVALID_ARGUMENT, ()) as url:
        for name, value in {"ENDPOINT": url, "PROTOCOL": "grpc", "TIMEOUT": "0.7"}.items():
            monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", value)
        exporter = otlp_exporter()
        with pytest.raises(SpansRefused):
            exporter.export([SPAN])
    assert exporter.export([SPAN]) is FAILURE
    exporter.shutdown()
