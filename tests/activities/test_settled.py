"""How the end of an execution is classified: every kind of ending, with what is known of earlier ones."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pydantic_core
import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure as FailureProto
from temporalio.converter import DataConverter
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    ServerError,
    TimeoutError,
    TimeoutType,
)

from activities import Failure, Status
from activities._encode import CANCELLED, ELSEWHERE, LOST
from activities._settled import Again, Settled, ended_badly, ended_well, never_settled
from activities._wire import HEADER, Verdict, json_payload

NEW = Verdict()
RAISED_TWICE = Verdict(failures=2)
LOST_ONCE = Verdict(losses=1, unknown=True)


def summary(settled: Settled) -> tuple[str, int, int, bool, Again | None]:
    """Give status, failures, losses, whether the handler was called, and why it may go again."""
    verdict = settled.verdict
    return settled.status.value, verdict.failures, verdict.losses, verdict.called, settled.again


def raised(
    type_: str = "RuntimeError", entry: dict[str, Any] | None = None, **options: Any
) -> ApplicationError:
    """Make what a raising activity leaves; ``entry`` is what our code tells beside it."""
    details = [] if entry is None else [{HEADER: entry}]
    return ApplicationError("down", *options.pop("details", ()), *details, type=type_, **options)


def timeout(kind: TimeoutType, mark: dict[str, Any] | None = None) -> TimeoutError:
    return TimeoutError("late", type=kind, last_heartbeat_details=[] if mark is None else [mark])


def with_metadata(output: Any, beside: dict[str, Any]) -> Payload:
    payload = json_payload(output)
    payload.metadata[HEADER] = pydantic_core.to_json(beside)
    return payload


def test_a_result() -> None:
    """Done, with the output; ``null`` is an output too."""
    for output in (24, None, {"a": [1]}):
        settled = ended_well(json_payload(output), NEW, local=False)
        assert (settled.status, settled.output, settled.error, settled.again) == (
            Status.DONE,
            (output,),
            None,
            None,
        )
        assert settled.verdict == NEW


def test_a_result_after_failures_and_losses() -> None:
    """Done all the same; the counts stay, and so does the input's generation."""
    carried = Verdict(failures=1, losses=1, unknown=True, generation=1, changed=(10,), saved="x")
    settled = ended_well(json_payload(24), carried, local=False)
    assert (settled.status, settled.verdict) == (Status.DONE, carried)


def test_a_result_brings_what_was_saved_and_changed() -> None:
    """They travel as metadata of the payload, so that the JSON stays the user's."""
    payload = with_metadata(24, {"saved": {"id": 1}, "generation": 2, "changed": [100]})
    settled = ended_well(payload, Verdict(saved="old"), local=False)
    assert settled.verdict == Verdict(saved={"id": 1}, generation=2, changed=(100,))
    assert settled.output == (24,)


@pytest.mark.parametrize(("output", "given"), [(None, ()), (7, (7,)), (0, (0,))])
def test_a_skip(output: Any, given: tuple[Any, ...]) -> None:
    """Skipped, with the reason, and an output only where one was given."""
    settled = ended_well(with_metadata(output, {"skipped": "nothing to do"}), NEW, local=False)
    assert (settled.status, settled.skipped, settled.output) == (Status.SKIPPED, "nothing to do", given)


def test_a_local_result() -> None:
    """The envelope holds output, input and times beside each other."""
    envelope = {"output": 6, "input": 3, "started": "s", "finished": "f"}
    settled = ended_well(json_payload(envelope), NEW, local=True)
    assert (settled.status, settled.output, settled.envelope) == (Status.DONE, (6,), envelope)
    skipped = ended_well(json_payload({"output": None, "skipped": "no"}), NEW, local=True)
    assert (skipped.status, skipped.output, skipped.skipped) == (Status.SKIPPED, (), "no")


@pytest.mark.parametrize("wrap", [True, False], ids=["in an activity error", "bare"])
def test_a_raise(wrap: bool) -> None:
    """Failed, counted, may be retried; as the workflow sees it and as the history has it."""
    error: BaseException = raised()
    if wrap:
        outer = ActivityError(
            "activity", scheduled_event_id=1, started_event_id=2, identity="", activity_type="a",
            activity_id="a", retry_state=None,
        )  # fmt: skip
        outer.__cause__ = error
        settled = ended_badly(outer, NEW)
    else:
        settled = ended_badly(error, NEW)
    assert summary(settled) == ("failed", 1, 0, True, Again.FAILURE)
    assert settled.error is error
    assert settled.failure == Failure(type="RuntimeError", message="down")


