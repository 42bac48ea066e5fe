"""`counterstep export`: runs by id and by query, with and without a worker, once and for ever; and how it fails."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Sequence

import pytest
from click.testing import Result
from opentelemetry.sdk.trace import ReadableSpan
from temporalio import workflow
from typer.testing import CliRunner

with workflow.unsafe.imports_passed_through():
    from activities import EmptyInput
    from counterstep._connection import Connection, Refused
    from counterstep.cli import app
    from counterstep.export import _export
    from counterstep.reports import fetch_report, otlp_exporter, spans_asked, spans_of
    from counterstep.serving import ConnectionFlags
    from flows import start
    from tests.conftest import Serve
    from tests.reports.flows import DEFINITIONS, Child, plain
    from tests.reports.tracing import http_receiver, otlp
    from tests.support import World, eventually, new_id

Command = Callable[..., Awaitable[Result]]


@pytest.fixture
def counterstep(dev_address: str) -> Command:
    """Run a command in this process, against the dev server."""

    async def run(*args: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, app, [*args, "--address", dev_address])

    return run


class _Kept:
    """A sink that keeps spans, unless it is down."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []
        self.down = False

    def send(self, spans: Sequence[ReadableSpan]) -> None:
        if self.down:
            raise Refused("nobody took them")
        self.spans += spans

    def done(self) -> None: ...

    def named(self, workflow_id: str) -> list[str]:
        """Give the names of the spans in a run's trace."""
        key = "counterstep.workflow.id"
        traces = {
            s.context.trace_id
            for s in self.spans
            if s.context and (s.attributes or {}).get(key) == workflow_id
        }
        return [span.name for span in self.spans if span.context and span.context.trace_id in traces]


async def test_a_query_is_followed(serve: Serve, world: World, task_queue: str, dev_address: str) -> None:
    """Open runs are announced once; a run that is terminated, with no worker and the collector down meanwhile, comes whole."""
    world.switch("hold-b")
    sink = _Kept()
    what = (None, None, f"TaskQueue = '{task_queue}'")
    async with serve(*DEFINITIONS) as client:
        done = await start(client, Child, 1, id=new_id(), task_queue=task_queue)
        await done.result()
        open_ = await start(client, plain, EmptyInput(), id=new_id(), task_queue=task_queue)
        await world.until("b")
        await eventually(lambda: world.calls.count("c"))
        following = asyncio.create_task(
            _export(Connection(ConnectionFlags(dev_address)), what, True, 0.2, 0, sink)
        )
        await eventually(lambda: sink.named(open_.id) and len(sink.named(done.id)) == 3)
    sink.down = True
    await open_.terminate()
    await asyncio.sleep(1)
    assert sink.named(open_.id) == ["started"]
    sink.down = False
    await eventually(lambda: len(sink.named(open_.id)) == 6)
    await asyncio.sleep(0.5)
    following.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await following
    assert sink.named(done.id) == ["started", "child@1.0.0", "local-a"]
    assert sink.named(open_.id) == ["started", "started", "plain@1.0.0", "a", "b", "c"]
    report = await fetch_report(client, open_.id)
    assert otlp([span for span in sink.spans if span.name != "started"][2:]) == otlp(spans_of(report)[1:])


async def test_a_run_is_followed_to_its_end(
    serve: Serve, world: World, task_queue: str, counterstep: Command
) -> None:
    """`export ID --follow` announces the run, waits, and exports it when it has ended; `--json` writes a line for each span."""
    world.switch("hold-b")
    async with serve(*DEFINITIONS) as client:
        handle = await start(client, plain, EmptyInput(), id=new_id(), task_queue=task_queue)
        await world.until("b")
        exporting = asyncio.create_task(counterstep("export", handle.id, "--follow", "--json", "--payloads"))
        await asyncio.sleep(0.5)
        world.switch("go-b")
        result = await asyncio.wait_for(exporting, 60)
    assert result.exit_code == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert sorted(line["name"] for line in lines) == ["a", "b", "c", "d", "plain@1.0.0", "started", "started"]
    (b,) = [line for line in lines if line["name"] == "b"]
    told = {k.removeprefix("counterstep."): v for k, v in b["attributes"].items()}
    assert (told["input"], told["output"], told["outcome"]) == (
        '{"number":1}',
        '{"id":1,"name":"b"}',
        "done",
    )
    cut = await counterstep("export", handle.id, "--json", "--payloads", "--cut", "5")
    (b,) = [line for line in map(json.loads, cut.stdout.splitlines()) if line["name"] == "b"]
    assert b["attributes"]["counterstep.input"] == '{"num…'


async def test_it_fails_in_one_line(
    serve: Serve, task_queue: str, counterstep: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No such run, neither id nor query, a collector that refuses or isn't there, a protocol nobody knows: exit code 1."""
    async with serve(*DEFINITIONS) as client:
        handle = await start(client, Child, 1, id=new_id(), task_queue=task_queue)
        await handle.result()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with http_receiver() as receiver:
        receiver.down = True
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        rows = [
            (("nobody",), "there is no run of 'nobody'"),
            ((), "give a workflow id, or --query"),
            (("x", "--query", "y"), "give a workflow id, or --query"),
            (("--query", "Nothing = 'x'"), "Temporal refused: invalid query: "),
            ((handle.id,), "nobody took 3 spans: "),
        ]
        where = f"(at {receiver.url}; OTEL_EXPORTER_OTLP_ENDPOINT says where)\n"
        for args, line in rows:
            result = await counterstep("export", *args)
            assert (result.exit_code, result.stdout) == (1, ""), args
            assert result.stderr.startswith(f"counterstep export: {line}"), result.stderr
            assert result.stderr.count("\n") == 1, result.stderr
        assert result.stderr.endswith(where)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "pigeon")
    result = await counterstep("export", handle.id)
    assert result.stderr == (
        "counterstep export: OTEL_EXPORTER_OTLP_PROTOCOL='pigeon': it can be grpc or http/protobuf\n"
    )


@pytest.mark.parametrize(
    ("env", "asked"),
    [
        ({}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318"}, "http"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x:4318/v1/traces"}, "http"),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "http"),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "grpc"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4317", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"},
            "grpc",
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318", "OTEL_TRACES_EXPORTER": "none"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318", "OTEL_SDK_DISABLED": "true"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318", "OTEL_EXPORTER_OTLP_PROTOCOL": "pigeon"}, None),
    ],
)
def test_when_a_worker_exports(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str], asked: str | None
) -> None:
    """Only if OpenTelemetry's variables ask for it, in the protocol that they name; HTTP unless they do."""
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    exporter = spans_asked()
    sends = exporter and vars(exporter)["_exporter"]
    assert (sends is None) == (asked is None)
    assert asked is None or f".proto.{asked}.trace_exporter." in str(type(sends).__mro__)


def test_what_is_not_installed_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the extra a worker serves all the same and says so; the command can't."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://x:4318")
    monkeypatch.setitem(
        __import__("sys").modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None
    )
    assert spans_asked() is None
    needs = "exporting spans needs more: pip install 'counterstep[otlp]'"
    assert caplog.records[0].message.startswith(f"no spans are exported: {needs} (")
    with pytest.raises(Exception, match="pip install"):
        otlp_exporter()
