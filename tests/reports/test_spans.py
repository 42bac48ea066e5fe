"""Spans that are made from histories: what holds for all of them, and what each tells."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import BaseModel
from temporalio import workflow
from temporalio.client import WorkflowFailureError

with workflow.unsafe.imports_passed_through():
    from activities import Context, CounterstepError, EmptyInput, SecretRef, operation
    from counterstep.reports import (
        Reporter,
        SpanReporter,
        fetch_report,
        options_for,
        span_resource,
        spans_of,
    )
    from counterstep.reports import _span_names as names
    from flows import Sequence, start
    from tests.conftest import Serve
    from tests.gateway.test_codec import CONVERTER
    from tests.reports.flows import DEFINITIONS, careful, gated
    from tests.reports.making import report as by_hand
    from tests.reports.recording import ENDINGS, recorded
    from tests.reports.test_tree import shows
    from tests.reports.tracing import attributes, check, decoded, otlp
    from tests.support import World, new_id


@pytest.mark.parametrize("name", ENDINGS)
def test_spans_of_every_ending(name: str) -> None:
    """Each id once, every parent and link there, times inside the parent's, and the same bytes twice."""
    report = recorded(name).report("default")
    spans = spans_of(report)
    assert otlp(spans) == otlp(spans_of(recorded(name).report("default")))
    found = check(decoded(spans))
    steps = [one for one in report.walk() if one.kind == "operation"]
    kinds = [attributes(span)["counterstep.kind"] for span in found.values()]
    assert kinds.count("operation") == len(steps)
    assert kinds.count("undo") == sum(one.undo is not None for one in steps)
    assert (kinds.count("flow"), kinds.count("started")) == (1, 1)


def test_what_spans_tell() -> None:
    """A stuck rollout, word by word: names, parents, status and attributes; what waits and decisions leave."""
    report = recorded("rollout-stuck").report("default")
    spans = decoded(spans_of(report))
    parents = {span.span_id: span.name for span in spans}
    assert [(span.name, parents.get(span.parent_span_id)) for span in spans] == [
        ("started", "rollout@1.0.0"),
        ("rollout@1.0.0", None),
        ("reserve-port", "rollout@1.0.0"),
        ("undo reserve-port", "reserve-port"),
        ("unpack-release", "rollout@1.0.0"),
        ("undo unpack-release", "unpack-release"),
        ("start-service", "rollout@1.0.0"),
        ("undo start-service", "start-service"),
        ("check-health", "rollout@1.0.0"),
        ("switch-traffic", "rollout@1.0.0"),
    ]
    flow, undo = spans[1], spans[5]
    run = report.run
    assert run is not None
    assert attributes(flow) == {
        "counterstep.kind": "flow",
        "counterstep.definition": "rollout@1.0.0",
        "counterstep.namespace": "default",
        "counterstep.workflow.id": run.workflow_id,
        "counterstep.workflow.type": "rollout@1.0.0",
        "counterstep.run.id": run.run_id,
        "counterstep.origin": run.origin,
        "counterstep.end": "stuck",
        "counterstep.outcome": "failed",
        "error.type": "Stuck",
    }
    assert (flow.status.code, flow.status.message) == (Status.STATUS_CODE_ERROR, "switch-traffic is down")
    assert attributes(undo) == {
        "counterstep.kind": "undo",
        "counterstep.definition": "unpack-release@1.0.0",
        "counterstep.step": "unpack-release",
        "counterstep.outcome": "failed",
        "counterstep.attempts": 10,
        "counterstep.worker": "25256@vm",
        "error.type": "RuntimeError",
        "counterstep.last_failure.type": "RuntimeError",
        "counterstep.last_failure.message": "undo-unpack-release is down",
    }
    (attempt,) = undo.events
    assert (attempt.name, undo.start_time_unix_nano < attempt.time_unix_nano < undo.end_time_unix_nano) == (
        "attempt",
        True,
    )
    assert (spans[2].status.code, len(spans[2].links)) == (Status.STATUS_CODE_UNSET, 0)


async def test_waits_decisions_and_answers(serve: Serve, world: World, task_queue: str) -> None:
    """Waits and approvals have spans, delays and decisions are events, and a subsaga is around its steps."""
    world.switch("fail-c")
    async with serve(*DEFINITIONS) as client:
        gate = await start(client, gated, EmptyInput(), id=new_id(), task_queue=task_queue)
        held = await start(client, careful, EmptyInput(), id=new_id(), task_queue=task_queue)
        await shows(gate, "go", "waiting for approval")
        await gate.execute_update("approve", {"name": "go", "by": "ann"})
        await shows(held, "c", "held")
        world.switch("fail-c", on=False)
        await held.execute_update("retry", {"step": "c", "by": "bob", "reason": "disk is free"})
        for handle in (gate, held):
            await handle.result()
        reports = [await fetch_report(client, handle.id) for handle in (gate, held)]
    spans, others = (check(decoded(spans_of(report))) for report in reports)
    inside = {span.name: spans[span.parent_span_id].name for span in spans.values() if span.parent_span_id}
    flow = "gated@1.0.0"
    assert inside == {
        **dict.fromkeys(("started", "first", "pause", "go", "inner", "last"), flow),
        "inner/x": "inner",
        "inner/y": "inner",
    }
    kinds = {span.name: attributes(span)["counterstep.kind"] for span in spans.values()}
    assert (kinds["pause"], kinds["go"], kinds["inner"]) == ("wait", "approval", "subsaga")
    by_name = {span.name: span for span in (*spans.values(), *others.values())}
    assert _events(by_name["go"]) == [
        ("decision", {"counterstep.action": "approve", "counterstep.by": "ann"})
    ]
    events = _events(by_name["c"])
    assert [name for name, _ in events] == ["delay", "decision", "attempt"]
    assert events[0][1].pop("counterstep.seconds") > 0
    assert [told for _, told in events[:2]] == [
        {"counterstep.why": "held"},
        {"counterstep.action": "retry", "counterstep.by": "bob", "counterstep.why": "disk is free"},
    ]
    assert by_name["pause"].end_time_unix_nano - by_name["pause"].start_time_unix_nano >= 20_000_000