def test_a_final_raise() -> None:
    """What must not be retried isn't; a delay of the handler's choice is kept."""
    assert summary(ended_badly(raised(non_retryable=True), NEW)) == ("failed", 1, 0, True, None)
    assert ended_badly(raised(next_retry_delay=timedelta(seconds=9)), NEW).delay == timedelta(seconds=9)


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        ({"failures": 3}, ("failed", 3, 0, True, Again.FAILURE)),
        ({"failures": 1, "unknown": True}, ("unknown", 1, 0, True, Again.FAILURE)),
        ({"failures": 2, "losses": 1, "unknown": True}, ("unknown", 2, 1, True, Again.FAILURE)),
        ({"called": False}, ("failed", 0, 0, False, Again.FAILURE)),
    ],
)
def test_a_raise_with_the_verdict_so_far(entry: dict[str, Any], found: tuple[Any, ...]) -> None:
    """Our entry behind the user's own details counts all executions of the dispatch."""
    assert summary(ended_badly(raised(entry=entry, details=["own", {"x": 1}]), NEW)) == found


def test_a_raise_after_a_loss() -> None:
    """Once an execution was lost, a later raise doesn't make it certain."""
    assert summary(ended_badly(raised(), LOST_ONCE)) == ("unknown", 1, 1, True, Again.FAILURE)
    assert summary(ended_badly(raised(), RAISED_TWICE)) == ("failed", 3, 0, True, Again.FAILURE)


def test_a_raise_brings_what_was_saved() -> None:
    """For the next dispatch and for the undo."""
    entry = {"failures": 1, "saved": {"vm": 7}, "generation": 1, "changed": [10]}
    assert ended_badly(raised(entry=entry), NEW).verdict == Verdict(
        failures=1, saved={"vm": 7}, generation=1, changed=(10,)
    )


def test_a_local_raise_brings_its_envelope() -> None:
    """Input and times of a local step stand in the failure."""
    entry = {"failures": 1, "input": 3, "started": "s", "finished": "f"}
    assert ended_badly(raised(entry=entry), NEW).envelope == entry


@pytest.mark.parametrize("carried", [NEW, RAISED_TWICE], ids=["first", "after failures"])
def test_a_start_to_close_timeout(carried: Verdict) -> None:
    """A failure that leaves the outcome unknown; it may be retried."""
    settled = ended_badly(timeout(TimeoutType.START_TO_CLOSE), carried)
    assert summary(settled) == ("unknown", carried.failures + 1, 0, True, Again.FAILURE)


def test_a_start_to_close_timeout_with_a_mark() -> None:
    """The mark tells of the attempts before and of what was saved."""
    mark = {"attempt": 3, "raised": False, "failures": 2, "saved": "x"}
    settled = ended_badly(timeout(TimeoutType.START_TO_CLOSE, mark), NEW)
    assert summary(settled) == ("unknown", 3, 0, True, Again.FAILURE)
    assert settled.verdict.saved == "x"


def test_a_heartbeat_timeout() -> None:
    """A loss: no attempt is used up."""
    assert summary(ended_badly(timeout(TimeoutType.HEARTBEAT), NEW)) == ("unknown", 0, 1, True, Again.LOSS)
    mark = {"attempt": 2, "raised": False, "failures": 1, "saved": [1]}
    settled = ended_badly(timeout(TimeoutType.HEARTBEAT, mark), Verdict())
    assert summary(settled) == ("unknown", 1, 1, True, Again.LOSS)
    assert settled.verdict.saved == [1]


@pytest.mark.parametrize("details", ["50 %", 7, None, [1], {"progress": 5}])
def test_a_handlers_own_heartbeat_is_no_mark(details: Any) -> None:
    """What a handler sends with ``activity.heartbeat`` breaks nothing and says nothing."""
    late = TimeoutError("late", type=TimeoutType.HEARTBEAT, last_heartbeat_details=[details])
    assert ended_badly(late, RAISED_TWICE).verdict == Verdict(failures=2, losses=1, unknown=True)


def test_a_schedule_to_start_timeout() -> None:
    """Nobody took it, so the handler wasn't called, unless earlier."""
    kind = TimeoutType.SCHEDULE_TO_START
    assert summary(ended_badly(timeout(kind), NEW)) == ("failed", 0, 0, False, None)
    assert summary(ended_badly(timeout(kind), RAISED_TWICE)) == ("failed", 2, 0, True, None)
    assert summary(ended_badly(timeout(kind), LOST_ONCE)) == ("unknown", 0, 1, True, None)


@pytest.mark.parametrize("type_", ["WorkerShutdown", "ActivityReset", "ActivityPause", LOST, ELSEWHERE])
def test_infrastructure_is_a_loss(type_: str) -> None:
    """What SDK, server or our own code says of an execution that didn't end by itself: dispatched again."""
    assert summary(ended_badly(raised(type_), NEW)) == ("unknown", 0, 1, True, Again.LOSS)
    told = raised(type_, {"failures": 1, "saved": 5, "kind": type_}, non_retryable=True)
    settled = ended_badly(told, NEW)
    assert summary(settled) == ("unknown", 1, 1, True, Again.LOSS)
    assert settled.verdict.saved == 5


