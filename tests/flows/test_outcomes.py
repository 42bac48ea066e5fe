"""Unknown is an outcome: what the undo is told after raises, timeouts and losses (issue point 7)."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

from pydantic import BaseModel, field_validator
from temporalio import workflow
from temporalio.exceptions import ApplicationError

from activities import Context, Outcome, OutcomeUnknown, Skip, Unrecoverable, operation
from flows import OperationFailed, Sequence, start
from tests.conftest import Serve
from tests.sample import FAST
from tests.support import World, causes, failure_of, new_id


class Plan(BaseModel):
    """What each attempt does, in order: ``raise``, ``unknown``, ``slow``, ``save``, ``nan``, ``big``, …"""

    attempts: list[str]


async def act(ctx: Context[World], input: Plan) -> float | str:
    """Do what the plan says of this attempt."""
    ctx.deps.record("act", ctx.attempt, ctx.saved)
    ctx.deps.record("key", ctx.idempotency_key)
    what = input.attempts[min(ctx.attempt, len(input.attempts)) - 1]
    if what == "save":
        await ctx.save({"attempt": ctx.attempt})
        raise RuntimeError("after saving")
    if what == "slow":
        await asyncio.sleep(3)
    if what in ("raise", "unknown", "skip", "exit", "fatal"):
        raise {
            "raise": RuntimeError("down"),
            "unknown": OutcomeUnknown("who knows"),
            "skip": Skip("nothing to do"),
            "exit": SystemExit("bye"),
            "fatal": Unrecoverable("never"),
        }[what]
    return {"nan": float("nan"), "big": "x" * 2_200_000}.get(what, 1.0)


def threaded(ctx: Context[World], input: Plan) -> float | str:
    """Do what the plan says of this attempt, in a thread."""
    ctx.deps.record("act", ctx.attempt, ctx.saved)
    what = input.attempts[min(ctx.attempt, len(input.attempts)) - 1]
    if what == "save":
        ctx.save_sync({"attempt": ctx.attempt})
        raise RuntimeError("after saving")
    if what == "slow":
        time.sleep(3)
    if what == "exit":
        raise SystemExit("bye")
    return 1.0


SHORT = timedelta(seconds=1)
async_op = operation(id="async-op", version="1.0.0", timeout=SHORT, retry=FAST)(act)
thread_op = operation(id="thread-op", version="1.0.0", timeout=SHORT, retry=FAST)(threaded)
once_op = operation(id="once-op", version="1.0.0", timeout=SHORT, at_most_once=True)(act)
local_op = operation(id="local-op", version="1.0.0", timeout=SHORT, retry=FAST, placement="local")(act)
OPERATIONS = {"async": async_op, "thread": thread_op, "once": once_op, "local": local_op}


async def undo(ctx: Context[World], input: Plan, outcome: Outcome[float | str]) -> None:
    """Record what it is told."""
    ctx.deps.record("undo", str(outcome.status), outcome.output, outcome.saved, ctx.saved)
    ctx.deps.record("key", ctx.idempotency_key)


for _op in OPERATIONS.values():
    _op.undo(retry=FAST)(undo)


class Case(BaseModel):
    """Which operation, and what its attempts do."""

    op: str
    attempts: list[str]


class One(Sequence[Case, str], id="one", version="1.0.0"):
    """Run one operation, then fail."""

    async def run(self, input: Case) -> str:
        try:
            report = await self.execute(OPERATIONS[input.op], Plan(attempts=input.attempts))
        except OperationFailed as error:
            raise ApplicationError(f"{error.report.outcome}") from error
        raise ApplicationError(f"{report.outcome}")


class Shy(BaseModel):
    """Fits in activities only, as where worker and flow have different code."""

    n: int

    @field_validator("n")
    @classmethod
    def _not_here(cls, n: int) -> int:
        if workflow.in_workflow():
            raise ValueError("not in a flow")
        return n


@operation(id="shy-op", version="1.0.0")
async def shy_op(ctx: Context[World], input: int) -> Shy:
    """Save something, and give what the flow can't read."""
    await ctx.save("mine")
    return Shy(n=input)


