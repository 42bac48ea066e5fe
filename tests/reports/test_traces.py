"""Which trace a span is in: the caller's, that of code inside an operation, those of children, parts and undos."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from subprocess import CompletedProcess
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.client import (
    Client,
    Interceptor,
    OutboundInterceptor,
    StartWorkflowInput,
    WorkflowFailureError,
    WorkflowHandle,
)

with workflow.unsafe.imports_passed_through():
    from activities import EmptyInput
    from counterstep.reports import fetch_report, spans_of
    from flows import start
    from tests.conftest import Serve
    from tests.longrunning.operations import Parent as LongParent
    from tests.longrunning.operations import Short, keyed
    from tests.reports.traced_flows import (
        FLOWS,
        MADE,
        Again,
        Calling,
        Inside,
        Later,
        Many,
        breaks,
        calls,
        calls_locally,
        line,
    )
    from tests.reports.tracing import attributes, check, decoded
    from tests.support import World, new_id
    from tests.undoing import undo

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def made() -> Iterator[InMemorySpanExporter]:
    """The spans that operations make themselves."""
    MADE.clear()
    yield MADE


async def run(client: Client, queue: str, flow: Any, input: Any, **more: Any) -> str:
    """Run a flow to its end, whatever that is; give its id."""
    handle = await start(client, flow, input, id=new_id(), task_queue=queue, **more)
    with contextlib.suppress(WorkflowFailureError):
        await asyncio.wait_for(handle.result(), 60)
    return handle.id


async def exported(client: Client, *ids: str) -> dict[bytes, Any]:
    """Give the spans of runs by id, checked."""
    reports = [await fetch_report(client, id) for id in ids]
    return check(decoded([span for report in reports for span in spans_of(report)]))


def named(spans: dict[bytes, Any], name: str) -> Any:
    """Give the one span of a name."""
    (found,) = [span for span in spans.values() if span.name == name]
    return found


async def test_spans_inside_operations(
    serve: Serve, world: World, task_queue: str, made: InMemorySpanExporter
) -> None:
    """A span that a handler makes is a child of its step's, or of its undo's: async, in a thread, local, inline, in a child."""
    world.switch("break")
    async with serve(*FLOWS) as client:
        id = await run(client, task_queue, Calling, 1)
        spans = await exported(client, id)
    steps = ["calls", "calls-in-thread", "calls-locally", "inside/calls", "child/calls"]
    found = {}
    for span in made.get_finished_spans():
        assert span.parent is not None and span.context is not None
        parent = spans[span.parent.span_id.to_bytes(8, "big")]
        assert span.context.trace_id.to_bytes(16, "big") == parent.trace_id
        found[parent.name] = span.name
    calls = {step: f"call {step.removeprefix('child/')}" for step in steps}
    assert found == calls | {f"undo {step}": f"un{call}" for step, call in calls.items()} | {
        "undo child/calls": "uncall child/calls"
    }


async def test_the_callers_trace(
    serve: Serve, world: World, task_queue: str, made: InMemorySpanExporter
) -> None:
    """A trace parent that came along is the flow's parent; steps, children, undos and what handlers make are in that trace."""
    world.switch("break")
    async with serve(*FLOWS) as client:
        id = await run(_traced(client, CALLER), task_queue, Calling, 1)
        report = await fetch_report(client, id)
        malformed = [await run(_traced(client, text), task_queue, Inside, 1) for text in MALFORMED]
        own = [await fetch_report(client, id) for id in malformed]
    spans = check(decoded(spans_of(report)), roots=(b"", bytes.fromhex(CALLER[36:52])))
    assert named(spans, "calling@1.0.0").parent_span_id.hex() == "b7ad6b7169203331"
    assert {span.trace_id.hex() for span in spans.values()} == {CALLER[3:35]}
    inner = [
        span
        for span in made.get_finished_spans()
        if span.context and f"{span.context.trace_id:032x}" == CALLER[3:35]
    ]
    assert len(inner) == 10
    assert {span.parent.span_id.to_bytes(8, "big") in spans for span in inner if span.parent} == {True}
    traces = [one.spot.trace for one in own if one.spot]
    assert len(set(traces)) == len(MALFORMED) and CALLER[3:35] not in traces


