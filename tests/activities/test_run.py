"""Handlers run as activities, in Temporal's activity environment: what goes in, what is recorded."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any, Protocol

import pytest
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError

from activities import (
    Context,
    EnvironmentSecrets,
    Failure,
    Outcome,
    OutcomeUnknown,
    Retryable,
    Skip,
    Unrecoverable,
    operation,
)
from activities._encode import ELSEWHERE
from activities._json import PAYLOAD_LIMIT
from activities._run import Host
from activities._wire import Identity, StepHeader
from tests.activities.bench import Bench, Deps, Spec, entry, op_of


@pytest.fixture
def executor() -> Iterator[Executor]:
    with ThreadPoolExecutor(1) as made:
        yield made


@pytest.fixture
def bench(executor: Executor) -> Bench:
    return Bench(executor)


UNSURE = {"failures": 1, "unknown": True, "again": True}
"""Final for the server, which would forget it when it is cancelled; the flow goes on with it."""


async def test_a_result_is_the_users_json(bench: Bench) -> None:
    """Nothing travels beside a first execution that went well."""
    assert await bench.run(op_of({"a": [1, None]}), {"n": 1}) == ({"a": [1, None]}, {})
    assert bench.deps == [("call", 1, 1)]


async def test_a_def_handler_runs_in_a_thread(bench: Bench) -> None:
    """It has no running loop, sees its context, and saves durably."""

    @operation(id="op", version="1.0.0")
    def op(ctx: Context[Deps], input: int) -> str:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        ctx.save_sync({"n": input})
        return f"{ctx.step} {ctx.saved}"

    assert await bench.run(op, 3) == ("step {'n': 3}", {"saved": {"n": 3}})
    assert bench.client.marks == [{"attempt": 1, "raised": False, "saved": {"n": 3}}]


async def test_what_the_context_tells(bench: Bench) -> None:
    """Definition, step, workflow id, key by identity; deps as given."""
    seen: list[Context[Any]] = []

    @operation(id="op", version="1.0.0")
    async def op(ctx: Context[Deps], input: int) -> None:
        seen.append(ctx)

    await bench.run(op, 1)
    (ctx,) = seen
    identity = Identity(namespace="default", workflow="test", origin="test-run", step="step")
    assert (str(ctx.definition), ctx.step, ctx.workflow_id, ctx.attempt) == ("op@1.0.0", "step", "test", 1)
    assert ctx.idempotency_key == identity.key(0) != identity.key(1)
    assert ctx.deps is bench.deps


async def test_input_that_does_not_fit(bench: Bench) -> None:
    """``InvalidInput`` before the handler: final, and the handler wasn't called."""
    error = await bench.fail(op_of(1), {"n": "hunter2"})
    assert (error.type, error.non_retryable, bench.deps) == ("InvalidInput", True, [])
    assert error.message == (
        "step: input of op@1.0.0 doesn't fit Spec: n: Input should be a valid integer, "
        "unable to parse string as an integer"
    )
    assert entry(error) == {"called": False}


async def test_what_the_flow_knows_already_is_not_told_again(bench: Bench) -> None:
    """Unknown before this dispatch: the server goes on retrying, with a mark for the next attempt."""
    bench.attempts = 5
    error = await bench.fail(op_of(OutcomeUnknown("maybe")), {"n": 1}, {"failures": 1, "unknown": True})
    assert (error.non_retryable, entry(error)) == (False, {"failures": 2, "unknown": True})
    assert bench.client.marks == [{"attempt": 1, "raised": True, "failures": 2, "unknown": True}]


async def test_what_was_saved_is_told_before_the_next_attempt(bench: Bench) -> None:
    """Only the flow keeps it over a cancel between two attempts; an undo isn't cancelled."""
    bench.attempts = 5

    @operation(id="op", version="1.0.0")
    async def op(ctx: Context[Deps], input: int) -> None:
        await ctx.save(input)
        raise RuntimeError("down")

    @op.undo
    async def undo(ctx: Context[Deps], input: int, outcome: Outcome[None]) -> None:
        await ctx.save(input)
        raise RuntimeError("down")

    error = await bench.fail(op, 7)
    assert (error.non_retryable, entry(error)) == (True, {"failures": 1, "saved": 7, "again": True})
    error = await bench.fail(op, 7, {"status": "done"}, undo=True)
    assert (error.non_retryable, entry(error)) == (False, {"failures": 1, "saved": 7})


