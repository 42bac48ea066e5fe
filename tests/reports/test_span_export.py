"""What a worker exports of the runs that it closes, off their path, and what `counterstep export` does: the same."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from click.testing import Result
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from temporalio import workflow
from temporalio.api.enums.v1 import HistoryEventFilterType
from temporalio.client import Client, WorkflowFailureError
from typer.testing import CliRunner

with workflow.unsafe.imports_passed_through():
    from activities import EmptyInput
    from counterstep.cli import app
    from counterstep.reports import RunExporter, fetch_report, spans_asked, spans_of
    from flows import start
    from tests.conftest import Serve
    from tests.reports.flows import DEFINITIONS, Child, Parent, plain
    from tests.reports.tracing import POISONED, RECEIVERS, Received, check, decoded, otlp, spans_in
    from tests.sagas.operations import Made
    from tests.support import World, events_of, eventually, new_id

Command = Callable[..., Awaitable[Result]]
WHOLE = ["started", "child@1.0.0", "local-a"]
CLOSE = HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT


@pytest.fixture
def counterstep(dev_address: str) -> Command:
    """Run a command in this process, against the dev server."""

    async def run(*args: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, app, [*args, "--address", dev_address])

    return run


@pytest.fixture(params=RECEIVERS)
def receiver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Receive spans; OpenTelemetry's variables lead here."""
    with RECEIVERS[request.param]() as received:
        for name, value in received.env.items():
            monkeypatch.setenv(name, value)
        yield received


async def ended(client: Client, queue: str, flow: Any, input: Any = EmptyInput(), **more: Any) -> str:
    """Run a flow to its end, whatever that is; give its id."""
    handle = await start(client, flow, input, id=new_id(), task_queue=queue, **more)
    with contextlib.suppress(WorkflowFailureError):
        await asyncio.wait_for(handle.result(), 60)
    return handle.id


def bytes_of(spans: Any) -> set[bytes]:
    return {span.SerializeToString(deterministic=True) for span in spans}


async def test_the_worker_exports_what_the_command_does(
    serve: Serve, world: World, task_queue: str, counterstep: Command, receiver: Received
) -> None:
    """Completed, unwound and with a child: each span once, its parent there, and `export` gives the same bytes."""
    async with serve(*DEFINITIONS, spans=spans_asked()) as client:
        ids = [await ended(client, task_queue, plain), await ended(client, task_queue, Parent, 1)]
        world.switch("fail-d")
        ids.append(await ended(client, task_queue, plain))
    exported = {id: receiver.of(id) for id in ids}
    assert [len(check(_once(exported[id]))) for id in ids] == [6, 6, 9]
    receiver.requests.clear()
    for id, count in zip(ids, (6, 6, 9), strict=True):
        result = await counterstep("export", id)
        assert (result.exit_code, result.stdout) == (0, f"{count} spans exported\n"), result.stderr
        again = receiver.of(id)
        assert len(check(again)) == count
        assert bytes_of(again) == bytes_of(exported[id])
    first = list(receiver.requests)
    receiver.requests.clear()
    for id in ids:
        await counterstep("export", id)
    assert receiver.requests == first


def _once(spans: list[Any]) -> list[Any]:
    """Leave out that a run was announced before it ended: the same span comes again with the others."""
    return list({span.SerializeToString(deterministic=True): span for span in spans}.values())


async def test_a_run_is_announced(serve: Serve, world: World, task_queue: str) -> None:
    """While a run is open, the worker and the command say the same: that it began; a range is announced as what it is."""
    world.switch("hold-b")
    spans = InMemorySpanExporter()
    async with serve(*DEFINITIONS, spans=spans) as client:
        handle = await start(client, plain, EmptyInput(), id=new_id(), task_queue=task_queue)
        await world.until("b")
        await eventually(spans.get_finished_spans)
        announced = spans.get_finished_spans()
        derived = spans_of(await fetch_report(client, handle.id))
        by_range = await client.start_workflow("waits@^1", 1, id=new_id(), task_queue=task_queue)
        await eventually(lambda: len(spans.get_finished_spans()) == 2)
        await by_range.terminate()
        world.switch("go-b")
        await handle.result()
    assert otlp(announced) == otlp(derived)
    (span,) = decoded(derived)
    assert (span.name, span.start_time_unix_nano) == ("started", span.end_time_unix_nano)
    second = spans.get_finished_spans()[1]
    assert second.attributes and second.attributes["counterstep.workflow.type"] == "waits@1.0.0"


async def test_nothing_of_it_is_on_the_flows_path(serve: Serve, world: World, task_queue: str) -> None:
    """The same events with export as without, and one read of each run's history."""
    spans = InMemorySpanExporter()
    async with serve(*DEFINITIONS) as client:
        without = await _own_events(client, await ended(client, task_queue, plain))
    async with serve(*DEFINITIONS, spans=spans) as client:
        reads = _counted(client)
        id = await ended(client, task_queue, plain)
        await eventually(lambda: len(spans.get_finished_spans()) >= 6)
        assert reads == {id: 1}
        assert await _own_events(client, id) == without


async def _own_events(client: Client, id: str) -> list[str]:
    """Give a run's events, sorted, without the tasks: whether steps beside each other end in one task, is chance."""
    events = await events_of(client.get_workflow_handle(id))
    return sorted(event for event in events if not event.startswith("WORKFLOW_TASK_"))