MALFORMED = ["00-1-2-01", f"00-{'0' * 32}-b7ad6b7169203331-01", f"ff{CALLER[2:]}", "", CALLER.upper()]


async def test_a_caller_who_does_not_sample(
    serve: Serve, world: World, task_queue: str, made: InMemorySpanExporter
) -> None:
    """Where the caller's trace isn't recorded, neither are spans inside operations, nor does the worker export the run."""
    spans = InMemorySpanExporter()
    async with serve(*FLOWS, spans=spans) as client:
        await run(_traced(client, f"{CALLER[:-2]}00"), task_queue, Calling, 1)
        id = await run(client, task_queue, Inside, 1)
        report = await fetch_report(client, id)
    assert [span.name for span in made.get_finished_spans()] == ["call calls"]
    assert {span.context.trace_id for span in spans.get_finished_spans() if span.context} == {
        int(report.spot.trace, 16) if report.spot else 0
    }


class _Traced(Interceptor):
    """Starts runs with a trace parent, as a tracer does."""

    def __init__(self, parent: str) -> None:
        self.parent = parent

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        return _Tracing(next, self.parent)


class _Tracing(OutboundInterceptor):
    def __init__(self, next: OutboundInterceptor, parent: str) -> None:
        super().__init__(next)
        self._parent = parent

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        payload = Payload(data=json.dumps({"traceparent": self._parent}).encode())
        input.headers = {**input.headers, "_tracer-data": payload}
        return await super().start_workflow(input)


def _traced(client: Client, parent: str) -> Client:
    config = client.config()
    config["interceptors"] = [_Traced(parent), *config["interceptors"]]
    return Client(**config)


async def test_the_trace_parent_of_the_cli(
    serve: Serve, world: World, task_queue: str, temporal: Callable[..., CompletedProcess[str]]
) -> None:
    """`temporal workflow start --headers` hands over a trace parent, also through a range that becomes an exact type."""
    id = new_id()
    header = json.dumps({"traceparent": CALLER})
    async with serve(*FLOWS) as client:
        args = ["--type", "inside@^1", "-w", id, "--task-queue", task_queue, "--input", "1"]
        await asyncio.to_thread(temporal, "workflow", "execute", *args, "--headers", f"_tracer-data={header}")
        spans = spans_of(await fetch_report(client, id))
    assert [(s.name, s.parent and f"{s.parent.span_id:016x}") for s in spans if s.name == "inside@1.0.0"] == [
        ("inside@1.0.0", "b7ad6b7169203331")
    ]


@pytest.mark.parametrize("sent", ['"x"', '{"run": "x", "trace": "short"}'])
async def test_a_header_that_is_not_ours(
    serve: Serve, world: World, task_queue: str, temporal: Callable[..., CompletedProcess[str]], sent: str
) -> None:
    """What a caller sends under our header's name counts as none: the run completes, and its spans are derived."""
    id = new_id()
    async with serve(*FLOWS) as client:
        args = ["--type", "inside@1.0.0", "-w", id, "--task-queue", task_queue, "--input", "1"]
        await asyncio.to_thread(temporal, "workflow", "execute", *args, "--headers", f"counterstep={sent}")
        spans = spans_of(await fetch_report(client, id))
    assert next(s for s in spans if s.name == "inside@1.0.0").parent is None