@pytest.mark.parametrize(
    ("output", "type_", "message"),
    [
        (float("nan"), "NotSerializable",
         "step (op@1.0.0): output doesn't survive JSON: value is nan, which JSON can't hold"),
        (object(), "NotSerializable",
         "step (op@1.0.0): output doesn't survive JSON: Unable to serialize unknown type: <class 'object'>"),
        ((1, 2), "NotSerializable",
         "step (op@1.0.0): output doesn't survive JSON: a round trip changes it; keep all of it in fields"),
        ("x" * PAYLOAD_LIMIT, "ResultTooLarge",
         f"step: the output has {PAYLOAD_LIMIT + 30} bytes, {PAYLOAD_LIMIT} can be recorded; "
         "return a reference to where it is kept"),
    ],
    ids=["nan", "object", "tuple", "large"],
)  # fmt: skip
async def test_outputs_that_cannot_be_recorded(bench: Bench, output: Any, type_: str, message: str) -> None:
    """They failed after their effect: unknown, final, however many attempts are left."""
    bench.attempts = 5
    error = await bench.fail(op_of(output), {"n": 1})
    assert (error.type, error.message, error.non_retryable) == (type_, message, True)
    assert entry(error) == {"failures": 1, "unknown": True}


async def test_an_output_of_the_wrong_type(bench: Bench) -> None:
    """It is ``NotSerializable``, naming the field, without the value."""

    @operation(id="op", version="1.0.0")
    async def op(ctx: Context[Any], input: int) -> Spec:
        return {"n": "hunter2"}  # type: ignore[return-value]

    error = await bench.fail(op, 1)
    assert (error.type, error.message) == (
        "NotSerializable",
        "step (op@1.0.0): output doesn't fit Spec: n: Input should be a valid integer, "
        "unable to parse string as an integer",
    )


async def test_a_codec_that_fails_after_the_effect(bench: Bench) -> None:
    """The effect is there and its output can't be recorded: unknown, not repeated."""

    class Down:
        async def encode(self, payloads: Any) -> Any:
            raise ConnectionError("no keys")

    bench.client.data_converter = replace(DataConverter.default, payload_codec=Down())  # type: ignore[arg-type]
    error = await bench.fail(op_of(1), {"n": 1})
    assert (error.type, error.message, error.non_retryable) == ("ConnectionError", "no keys", True)
    assert entry(error) == {"failures": 1, "unknown": True}


async def test_skips(bench: Bench) -> None:
    """The reason travels beside the output, where there is one."""
    assert await bench.run(op_of(Skip("there already")), {"n": 1}) == (None, {"skipped": "there already"})
    assert await bench.run(op_of(Skip("there", output=7)), {"n": 1}) == (7, {"skipped": "there"})


async def test_one_raise_tells_nothing_beside_it(bench: Bench) -> None:
    """The commonest failure costs no details, and on the last attempt no mark."""
    error = await bench.fail(op_of(RuntimeError("down")), {"n": 1})
    assert (error.type, error.message, error.non_retryable, entry(error)) == (
        "RuntimeError",
        "down",
        False,
        None,
    )
    assert bench.client.marks == []


async def test_a_raise_that_is_retried_leaves_a_mark(bench: Bench) -> None:
    """Attempt number, that it raised, the verdict so far."""
    bench.attempts = 3
    await bench.fail(op_of(RuntimeError("down")), {"n": 1})
    assert bench.client.marks == [{"attempt": 1, "raised": True, "failures": 1}]


@pytest.mark.parametrize(
    ("mark", "told"),
    [
        ({"attempt": 1, "raised": True, "failures": 1}, {"failures": 2}),
        ({"attempt": 1, "raised": False}, {"failures": 2, "unknown": True}),
        (None, {"failures": 2, "unknown": True}),
    ],
    ids=["raised", "only ran", "no mark"],
)
async def test_only_the_previous_attempts_mark_is_believed(
    bench: Bench, mark: Any, told: dict[str, Any]
) -> None:
    """On attempt 2 without attempt 1's own mark of a raise, attempt 1 may have left its effect."""
    bench.attempt, bench.attempts, bench.mark = 2, 2, mark
    error = await bench.fail(op_of(RuntimeError("down")), {"n": 1})
    assert entry(error) == told
    assert bench.deps == [("call", 1, 2)]


