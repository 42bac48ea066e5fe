"""`counterstep export --query … --follow`: no run is lost, whatever is down meanwhile, and however late Temporal lists it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from temporalio import workflow
from temporalio.client import Client, WorkflowExecution
from temporalio.service import RPCError

with workflow.unsafe.imports_passed_through():
    from activities import EmptyInput
    from counterstep import _exporting, _window
    from counterstep._connection import Connection, Refused
    from counterstep._exporting import Exporting
    from counterstep._spans_out import Collector
    from counterstep._window import Window
    from counterstep.export import _export
    from counterstep.reports import SpanOptions, SpansRefused, fetch_report, otlp_exporter, spans_of
    from counterstep.serving import ConnectionFlags
    from flows import start
    from tests.conftest import Serve
    from tests.reports.flows import DEFINITIONS, Child, Parent, plain
    from tests.reports.tracing import RECEIVERS, Received, check, decoded
    from tests.sagas.crashing import risky_line
    from tests.spawning import Spawner, alive, kill, spawner
    from tests.support import World, eventually, failure_of, new_id
    from tests.undoing import undo


@pytest.fixture(scope="module")
def workers() -> Iterator[Spawner]:
    """Start workers that can be killed."""
    with spawner("tests.reports.killed") as made:
        yield made


@pytest.fixture(params=RECEIVERS)
def receiver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Received]:
    """Receive spans; OpenTelemetry's variables lead here."""
    with RECEIVERS[request.param]() as received:
        for name, value in received.env.items():
            monkeypatch.setenv(name, value)
        yield received


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[datetime | None]:
    """Give a list that grows with each look that got through."""
    through: list[datetime | None] = []
    forget = Exporting.forget
    monkeypatch.setattr(Exporting, "forget", lambda self, at: through.append(at) or forget(self, at))
    return through


@dataclass
class Kept:
    """A sink that keeps spans, but for some that it refuses.

    Attributes:
        spans: by the workflow id of their trace.
        refused: a workflow id whose spans it refuses for good.
    """

    sent: list[tuple[str, list[str]]] = field(default_factory=list)
    refused: str = ""

    def send(self, spans: Sequence[ReadableSpan]) -> None:
        id = str((spans[0].attributes or {})["counterstep.workflow.id"])
        if id == self.refused:
            raise SpansRefused("no")
        self.sent.append((id, [span.name for span in spans]))

    def done(self) -> None: ...


@contextlib.asynccontextmanager
async def following(address: str, query: str, sink: Any) -> AsyncIterator[None]:
    """Follow a query meanwhile."""
    connection = Connection(ConnectionFlags(address))
    task = asyncio.create_task(_export(connection, (None, None, query), True, 0.1, 0, sink))
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def closed(client: Client, query: str, count: int) -> None:
    """Wait until so many runs are listed as closed."""
    while (await client.count_workflows(f"({query}) AND ExecutionStatus != 'Running'")).count < count:
        await asyncio.sleep(0.05)


async def killed_runs(workers: Spawner, world: World, address: str, queue: str) -> list[str]:
    """Run three sagas whose worker is killed: two are terminated, one goes on with another worker."""
    client = await Client.connect(address)
    world.append("die", "before b 1")
    args = (address, queue, str(world.folder), json.dumps({}))
    first = workers.spawn(*args)
    soon = timedelta(seconds=1)
    handles = [
        await start(
            client, risky_line, EmptyInput(), id=new_id("killed"), task_queue=queue, task_timeout=soon
        )
        for _ in range(3)
    ]
    await eventually(lambda: not alive(first))
    for handle in handles[:2]:
        await handle.terminate("enough")
    second = workers.spawn(*args)
    await asyncio.wait_for(handles[2].result(), 120)
    kill(second)
    return [handle.id for handle in handles]


async def wanted(client: Client, id: str) -> set[bytes]:
    """Give the spans that a run has by its history alone."""
    spans = check(decoded(spans_of(await fetch_report(client, id))))
    return {span.SerializeToString(deterministic=True) for span in spans.values()}