@pytest.mark.parametrize("traced", [False, True])
async def test_a_large_run_is_several_traces(
    serve: Serve,
    world: World,
    task_queue: str,
    made: InMemorySpanExporter,
    monkeypatch: pytest.MonkeyPatch,
    traced: bool,
) -> None:
    """After so many steps a flow goes on in a linked trace, also under replay: children, handlers' spans, undos of its steps."""
    monkeypatch.setattr("flows._spans.PART", 2)
    world.switch("break")
    async with serve(*FLOWS, cache=1000 if traced else 0) as client:
        caller = _traced(client, CALLER) if traced else client
        id = await run(caller, task_queue, Many, 1)
        report = await fetch_report(client, id)
    spans = check(decoded(spans_of(report)), roots=(b"", bytes.fromhex(CALLER[36:52])))
    _in_parts(spans, made, "many@1.0.0", 4)
    traces = {span.name: span.trace_id for span in spans.values()}
    for one, other in (
        ("calls", "calls.2"),
        ("calls.3", "inside/calls"),
        ("calls.4", "calls.5"),
        ("child/calls", "breaks"),
    ):
        assert traces[one] == traces[other], (one, other)
    flow = named(spans, "many@1.0.0")
    assert (flow.trace_id.hex() == CALLER[3:35]) is traced


def _in_parts(spans: dict[bytes, Any], made: InMemorySpanExporter, flow: str, parts: int) -> None:
    """Check that a flow is in so many linked traces, each with one root, and that what handlers made is in them."""
    whole = named(spans, flow)
    roots = [span for span in spans.values() if attributes(span)["counterstep.kind"] == "part"]
    assert [span.name for span in roots] == [f"{flow} (part {n})" for n in range(1, parts)]
    assert [link.span_id for link in whole.links] == [span.span_id for span in roots]
    assert [[link.span_id for link in span.links] for span in roots] == [[whole.span_id]] * (parts - 1)
    assert len({span.trace_id for span in spans.values()}) == parts
    for undone in (span for span in spans.values() if span.name.startswith("undo ")):
        assert undone.trace_id == spans[undone.parent_span_id].trace_id
    inner = made.get_finished_spans()
    assert len(inner) == sum(
        "calls" in attributes(span).get("counterstep.definition", "") for span in spans.values()
    )
    for span in inner:
        assert span.parent is not None and span.context is not None
        parent = spans[span.parent.span_id.to_bytes(8, "big")]
        assert span.context.trace_id.to_bytes(16, "big") == parent.trace_id


@pytest.mark.parametrize("traced", [False, True])
async def test_the_trace_goes_on_as_new(
    serve: Serve,
    world: World,
    task_queue: str,
    made: InMemorySpanExporter,
    monkeypatch: pytest.MonkeyPatch,
    traced: bool,
) -> None:
    """A saga that continues as new stays in its traces, counts its steps on, and undoes where they are; so does `undo`."""
    monkeypatch.setattr("flows._spans.PART", 5)
    monkeypatch.setattr("flows._full.CONTINUE_AT", 30)
    async with serve(calls, breaks, line) as client:
        caller = _traced(client, CALLER) if traced else client
        kept = await run(caller, task_queue, line, EmptyInput())
        world.switch("break")
        broken = await run(caller, task_queue, line, EmptyInput())
        await undo(client, task_queue, client.get_workflow_handle(kept))
        reports = [await fetch_report(client, id) for id in (kept, broken)]
    assert [len(report.run.runs) > 1 for report in reports if report.run] == [True, True]
    every = [
        check(decoded(spans_of(report)), roots=(b"", bytes.fromhex(CALLER[36:52]))) for report in reports
    ]
    spans = every[0] | every[1]
    assert [sum(span.name.startswith("undo ") for span in one.values()) for one in every] == [8, 8]
    assert len(made.get_finished_spans()) == 32
    for span in made.get_finished_spans():
        assert span.parent is not None and span.context is not None
        parent = spans[span.parent.span_id.to_bytes(8, "big")]
        assert span.context.trace_id.to_bytes(16, "big") == parent.trace_id
    for one in every:
        roots = [span for span in one.values() if attributes(span)["counterstep.kind"] == "part"]
        assert [span.name for span in roots] == ["line@1.0.0 (part 1)"]
        assert (named(one, "line@1.0.0").trace_id.hex() == CALLER[3:35]) is traced