async def test_a_handlers_own_heartbeat_is_no_mark(bench: Bench) -> None:
    """Attempt 2 finds what attempt 1's handler sent itself: nothing is known of how that one ended."""
    bench.attempt, bench.attempts, bench.mark = 2, 2, "50 %"
    assert entry(await bench.fail(op_of(RuntimeError("down")), {"n": 1})) == {"failures": 2, "unknown": True}


async def test_an_old_mark_proves_nothing(bench: Bench) -> None:
    """Attempt 3 sees attempt 1's mark: attempt 2 ended in silence."""
    bench.attempt, bench.attempts = 3, 3
    bench.mark = {"attempt": 1, "raised": True, "failures": 1, "saved": "x"}
    error = await bench.fail(op_of(RuntimeError("down")), {"n": 1})
    assert entry(error) == {"failures": 3, "unknown": True, "saved": "x"}


@pytest.mark.parametrize(
    ("error", "final", "told"),
    [
        (Unrecoverable("fatal"), True, None),
        (ApplicationError("no", non_retryable=True), True, None),
        (Retryable("later", after=timedelta(seconds=9)), False, None),
        (OutcomeUnknown("maybe"), True, UNSURE),
        (ExceptionGroup("g", [KeyError(), OutcomeUnknown("maybe")]), True, UNSURE),
        (ExceptionGroup("g", [KeyError(), Unrecoverable("fatal")]), True, None),
        (FileNotFoundError("gone"), True, None),
        (RuntimeError("down"), False, None),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_what_ends_retrying(bench: Bench, error: BaseException, final: bool, told: Any) -> None:
    """Ours, Temporal's, a class of ``non_retryable`` or below it, also inside a group."""
    bench.attempts, bench.non_retryable = 5, ("OSError",)
    wired = await bench.fail(op_of(error), {"n": 1})
    assert (wired.non_retryable, entry(wired)) == (final, told)
    assert len(bench.client.marks) == (0 if final else 1)


async def test_unrecoverable_as_the_cause(bench: Bench) -> None:
    """``raise X from Unrecoverable(…)`` stops too, and X keeps its type."""
    bench.attempts = 5
    error = RuntimeError("down")
    error.__cause__ = Unrecoverable("fatal")
    wired = await bench.fail(op_of(error), {"n": 1})
    assert (wired.type, wired.message, wired.non_retryable) == ("RuntimeError", "down", True)


@pytest.mark.parametrize("name", ["NotFoundError", "WorkerShutdown"])
async def test_a_users_error_named_like_the_sdks(bench: Bench, name: str) -> None:
    """Our entry says that the handler raised it."""
    made = type(name, (Exception,), {})
    error = await bench.fail(op_of(made("x")), {"n": 1})
    assert (error.type, entry(error)) == (name, {"failures": 1})


async def test_system_exit_is_a_failure(bench: Bench) -> None:
    """A handler that calls ``sys.exit`` fails its step, not the worker."""
    error = await bench.fail(op_of(SystemExit(3)), {"n": 1})
    assert (error.type, error.message) == ("SystemExit", "3")


async def test_retry_input(bench: Bench) -> None:
    """The hook gets attempt from 0, failure, input so far, deps; what it gives is in the mark."""
    op = op_of(RuntimeError("down"))

    @op.retry_input
    def ten_times(attempt: int, error: Failure, input: Spec, deps: Deps) -> Spec:
        deps.append(("hook", attempt, str(error), input.n))
        return Spec(n=input.n * 10)

    bench.attempts = 5
    await bench.fail(op, {"n": 1})
    assert bench.deps == [("call", 1, 1), ("hook", 0, "RuntimeError: down", 1)]
    assert bench.client.marks == [
        {"attempt": 1, "raised": True, "failures": 1, "generation": 1, "changed": [{"n": 10}]}
    ] or bench.client.marks == [
        {"attempt": 1, "raised": True, "failures": 1, "generation": 1, "changed": ({"n": 10},)}
    ]


async def test_the_next_attempt_uses_the_changed_input(bench: Bench) -> None:
    """Cumulative, under another key; not called when no attempt follows."""
    op = op_of(RuntimeError("down"))
    op.retry_input(lambda attempt, error, input, deps: deps.append(("hook", attempt)) or input)
    bench.attempt, bench.attempts = 2, 2
    bench.mark = {"attempt": 1, "raised": True, "failures": 1, "generation": 1, "changed": [{"n": 10}]}
    error = await bench.fail(op, {"n": 1})
    assert bench.deps == [("call", 10, 2)]
    assert entry(error) == {"failures": 2, "generation": 1, "changed": ({"n": 10},)}


async def test_retry_input_that_returns_something_else(bench: Bench) -> None:
    """What it returns is checked like any input; the step fails at once."""
    op = op_of(RuntimeError("down"))
    op.retry_input(lambda attempt, error, input, deps: "str")
    bench.attempts = 5
    error = await bench.fail(op, {"n": 1})
    assert (error.type, error.non_retryable) == ("InvalidInput", True)
    assert error.message.startswith("step (op@1.0.0): what retry_input returned doesn't fit Spec: value: ")


async def test_a_step_scheduled_in_another_run(bench: Bench) -> None:
    """After a reset the server dispatches it by itself: the handler isn't called."""
    bench.header = StepHeader(run="before")
    error = await bench.fail(op_of(1), {"n": 1})
    assert (error.type, bench.deps) == (ELSEWHERE, [])
    assert error.message == "step was scheduled in run before, before a reset; it is dispatched again"
    assert entry(error) == {"kind": ELSEWHERE}


async def test_a_later_dispatch_brings_the_verdict(bench: Bench) -> None:
    """What earlier dispatches amount to comes as a second argument, and counts on."""
    carried = {"failures": 1, "losses": 1, "unknown": True, "saved": "x"}
    error = await bench.fail(op_of(RuntimeError("down")), {"n": 1}, carried)
    assert bench.deps == [("call", 1, 3)]
    assert entry(error) == {"failures": 2, "losses": 1, "unknown": True, "saved": "x"}


async def test_an_undo(bench: Bench) -> None:
    """It gets input, typed outcome and what was saved, under the step's own name and key."""
    seen: list[Any] = []

    @operation(id="op", version="1.0.0")
    async def op(ctx: Context[Deps], input: Spec) -> Spec:
        return input

    @op.undo
    async def undo(ctx: Context[Any], input: Spec, outcome: Outcome[Spec]) -> str:
        seen.append(
            (ctx.step, input, str(outcome.status), outcome.output, outcome.error, outcome.saved, ctx.saved)
        )
        return "ignored"

    told = {"status": "done", "output": {"n": 2}, "saved": {"id": 7}}
    output, _ = await bench.run(op, {"n": 1}, told, undo=True)
    assert output is None
    assert seen == [("step", Spec(n=1), "done", Spec(n=2), None, {"id": 7}, {"id": 7})]
    seen.clear()
    failed = {"status": "unknown", "error": {"type": "RuntimeError", "message": "down"}}
    await bench.run(op, {"n": 1}, failed, undo=True)
    assert seen == [
        ("step", Spec(n=1), "unknown", None, Failure(type="RuntimeError", message="down"), None, None)
    ]


async def test_dependencies_by_type(executor: Executor) -> None:
    """One object serves all; of ``{type: object}`` the annotated one, or of a base; all for ``Any``."""

    class Base: ...

    class Cloud(Base): ...

    class Dns(Protocol):
        def resolve(self) -> str: ...

    cloud = Cloud()
    deps = {Cloud: cloud, str: "dns"}
    host = Host(deps, EnvironmentSecrets(), executor)
    assert [host.deps_for(t) for t in (Cloud, Base, str, int, None, Dns)] == [
        cloud,
        cloud,
        "dns",
        None,
        None,
        None,
    ]
    assert host.deps_for(Any) is deps
    assert Host(cloud, EnvironmentSecrets(), executor).deps_for(int) is cloud


async def test_a_decorator_that_hides_a_coroutine(bench: Bench) -> None:
    """A ``def`` that returns a coroutine: what that gives is the output, what it raises the failure."""

    def logged(handler: Any) -> Any:
        @functools.wraps(handler)
        def wrapper(*args: Any) -> Any:
            return handler(*args)

        return wrapper

    @operation(id="op", version="1.0.0")
    @logged
    async def op(ctx: Context[Any], input: int) -> int:
        if input == 0:
            raise RuntimeError("zero")
        return 2 * input

    assert (await bench.run(op, 3))[0] == 6
    assert (await bench.fail(op, 0)).message == "zero"