async def test_a_long_outage(
    serve: Serve,
    world: World,
    task_queue: str,
    workers: Spawner,
    receiver: Received,
    dev_address: str,
    looks: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The collector is down while more runs than a page close, workers are killed, runs terminated; then all come, once."""
    monkeypatch.setattr(_exporting, "PAGE", 3)
    receiver.down = True
    other = new_id("killed")

    def through() -> int:
        """Give how many looks got through that came upon a run."""
        return len([look for look in looks if look is not None])

    query = f"TaskQueue = '{task_queue}' OR TaskQueue = '{other}'"
    async with following(dev_address, query, Collector(otlp_exporter())):
        async with serve(*DEFINITIONS) as client:
            ids = []
            for _ in range(4):
                done = await start(client, Child, 1, id=new_id(), task_queue=task_queue)
                await done.result()
                ids.append(done.id)
            await eventually(lambda: receiver.refused)
            world.switch("fail-d")
            for flow, input in ((Parent, 1), (plain, EmptyInput())):
                handle = await start(client, flow, input, id=new_id(), task_queue=task_queue)
                await (handle.result() if flow is Parent else failure_of(handle))
                ids.append(handle.id)
        ids += await killed_runs(workers, world, dev_address, other)
        await closed(client, query, 10)
        assert (receiver.requests, through()) == ([], 0)
        expected = [await wanted(client, id) for id in ids]
        receiver.down = False
        await eventually(lambda: through() >= 2)
        first, before = list(receiver.spans), through()
        receiver.requests.clear()
        await eventually(lambda: through() >= before + 2)
        assert receiver.requests == []
    # A look that began in the outage may have announced what has ended since: the same span then comes twice.
    sent = {span.SerializeToString(deterministic=True) for span in first}
    assert sent == set().union(*expected)


async def _look(exporting: Exporting, window: Window) -> None:
    await exporting.matching(window.begin(), window.see)
    exporting.forget(window.end())


@dataclass
class _Late:
    """A client for whose listings Temporal's index is late.

    Attributes:
        unseen: workflow ids that aren't listed yet.
    """

    client: Client
    unseen: set[str] = field(default_factory=set)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    async def list_workflows(self, query: str, **more: Any) -> AsyncIterator[WorkflowExecution]:
        async for run in self.client.list_workflows(query, **more):
            if run.id not in self.unseen:
                yield run


async def test_a_run_that_is_listed_late(
    serve: Serve, world: World, task_queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is listed after others that closed later is exported all the same, and those aren't exported again."""
    monkeypatch.setattr(_window, "LAG", timedelta(0))
    query, sink = f"TaskQueue = '{task_queue}'", Kept()
    async with serve(*DEFINITIONS) as client:
        ids = []
        for _ in range(3):
            handle = await start(client, Child, 1, id=new_id(), task_queue=task_queue)
            await handle.result()
            ids.append(handle.id)
        await closed(client, query, 3)
        late: Any = _Late(client, {ids[1]})
        exporting, window = Exporting(late, sink, SpanOptions()), Window(query)
        await _look(exporting, window)
        late.unseen.clear()
        await _look(exporting, window)
        assert sorted(id for id, _ in sink.sent) == sorted((ids[0], ids[2]))
        monkeypatch.setattr(_window, "DEEP_EVERY", timedelta(0))
        for _ in range(2):
            await _look(exporting, window)
        assert [id for id, _ in sink.sent[2:]] == [ids[1]]


async def test_an_undo_that_comes_later(
    serve: Serve, world: World, task_queue: str, dev_address: str, looks: list[Any]
) -> None:
    """What a closed run is undone of, when it was exported long ago, is exported too."""
    query, sink = f"TaskQueue = '{task_queue}'", Kept()
    async with serve(*DEFINITIONS) as client, following(dev_address, query, sink):
        handle = await start(client, plain, EmptyInput(), id=new_id(), task_queue=task_queue)
        await handle.result()
        await eventually(lambda: any(id == handle.id and len(names) == 6 for id, names in sink.sent))
        await undo(client, task_queue, handle)
        await eventually(
            lambda: {f"undo {step}" for step in "abcd"} <= {n for _, ns in sink.sent for n in ns}
        )


@pytest.mark.parametrize("why", ["refused", "unreadable"])
async def test_a_run_that_can_not_be_exported(
    serve: Serve,
    world: World,
    task_queue: str,
    dev_address: str,
    looks: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    why: str,
) -> None:
    """It is named once and doesn't hold up the others; without `--follow` the command ends with exit code 1, after those."""
    query, sink = f"TaskQueue = '{task_queue}'", Kept()
    async with serve(*DEFINITIONS) as client:
        handles = [await start(client, Child, 1, id=new_id(), task_queue=task_queue) for _ in range(3)]
        for handle in handles:
            await handle.result()
        await closed(client, query, 3)
        bad, good = handles[1], sorted(handle.id for handle in (handles[0], handles[2]))
        said = f"{bad.id} (run {bad.first_execution_run_id}): "
        if why == "refused":
            sink.refused, said = bad.id, f"{said}no"
        else:
            _break(monkeypatch, bad.id)
            said = f"{said}can't be read: KeyError: 'x'"
        async with following(dev_address, query, sink):
            await eventually(lambda: len(looks) >= 3)
        assert sorted(id for id, _ in sink.sent) == good
        assert capsys.readouterr().err == f"counterstep export: {said}\n"
        sink.sent.clear()
        connection = Connection(ConnectionFlags(dev_address))
        with pytest.raises(Refused) as refused:
            await _export(connection, (None, None, query), False, 1, 0, sink)
    assert (str(refused.value), sorted(id for id, _ in sink.sent)) == (f"not all were exported: {said}", good)


def _break(monkeypatch: pytest.MonkeyPatch, id: str) -> None:
    def broken(report: Any, options: Any) -> list[ReadableSpan]:
        if report.run.workflow_id == id:
            raise KeyError("x")
        return spans_of(report, options)

    monkeypatch.setattr(_exporting, "spans_of", broken)


async def test_a_query_that_is_wrong_ends_it(dev_address: str) -> None:
    """It would be wrong at the next look too."""
    with pytest.raises(RPCError, match="invalid query"):
        async with asyncio.timeout(60):
            connection = Connection(ConnectionFlags(dev_address))
            await _export(connection, (None, None, "Nothing = 'x'"), True, 0.1, 0, Kept())


NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def seen(window: Window, *moments: tuple[float, float | None]) -> str:
    """Look, come upon runs that began and ended at these minutes after noon; give the query."""
    query = window.begin()
    for began, ended in moments:
        run: Any = type("Run", (), {})()
        run.start_time = NOON + timedelta(minutes=began)
        run.close_time = None if ended is None else NOON + timedelta(minutes=ended)
        window.see(run)
    return query


def since(hour: int, minute: int) -> str:
    moment = f"2026-01-02T{hour}:{minute:02}:00+00:00"
    return f"(StartTime >= '{moment}' OR CloseTime >= '{moment}')"


def test_a_window_follows_the_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """All at first; then from two minutes before the newest of the last look that got through; at times from an hour before."""
    window = Window("X = 1")
    assert seen(window) == "X = 1"
    assert window.end() is None
    assert seen(window, (0, 10), (5, None), (1, 2)) == "X = 1"
    assert window.end() == NOON - timedelta(minutes=50)
    assert seen(window, (20, None)) == f"(X = 1) AND {since(12, 8)}"  # didn't get through
    assert seen(window, (3, 9)) == f"(X = 1) AND {since(12, 8)}"
    assert window.end() == NOON - timedelta(minutes=50)
    monkeypatch.setattr(_window, "DEEP_EVERY", timedelta(0))
    assert seen(window) == f"(X = 1) AND {since(11, 10)}"
    window.end()
    monkeypatch.setattr(_window, "DEEP_EVERY", timedelta(hours=1))
    assert seen(window, (20, None)) == f"(X = 1) AND {since(12, 8)}"
    window.end()
    assert seen(window) == f"(X = 1) AND {since(12, 18)}"


def test_a_window_of_everything() -> None:
    """Without a query there is nothing to add to."""
    window = Window(" ")
    assert seen(window, (0, 10)) == " "
    window.end()
    assert seen(window) == since(12, 8)