async def test_times_under_time_skipping(skipping: Serve, world: World, task_queue: str) -> None:
    """A day that was skipped is a day in the spans, also for local steps, whose worker's clock knows nothing of it."""
    async with skipping(calls, calls_locally, Later) as client:
        id = await run(client, task_queue, Later, 1)
        spans = await exported(client, id)
    began = {span.name: span.start_time_unix_nano for span in spans.values()}
    order = ["later@1.0.0", "calls-locally", "calls", "a-day-0", "calls-locally.2", "calls.2", "a-day-10"]
    assert sorted((name for name in began if name != "started"), key=lambda name: began[name]) == order
    day = timedelta(days=1).total_seconds()
    for first, second in zip(order[1:4], order[4:], strict=True):
        assert day <= (began[second] - began[first]) / 1e9 < 2 * day, second


async def test_the_worker_knows_what_the_family_does(serve: Serve, world: World, task_queue: str) -> None:
    """From each run's history alone the worker makes the spans that all histories together make: children, undos by others."""
    worker = InMemorySpanExporter()
    async with serve(*FLOWS, keyed, Short, LongParent, spans=worker) as client:
        kept = await run(client, task_queue, Calling, 1)
        long = await run(client, task_queue, LongParent, 2)
        for switch in ("break", "fail-after"):
            world.switch(switch)
        broken = [await run(client, task_queue, flow, 2) for flow in (Calling, LongParent)]
        await undo(client, task_queue, client.get_workflow_handle(kept))
        every = [await exported(client, id) for id in (kept, long, *broken)]
    whole = {span.SerializeToString() for spans in every for span in spans.values()}
    alone = {span.SerializeToString(): span.name for span in decoded(worker.get_finished_spans())}
    assert [sum(span.name.startswith("undo ") for span in spans.values()) for spans in every] == [5, 0, 5, 2]
    assert whole <= alone.keys()
    assert sorted(name for data, name in alone.items() if data not in whole) == [
        "counterstep-undo",
        "started",
        "started",
        "undo",
    ]
    legs = [span for span in every[1].values() if attributes(span)["counterstep.kind"] == "leg"]
    assert [span.name for span in legs] == ["leg:0", "leg:1"]


@pytest.mark.parametrize("traced", [False, True])
async def test_a_run_that_goes_on_from_another(
    serve: Serve, world: World, task_queue: str, made: InMemorySpanExporter, traced: bool
) -> None:
    """A step that runs again under its old key has a span of its own in the new run; one that is answered has none there."""
    world.switch("break")
    async with serve(*FLOWS) as client:
        caller = _traced(client, CALLER) if traced else client
        before = await run(caller, task_queue, Again, 1)
        world.switch("break", on=False)
        after = await run(caller, task_queue, Again, 1, memo={"resume_from": before})
        reports = [await fetch_report(client, id) for id in (before, after)]
    spans = [span for report in reports for span in decoded(spans_of(report))]
    every = check(spans, roots=(b"", bytes.fromhex(CALLER[36:52])))
    assert [span.name for span in spans] == [
        *("started", "again@1.0.0", "calls", "flaky"),
        *("started", "again@1.0.0", "flaky"),
    ]
    assert attributes(spans[5])["counterstep.resumed_from"] == before
    for span, step in zip(made.get_finished_spans(), (spans[2], spans[3], spans[6]), strict=True):
        assert span.parent is not None and span.context is not None
        assert every[span.parent.span_id.to_bytes(8, "big")] == step
        assert span.context.trace_id.to_bytes(16, "big") == step.trace_id
    assert len({span.trace_id for span in spans}) == (1 if traced else 2)