def _events(span: Any) -> list[tuple[str, dict[str, Any]]]:
    return [(event.name, attributes(event)) for event in span.events]


CANARY = "canary-7f3a"


class Guarded(BaseModel):
    """What nobody may read, and a secret by its name."""

    text: str
    token: SecretRef
    fails: bool


class Known:
    """A source that knows one secret."""

    async def get(self, name: str) -> str | None:
        return CANARY if name == "token" else None


@operation(id="uses-secret", version="1.0.0")
async def uses_secret(ctx: Context[World], input: Guarded) -> str:
    """Use the secret; give back what nobody may read, or fail, saying too much."""
    assert await ctx.secret(input.token) == CANARY
    if input.fails:
        raise RuntimeError(f"can't log in with {input.text}")
    return input.text


class Secretive(Sequence[Guarded, str], id="secretive", version="1.0.0"):
    """One step."""

    async def run(self, input: Guarded) -> str:
        return (await self.execute(uses_secret, input)).output


async def test_what_is_secret_stays_so(serve: Serve, world: World, task_queue: str) -> None:
    """Point 6: what a codec encrypts, messages among it, is in no span of the worker's nor of the command's, unless asked for."""
    spans = InMemorySpanExporter()
    async with serve(
        uses_secret, Secretive, spans=spans, secrets=Known(), data_converter=CONVERTER
    ) as client:
        reports = []
        for fails in (False, True):
            given = Guarded(text=CANARY, token=SecretRef("token"), fails=fails)
            handle = await start(client, Secretive, given, id=new_id(), task_queue=task_queue)
            with contextlib.suppress(WorkflowFailureError):
                await handle.result()
            reports.append(await fetch_report(client, handle.id))
        made = [span for report in reports for span in spans_of(report, options_for(client))]
        told = [span for report in reports for span in spans_of(report, options_for(client, payloads=100))]
    assert reports[0].result == (CANARY,)
    exported = spans.get_finished_spans()
    assert {span.name for span in exported} == {"started", "secretive@1.0.0", "uses-secret"}
    assert CANARY.encode() not in otlp(exported)
    assert CANARY.encode() not in otlp(made)
    assert otlp(told).count(CANARY.encode()) == 6
    failed = [span for span in decoded(made) if span.status.code == Status.STATUS_CODE_ERROR]
    assert [attributes(span)["error.type"] for span in failed] == ["RolledBack", "RuntimeError"]


def test_every_attribute_is_documented() -> None:
    """The table in docs/spans.md has the names that spans use, and no others."""
    text = (Path(__file__).parents[2] / "docs" / "spans.md").read_text()
    table = set(re.findall(r"^\| `((?:counterstep|error)\.[a-z_.]+)`", text, re.MULTILINE))
    assert table == {value for name, value in vars(names).items() if name.isupper()}


def test_the_resource_is_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of OpenTelemetry's resource variables only what every process of a service has alike counts."""
    assert dict(span_resource().attributes) == {"service.name": "counterstep"}
    given = "service.name=x,service.namespace=shop,service.instance.id=7,host.name=h,deployment.environment.name=prod"
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", given)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "bookings")
    assert dict(span_resource().attributes) == {
        "service.name": "bookings",
        "service.namespace": "shop",
        "deployment.environment.name": "prod",
    }


def test_the_reporter_exports_what_is_added() -> None:
    """A report from history is exported and kept; one without spans, or that nobody takes, is refused and not kept."""
    spans, report = InMemorySpanExporter(), recorded("rollout-completed").report("default")
    reporter = SpanReporter(spans)
    kept: Reporter = reporter
    kept.add_report(report)
    assert otlp(spans.get_finished_spans()) == otlp(spans_of(report))
    assert (kept.get_report(report.id), kept.get_reports()) == (report, [report])
    assert [one.step for one in kept.get_execution_reports(report.id)][-1] == ""
    with pytest.raises(CounterstepError, match="report id-a has no spans"):
        kept.add_report(by_hand("a"))
    spans.shutdown()
    with pytest.raises(CounterstepError, match="weren't taken"):
        kept.add_report(report)
    assert kept.get_reports() == [report]
