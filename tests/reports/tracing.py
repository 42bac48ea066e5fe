"""Looking at spans: a real OTLP receiver over gRPC and HTTP, and what holds for every export."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import ReadableSpan

POISONED = "no such attribute allowed"


@dataclass
class Received:
    """What a receiver got.

    Attributes:
        url: to send to.
        protocol: as OpenTelemetry's variables name it.
        requests: as they came.
        down: whether it refuses everything, for now.
        refused: how often it did.
        poison: what it refuses for good: requests with that in them.
        refused_for_good: those.
    """

    url: str = ""
    protocol: str = ""
    requests: list[bytes] = field(default_factory=list)
    down: bool = False
    refused: int = 0
    poison: bytes | None = None
    refused_for_good: list[bytes] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        """OpenTelemetry's variables that lead here."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.url,
            "OTEL_EXPORTER_OTLP_PROTOCOL": self.protocol,
            "OTEL_EXPORTER_OTLP_TIMEOUT": "2",
        }

    @property
    def spans(self) -> list[Span]:
        """All spans, in the order in which they came."""
        return [span for request in self.requests for span in spans_in(request)]

    def takes(self, request: bytes) -> bool:
        """Keep a request, or what is refused for good."""
        poisoned = self.poison is not None and self.poison in request
        (self.refused_for_good if poisoned else self.requests).append(request)
        return not poisoned

    def of(self, workflow_id: str) -> list[Span]:
        """Give the spans of the traces that a workflow id is named in."""
        traces = {
            s.trace_id for s in self.spans if attributes(s).get("counterstep.workflow.id") == workflow_id
        }
        return [span for span in self.spans if span.trace_id in traces]


def spans_in(request: bytes) -> Iterator[Span]:
    """Give the spans of a request."""
    for resource in ExportTraceServiceRequest.FromString(request).resource_spans:
        for scope in resource.scope_spans:
            yield from scope.spans


def attributes(span: Span) -> dict[str, Any]:
    """Give a span's attributes as plain values."""
    return {one.key: getattr(one.value, str(one.value.WhichOneof("value"))) for one in span.attributes}


def otlp(spans: Sequence[ReadableSpan]) -> bytes:
    """Give spans as they go over the wire."""
    return encode_spans(spans).SerializeToString(deterministic=True)


def decoded(spans: Sequence[ReadableSpan]) -> list[Span]:
    """Give spans as a receiver sees them."""
    return list(spans_in(otlp(spans)))


@contextmanager
def http_receiver() -> Iterator[Received]:
    """Receive OTLP over HTTP."""
    received = Received(protocol="http/protobuf")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            wanted = self.path == "/v1/traces" and not received.down
            received.refused += not wanted
            code, answer = 503, b""
            if wanted:
                taken = received.takes(body)
                code = 200 if taken else 400
                answer = b"" if taken else Status(code=3, message=POISONED).SerializeToString()
            self.send_response(code)
            self.send_header("Content-Type", "application/x-protobuf")
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    received.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield received
    server.shutdown()
    server.server_close()
    thread.join()


@contextmanager
def grpc_receiver() -> Iterator[Received]:
    """Receive OTLP over gRPC."""
    received = Received(protocol="grpc")

    class Service(TraceServiceServicer):
        def Export(  # noqa: N802
            self, request: Any, context: grpc.ServicerContext
        ) -> ExportTraceServiceResponse:
            if received.down:
                received.refused += 1
                context.abort(grpc.StatusCode.UNAVAILABLE, "down")
            if not received.takes(request.SerializeToString()):
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, POISONED)
            return ExportTraceServiceResponse()

    server = grpc.server(ThreadPoolExecutor(2))
    add_TraceServiceServicer_to_server(Service(), server)
    received.url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield received
    server.stop(None).wait()


RECEIVERS = {"http": http_receiver, "grpc": grpc_receiver}


def check(spans: Iterable[Span], roots: Iterable[bytes] = (b"",)) -> dict[bytes, Span]:
    """Check what holds for every export: each id once, parents there, links resolve, times inside the parent's.

    Args:
        spans: of an export.
        roots: span ids that a parent outside may have.

    Returns:
        The spans by id.
    """
    found = list(spans)
    ids = {(span.trace_id, span.span_id): span for span in found}
    assert len(ids) == len(found), "an id came twice"
    for span in found:
        assert span.start_time_unix_nano <= span.end_time_unix_nano, span.name
        parent = ids.get((span.trace_id, span.parent_span_id))
        assert parent is not None or span.parent_span_id in roots, f"{span.name} has no parent"
        for link in span.links:
            assert (link.trace_id, link.span_id) in ids, f"a link of {span.name} leads nowhere"
        undo = attributes(span)["counterstep.kind"] == "undo"
        if undo:
            assert [link.span_id for link in span.links] == [span.parent_span_id], span.name
        if parent is not None:
            assert parent.start_time_unix_nano <= span.start_time_unix_nano, span.name
            assert undo or span.end_time_unix_nano <= parent.end_time_unix_nano, span.name
    return {span.span_id: span for span in found}