def test_a_worker_that_does_not_know_the_operation() -> None:
    """The handler wasn't called: no effect, no failure, dispatched again, even at most once."""
    assert summary(ended_badly(raised("NotFoundError"), NEW)) == ("failed", 0, 1, False, Again.ABSENT)
    assert summary(ended_badly(raised("NotFoundError"), RAISED_TWICE)) == ("failed", 2, 1, True, Again.ABSENT)
    assert summary(ended_badly(raised("NotFoundError"), LOST_ONCE)) == ("unknown", 0, 2, True, Again.ABSENT)


@pytest.mark.parametrize(
    "type_", ["WorkerShutdown", "ActivityReset", "ActivityPause", "NotFoundError", LOST, ELSEWHERE, CANCELLED]
)
def test_a_users_error_of_the_same_name(type_: str) -> None:
    """A handler may raise a ``NotFoundError`` of its own: our entry, which has no kind, says that it did."""
    settled = ended_badly(raised(type_, {"failures": 1}), NEW)
    assert summary(settled) == ("failed", 1, 0, True, Again.FAILURE)


def test_our_own_cancel() -> None:
    """A handler that the run interrupted: unknown, and not dispatched again."""
    error = raised(CANCELLED, {"kind": CANCELLED}, non_retryable=True)
    assert summary(ended_badly(error, NEW)) == ("unknown", 0, 0, True, None)


@pytest.mark.parametrize("error", [CancelledError("cancelled"), asyncio.CancelledError()])
def test_a_cancel_between_executions(error: BaseException) -> None:
    """The step ends as if its attempts were spent: not called, failed or unknown, by what was before."""
    assert summary(ended_badly(error, NEW)) == ("failed", 0, 0, False, None)
    assert summary(ended_badly(error, RAISED_TWICE)) == ("failed", 2, 0, True, None)
    assert summary(ended_badly(error, LOST_ONCE)) == ("unknown", 0, 1, True, None)
    assert summary(ended_badly(error, NEW, retried=True)) == ("failed", 0, 0, True, None)
    assert summary(ended_badly(error, NEW, local=True)) == ("unknown", 0, 0, True, None)


def test_a_failure_that_the_flow_had_to_know() -> None:
    """Final for the server alone: it goes again, and what is recorded as the cause is what was raised."""
    error = raised(entry={"failures": 1, "unknown": True, "again": True}, non_retryable=True)
    converter = DataConverter.default
    failure = FailureProto()
    converter.failure_converter.to_failure(error, converter.payload_converter, failure)
    settled = ended_badly(converter.failure_converter.from_failure(failure, converter.payload_converter), NEW)
    assert summary(settled) == ("unknown", 1, 0, True, Again.FAILURE)
    assert isinstance(settled.error, ApplicationError)
    assert (settled.error.details, settled.error.non_retryable) == ((), False)


@pytest.mark.parametrize(
    ("later", "found"),
    [
        (lambda seen: ended_well(json_payload(1), seen, local=False), ("done", 0, 1, True, None)),
        (lambda seen: ended_badly(raised(), seen), ("failed", 1, 1, True, Again.FAILURE)),
        (lambda seen: ended_badly(raised(entry={"failures": 1, "losses": 1}), seen),
         ("failed", 1, 1, True, Again.FAILURE)),
        (lambda seen: ended_badly(timeout(TimeoutType.HEARTBEAT), seen), ("unknown", 0, 2, True, Again.LOSS)),
        (lambda seen: ended_badly(timeout(TimeoutType.START_TO_CLOSE), seen),
         ("unknown", 1, 1, True, Again.FAILURE)),
        (lambda seen: ended_badly(raised(CANCELLED), seen), ("unknown", 0, 1, True, None)),
        (lambda seen: never_settled(seen), ("unknown", 0, 1, True, None)),
        (lambda seen: ended_badly(CancelledError("c"), seen), ("failed", 0, 1, False, None)),
        (lambda seen: ended_badly(raised("NotFoundError"), seen), ("failed", 0, 2, False, Again.ABSENT)),
    ],
)  # fmt: skip
def test_called_after_all(later: Any, found: tuple[Any, ...]) -> None:
    """A worker that didn't know the operation, then one that did: the handler counts as called."""
    absent = ended_badly(raised("NotFoundError"), NEW).verdict
    assert summary(later(Verdict.from_json(absent.to_json()))) == found


def test_an_error_that_nobody_foresaw() -> None:
    """Anything else, such as a failure of the server: unknown, final."""
    assert summary(ended_badly(ServerError("too large"), NEW)) == ("unknown", 1, 0, True, None)


def test_an_execution_without_an_end() -> None:
    """A run that was terminated in the middle of a step: its effect may be there."""
    assert summary(never_settled(NEW)) == ("unknown", 0, 0, True, None)


def test_a_verdict_travels_as_what_differs() -> None:
    """Nothing at all for a first execution; unknown names of a later version are left out."""
    assert NEW.to_json() == {}
    full = Verdict(
        failures=1, losses=2, unknown=True, called=False, generation=3, changed=({"a": 1},), saved=[1]
    )
    wire = pydantic_core.from_json(pydantic_core.to_json(full.to_json()))
    assert Verdict.from_json({**wire, "later": 1}) == full
