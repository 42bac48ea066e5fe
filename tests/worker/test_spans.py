"""`worker.py` exports spans where OpenTelemetry's variables say, and sends what is left when it ends."""

from __future__ import annotations

import signal

from temporalio.client import Client

from flows import start
from tests.reports.tracing import check, http_receiver
from tests.support import new_id
from tests.worker.conftest import Launch


async def test_the_worker_exports(served: Launch, dev_address: str, task_queue: str) -> None:
    """A run that closed just before the worker ends is exported; without its extra, or a collector, the worker serves too."""
    client = await Client.connect(dev_address)
    with http_receiver() as receiver:
        worker = served(**receiver.env)
        handle = await start(client, "doubled@1.0.0", 3, id=new_id(), task_queue=task_queue)
        assert await handle.result() == 6
        worker.signal(signal.SIGTERM)
        assert worker.ends() == 0
        spans = {span.SerializeToString(): span for span in receiver.of(handle.id)}
    assert {span.name for span in check(spans.values()).values()} == {"started", "doubled@1.0.0", "slow"}
    wrong = served(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, OTEL_EXPORTER_OTLP_PROTOCOL="pigeon")
    assert "no spans are exported: OTEL_EXPORTER_OTLP_PROTOCOL='pigeon'" in wrong.text
