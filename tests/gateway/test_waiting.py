"""Wait: the end as soon as it comes, the latest state when the time is over, one long poll a flow."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import grpc
import pytest
from google.longrunning.operations_pb2 import Operation, WaitOperationRequest
from google.protobuf.duration_pb2 import Duration

from counterstep.gateway._temporal import Run, Temporal
from counterstep.gateway._waits import Waits
from flows._operation_name import operation_name
from tests.gateway.conftest import Gate, Served
from tests.support import World, eventually, new_id


async def wait(
    served: Served, id: str, seconds: float | None = None, deadline: float | None = None
) -> Operation:
    request = WaitOperationRequest(name=operation_name(id))
    if seconds is not None:
        timeout = Duration()
        timeout.FromTimedelta(timedelta(seconds=seconds))
        request.timeout.CopyFrom(timeout)
    found: Operation = await served.stub.WaitOperation(request, timeout=deadline)
    return found


async def test_the_time_is_over_then_the_latest_state_is_the_answer(unworked: Gate) -> None:
    """LRO-41, P5: Timeout 1 s: OK, not done, no sooner. Timeout 0: at once. Timeout 60 s, call's deadline 2 s: before that."""
    async with unworked() as served:
        id = new_id()
        await served.start("book@1.0.0", {}, id)
        began = time.monotonic()
        assert not (await wait(served, id, 1)).done
        assert time.monotonic() - began >= 1
        assert not (await wait(served, id, 0)).done
        assert not (await wait(served, id, 60, deadline=2)).done  # no DEADLINE_EXCEEDED
        assert not (await wait(served, id, deadline=2)).done


@pytest.mark.parametrize("later", [0.3, 5.0], ids=["as slow", "slower"])
async def test_a_slow_temporal_does_not_break_the_deadline(
    unworked: Gate, monkeypatch: pytest.MonkeyPatch, later: float
) -> None:
    """Where the state takes 0.3 s, or far longer the second time: the latest known one before the call's deadline of 2 s."""
    async with unworked() as served:
        id, took, describe = new_id(), iter([0.3, 0.3]), Temporal.describe
        await served.start("book@1.0.0", {}, id)

        async def slow(self: Temporal, workflow_id: str) -> Run | None:
            await asyncio.sleep(next(took, later))
            return await describe(self, workflow_id)

        monkeypatch.setattr(Temporal, "describe", slow)
        began = time.monotonic()
        assert not (await wait(served, id, 60, deadline=2)).done  # no DEADLINE_EXCEEDED
        assert 1 < time.monotonic() - began < 2


async def test_the_end_is_the_answer_for_all_who_wait(gate: Gate, world: World) -> None:
    """Twenty waits for one flow, and one for another: each answers when its flow is done, also later ones."""
    async with gate() as served:
        world.switch("hold-a")
        id, failing = new_id(), new_id()
        await served.start("book@1.0.0", {"flight": "LH1"}, id)
        await served.start("refused@^1", "ValueError", failing)
        waits = [asyncio.ensure_future(wait(served, id)) for _ in range(20)]
        waits.append(asyncio.ensure_future(wait(served, failing)))
        await asyncio.sleep(0.2)
        world.switch("go-a")
        answers = await asyncio.gather(*waits)
        assert [answer.WhichOneof("result") for answer in answers] == ["response"] * 20 + ["error"]
        assert (await wait(served, id)).done


async def test_unknown_names_and_negative_times_are_refused(unworked: Gate) -> None:
    """NOT_FOUND at once; INVALID_ARGUMENT for a time below zero."""
    async with unworked() as served:
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await wait(served, "none")
        assert unknown.value.code() == grpc.StatusCode.NOT_FOUND
        with pytest.raises(grpc.aio.AioRpcError) as negative:
            await wait(served, "none", -1)
        assert (negative.value.code(), negative.value.details()) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "timeout: must not be negative",
        )


async def test_too_many_open_waits_are_refused(unworked: Gate) -> None:
    """With room for two, the third is RESOURCE_EXHAUSTED; when one has ended there is room again."""
    async with unworked(open_waits=2) as served:
        id = new_id()
        await served.start("book@1.0.0", {}, id)
        open_ = [asyncio.ensure_future(wait(served, id, 2)) for _ in range(2)]
        await asyncio.sleep(0.5)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await wait(served, id, 2)
        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        await asyncio.gather(*open_)
        assert not (await wait(served, id, 0.1)).done


async def test_a_caller_who_goes_away_leaves_nothing_open(unworked: Gate) -> None:
    """Cancelled calls, over gRPC and HTTP, end their wait in the gateway."""
    async with unworked() as served:
        id = new_id()
        await served.start("book@1.0.0", {}, id)
        name = operation_name(id)

        async def count() -> float:
            text = (await served.http.get("/metrics")).text
            return float(text.partition("\ncounterstep_gateway_open_waits ")[2].split()[0])

        asked = [
            asyncio.ensure_future(wait(served, id)),
            asyncio.ensure_future(served.http.post(f"/v1/{name}:wait", json={"timeout": "60s"})),
        ]
        while await count() != 2:
            await asyncio.sleep(0.05)
        for call in asked:
            call.cancel()
        while await count() != 0:
            await asyncio.sleep(0.05)


async def test_many_waits_for_a_flow_share_one_long_poll(unworked: Gate, task_queue: str) -> None:
    """A hundred waits for one flow are one question to Temporal; the last to go takes it along."""
    async with unworked() as served:
        id = new_id()
        handle = await served.start("book@1.0.0", {}, id)
        temporal, asked = Temporal(served.client), 0
        closing = temporal.closing

        async def counted(*args: object, **options: bool) -> object:
            nonlocal asked
            asked += 1
            return await closing(*args, **options)  # type: ignore[arg-type]

        temporal.closing = counted  # type: ignore[method-assign, assignment]
        waits = Waits(temporal, 1000)
        await asyncio.gather(*(waits.until_done(id, 0.5) for _ in range(100)))
        assert (asked, waits.open) == (1, 0)
        waiting = [asyncio.ensure_future(waits.until_done(id, 60)) for _ in range(100)]
        await eventually(lambda: asked == 2)
        await handle.terminate()
        await asyncio.gather(*waiting)
        assert (asked, waits.open) == (2, 0)