@shy_op.undo(retry=FAST)
async def undo_shy(ctx: Context[World], input: int, outcome: Outcome[Shy]) -> None:
    ctx.deps.record("undo", str(outcome.status), outcome.output and outcome.output.n, outcome.saved)


class Shyly(Sequence[int, int], id="shyly", version="1.0.0"):
    """Run it."""

    async def run(self, input: int) -> int:
        return (await self.execute(shy_op, input)).output.n


async def run(
    serve: Serve, task_queue: str, op: str, *attempts: str, cache: int = 1000
) -> list[tuple[str, str]]:
    """Run one operation to the run's failure, and give its causes."""
    async with serve(*OPERATIONS.values(), One, cache=cache) as client:
        handle = await start(
            client, One, Case(op=op, attempts=list(attempts)), id=new_id(op), task_queue=task_queue
        )
        return causes(await failure_of(handle))


def without_keys(world: World) -> list[object]:
    """Give the recorded calls without the keys."""
    return [call for call in world.calls if call[0] != "key"]


def keys(world: World) -> list[str]:
    """Give the idempotency keys in the order of calls."""
    return [call[1] for call in world.calls if call[0] == "key"]


async def test_every_attempt_raising_is_failed_and_not_undone(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """Three attempts raise: failed, three calls, no undo, one key."""
    found = await run(serve, task_queue, "async", "raise", cache=cache)
    assert found[1:] == [
        ("ApplicationError", "failed"),
        ("OperationFailed", "step async-op (async-op@1.0.0) failed after 3 attempts: RuntimeError: down"),
        ("RuntimeError", "down"),
    ]
    assert without_keys(world) == [("act", 1, None), ("act", 2, None), ("act", 3, None)]
    assert len(set(keys(world))) == 1


async def test_timeout_then_raise_is_unknown_and_undone(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """Attempt 1 times out, attempts 2 and 3 raise: unknown, and the undo runs with the same key."""
    found = await run(serve, task_queue, "async", "slow", "raise", cache=cache)
    assert found[1] == ("ApplicationError", "unknown")
    assert "has an unknown outcome after 3 attempts: RuntimeError: down" in found[2][1]
    assert without_keys(world)[:3] == [("act", 1, None), ("act", 2, None), ("act", 3, None)]
    assert without_keys(world)[3:] == [("undo", "unknown", None, None, None)]
    assert len(set(keys(world))) == 1


async def test_raise_then_timeout_is_unknown(serve: Serve, world: World, task_queue: str) -> None:
    """Attempts 1 and 3 raise, attempt 2 times out between them: still unknown."""
    found = await run(serve, task_queue, "async", "raise", "slow", "raise")
    assert found[1] == ("ApplicationError", "unknown")
    assert without_keys(world)[-1] == ("undo", "unknown", None, None, None)


async def test_timeout_in_a_thread_is_unknown(serve: Serve, world: World, task_queue: str) -> None:
    """A def handler that times out each time: unknown after three attempts, undone."""
    found = await run(serve, task_queue, "thread", "slow")
    assert found[1] == ("ApplicationError", "unknown")
    assert [c for c in world.calls if c[0] == "act"] == [("act", 1, None), ("act", 2, None), ("act", 3, None)]
    assert ("undo", "unknown", None, None, None) in world.calls


async def test_outcome_unknown_sticks(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """OutcomeUnknown on attempt 1, plain raises later: unknown, undone."""
    found = await run(serve, task_queue, "async", "unknown", "raise", cache=cache)
    assert found[1] == ("ApplicationError", "unknown")
    assert without_keys(world)[-1] == ("undo", "unknown", None, None, None)


async def test_unknown_then_success_is_done(serve: Serve, world: World, task_queue: str) -> None:
    """OutcomeUnknown, then a result: done, and the undo gets the output."""
    found = await run(serve, task_queue, "async", "unknown", "fine")
    assert found[1] == ("ApplicationError", "done")
    assert without_keys(world)[-1] == ("undo", "done", 1.0, None, None)


async def test_saved_data_reaches_next_attempt_and_undo(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """What attempt 1 and 2 saved is there for the next ones, and for the undo of the success."""
    await run(serve, task_queue, "async", "save", "save", "fine", cache=cache)
    assert without_keys(world) == [
        ("act", 1, None),
        ("act", 2, {"attempt": 1}),
        ("act", 3, {"attempt": 2}),
        ("undo", "done", 1.0, {"attempt": 2}, {"attempt": 2}),
    ]


async def test_saved_data_survives_a_timeout(serve: Serve, world: World, task_queue: str) -> None:
    """Saved by attempt 1, attempt 2 times out, attempt 3 saves and raises: all see it, the undo too."""
    await run(serve, task_queue, "async", "save", "slow", "save")
    assert without_keys(world) == [
        ("act", 1, None),
        ("act", 2, {"attempt": 1}),
        ("act", 3, {"attempt": 1}),
        ("undo", "unknown", None, {"attempt": 3}, {"attempt": 3}),
    ]


async def test_save_from_a_thread(serve: Serve, world: World, task_queue: str) -> None:
    """save_sync in a def handler is durable in the same way."""
    await run(serve, task_queue, "thread", "save", "fine")
    assert world.calls[:2] == [("act", 1, None), ("act", 2, {"attempt": 1})]
    assert world.calls[2] == ("undo", "done", 1.0, {"attempt": 1}, {"attempt": 1})


async def test_at_most_once_is_not_repeated(serve: Serve, world: World, task_queue: str) -> None:
    """An at_most_once operation that times out: one call, unknown, undone."""
    found = await run(serve, task_queue, "once", "slow")
    assert found[1] == ("ApplicationError", "unknown")
    assert without_keys(world) == [("act", 1, None), ("undo", "unknown", None, None, None)]


async def test_output_that_is_nan_is_unknown_and_not_repeated(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """OPS-21: NaN comes back: one call despite retry, unknown, undone once; the error names the output."""
    found = await run(serve, task_queue, "async", "nan", cache=cache)
    kind, message = found[-1]
    assert kind == "NotSerializable"
    assert (
        message
        == "async-op (async-op@1.0.0): output doesn't survive JSON: value is nan, which JSON can't hold"
    )
    assert without_keys(world) == [("act", 1, None), ("undo", "unknown", None, None, None)]


async def test_output_that_is_too_large_is_unknown_and_not_repeated(
    serve: Serve, world: World, task_queue: str
) -> None:
    """2.2 MB come back: ResultTooLarge, one call, unknown, undone."""
    found = await run(serve, task_queue, "async", "big")
    assert found[-1][0] == "ResultTooLarge"
    assert found[1] == ("ApplicationError", "unknown")
    assert without_keys(world) == [("act", 1, None), ("undo", "unknown", None, None, None)]


async def test_an_output_that_the_flow_cannot_read_is_done_all_the_same(
    serve: Serve, world: World, task_queue: str, cache: int
) -> None:
    """What is recorded as done is told so to the undo, with its output and what was saved."""
    async with serve(shy_op, Shyly, cache=cache) as client:
        handle = await start(client, Shyly, 7, id=new_id(), task_queue=task_queue)
        kind, message = causes(await failure_of(handle))[-1]
        assert (await handle.query("status"))["steps"] == {"shy-op": "undone"}
    assert (kind, "shy-op: output" in message, "not in a flow" in message) == ("InvalidInput", True, True)
    assert world.calls == [("undo", "done", 7, "mine")]


async def test_system_exit_ends_the_step(serve: Serve, world: World, task_queue: str) -> None:
    """S43, A27: SystemExit in an async and in a threaded handler is a failure; the worker lives on."""
    assert (await run(serve, task_queue, "async", "exit"))[-1] == ("SystemExit", "bye")
    assert (await run(serve, task_queue, "thread", "exit"))[-1] == ("SystemExit", "bye")
    assert len([c for c in world.calls if c[0] == "act"]) == 6


async def test_skip_is_not_undone(serve: Serve, world: World, task_queue: str) -> None:
    """A step that skips is skipped: one call, no undo."""
    found = await run(serve, task_queue, "async", "skip")
    assert found[1] == ("ApplicationError", "skipped")
    assert without_keys(world) == [("act", 1, None)]


async def test_local_step_retries_and_fails(serve: Serve, world: World, task_queue: str, cache: int) -> None:
    """A local step raises three times: attempts 1 to 3, failed, no undo."""
    found = await run(serve, task_queue, "local", "raise", cache=cache)
    assert found[1] == ("ApplicationError", "failed")
    assert without_keys(world) == [("act", 1, None), ("act", 2, None), ("act", 3, None)]


async def test_local_step_that_times_out_is_unknown(serve: Serve, world: World, task_queue: str) -> None:
    """A local step times out, then raises: unknown, and undone as a local step."""
    found = await run(serve, task_queue, "local", "slow", "raise")
    assert found[1] == ("ApplicationError", "unknown")
    assert without_keys(world)[-1] == ("undo", "unknown", None, None, None)


async def test_unrecoverable_stops_at_once(serve: Serve, world: World, task_queue: str) -> None:
    """OPS-44: a raise, then Unrecoverable: two calls of three."""
    assert (await run(serve, task_queue, "async", "raise", "fatal"))[-1] == ("Unrecoverable", "never")
    assert without_keys(world) == [("act", 1, None), ("act", 2, None)]


async def handed_over(
    serve: Serve, world: World, task_queue: str, op: str, *attempts: str
) -> list[tuple[str, str]]:
    """Run one operation whose worker stops without grace in its first call; give the causes of the run's failure."""
    case = Case(op=op, attempts=["slow", *attempts])
    async with serve(*OPERATIONS.values(), One, graceful_shutdown_timeout=timedelta(0)) as client:
        handle = await start(
            client, One, case, id=new_id(), task_queue=task_queue, task_timeout=timedelta(seconds=2)
        )
        await world.until("act", 1, None)
    async with serve(*OPERATIONS.values(), One):
        return causes(await failure_of(handle))


async def test_stopped_worker_hands_the_step_over(serve: Serve, world: World, task_queue: str) -> None:
    """A worker that stops without grace hands a running step over: again, same key; the run goes on."""
    found = await handed_over(serve, world, task_queue, "async", "fine")
    assert found[1] == ("ApplicationError", "done")
    assert without_keys(world) == [("act", 1, None), ("act", 2, None), ("undo", "done", 1.0, None, None)]
    assert len(set(keys(world))) == 1


async def test_a_lost_execution_is_no_failure(serve: Serve, world: World, task_queue: str) -> None:
    """It uses up none of the three attempts; the outcome is unknown from then on."""
    found = await handed_over(serve, world, task_queue, "async", "raise")
    assert found[1] == ("ApplicationError", "unknown")
    calls = [("act", number, None) for number in (1, 2, 3, 4)]
    assert without_keys(world) == [*calls, ("undo", "unknown", None, None, None)]


async def test_at_most_once_is_not_repeated_when_it_is_lost(
    serve: Serve, world: World, task_queue: str
) -> None:
    """Nobody knows whether it took effect: one call, unknown, undone."""
    found = await handed_over(serve, world, task_queue, "once", "fine")
    assert found[1] == ("ApplicationError", "unknown")
    assert without_keys(world) == [("act", 1, None), ("undo", "unknown", None, None, None)]