def _counted(client: Client) -> dict[str, int]:
    """Count the reads of histories, each from its first page; waiting for a result reads only how it ended."""
    service, counts = client.workflow_service, {}
    read = service.get_workflow_execution_history

    async def counting(request: Any, **options: Any) -> Any:
        if not request.next_page_token and request.history_event_filter_type != CLOSE:
            id = request.execution.workflow_id
            counts[id] = counts.get(id, 0) + 1
        return await read(request, **options)

    service.get_workflow_execution_history = counting  # type: ignore[method-assign]
    return counts


class _Broken(SpanExporter):
    """Takes nothing: raises, refuses, or hangs until it is told not to."""

    def __init__(self, how: str) -> None:
        self.how, self.tried, self.go = how, 0, threading.Event()

    def export(self, spans: Any) -> SpanExportResult:
        self.tried += 1
        if self.how == "hangs":
            self.go.wait()
        if self.how == "raises":
            raise RuntimeError("no network")
        return SpanExportResult.FAILURE

    def shutdown(self) -> None: ...


@pytest.mark.parametrize("how", ["raises", "refuses", "hangs"])
async def test_a_collector_that_is_down(
    serve: Serve, world: World, task_queue: str, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Whatever an exporter does, flows complete, the worker ends, and says that spans are missing; later they are the same."""
    made: list[RunExporter] = []
    broken = _Broken(how)
    monkeypatch.setattr(
        "flows._plugin.RunExporter", lambda spans: made.append(RunExporter(spans, flush=0.2)) or made[0]
    )
    async with serve(*DEFINITIONS, spans=broken) as client:
        handle = await start(client, plain, EmptyInput(), id=new_id(), task_queue=task_queue)
        assert await asyncio.wait_for(handle.result(), 60) == Made(id=0, name="d")
        await eventually(lambda: broken.tried)
        spans = spans_of(await fetch_report(client, handle.id))
    broken.go.set()
    assert (made[0].lost, len(spans)) == (1, 6)


async def test_a_collector_that_comes_back(
    serve: Serve, world: World, task_queue: str, receiver: Received
) -> None:
    """What nobody took is sent again, without another read of the history."""
    receiver.down = True
    async with serve(*DEFINITIONS, spans=spans_asked()) as client:
        reads = _counted(client)
        id = await ended(client, task_queue, plain)
        await eventually(lambda: receiver.refused)
        receiver.down = False
        await eventually(lambda: len(_once(receiver.of(id))) == 6)
        assert reads == {id: 1}


async def test_a_batch_that_is_refused_for_good(
    serve: Serve,
    world: World,
    task_queue: str,
    receiver: Received,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What the collector will never take is sent once and named in the log, with its runs; the next run is exported."""
    made: list[RunExporter] = []
    monkeypatch.setattr("flows._plugin.RunExporter", lambda spans: made.append(RunExporter(spans)) or made[0])
    async with serve(*DEFINITIONS, spans=spans_asked()) as client:
        bad, good = new_id("bad"), new_id("good")
        receiver.poison = bad.encode()
        handle = await start(client, Child, 1, id=bad, task_queue=task_queue)
        await handle.result()
        run = (await handle.describe()).run_id
        await eventually(lambda: made[0].lost)
        await (await start(client, Child, 1, id=good, task_queue=task_queue)).result()
        await eventually(lambda: len(_once(receiver.of(good))) == 3)
    assert (receiver.of(bad), made[0].lost) == ([], 1)
    names = [[span.name for span in spans_in(request)] for request in receiver.refused_for_good]
    assert names in ([["started"], WHOLE], [WHOLE])  # the run may have ended before it was announced
    answer = {"http/protobuf": "HTTP 400", "grpc": "gRPC INVALID_ARGUMENT"}[receiver.protocol]
    assert [r.getMessage() for r in caplog.records if "left out" in r.getMessage()] == [
        f"{len(sent)} spans are left out: {answer}: {POISONED}; they are of {bad} (run {run})"
        for sent in names
    ]


def test_the_queue_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """What doesn't fit is left out, counted, and said once; nobody waits."""
    exporter = RunExporter(InMemorySpanExporter(), room=2)
    for number in range(5):
        exporter.ended("id", f"run-{number}")
    assert exporter.lost == 3
    assert [record.message for record in caplog.records] == [
        "too many runs wait for the export of spans; those that don't fit are left out"
    ]


async def test_a_run_that_does_not_close(
    serve: Serve, world: World, task_queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of which one only thinks that it closes holds up the others for a limited time, and isn't exported."""
    monkeypatch.setattr("counterstep.reports._span_export._CLOSING", 0.5)
    spans = InMemorySpanExporter()
    exporter = RunExporter(spans)
    async with serve(*DEFINITIONS) as client:
        world.switch("hold-b")
        handle = await start(client, plain, EmptyInput(), id=new_id(), task_queue=task_queue)
        await world.until("b")
        closed = await ended(client, task_queue, Child, 1)
        exporter.ended(handle.id, (await handle.describe()).run_id or "")
        exporter.ended(closed, (await client.get_workflow_handle(closed).describe()).run_id or "")
        async with exporter.serving(client):
            await eventually(lambda: len(spans.get_finished_spans()) == 3)
        await handle.terminate()
    assert [span.name for span in spans.get_finished_spans()] == ["started", "child@1.0.0", "local-a"]
