"""Failures as values, and errors made fit for the wire."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.status_pb2 import Status
from pydantic import BaseModel, ValidationError
from temporalio.api.failure.v1 import Failure as FailureProto
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError, FailureError

from activities import Failure, OutcomeUnknown, Retryable, Unrecoverable
from activities._failure import causes, cut, on_wire


def caught(function: Callable[[], Any]) -> BaseException:
    """Give what a function raises, with its trace."""
    try:
        function()
    except BaseException as error:
        return error
    raise AssertionError("it raised nothing")


def chained(length: int) -> BaseException:
    """Make an exception with causes ``error 0`` (outermost) to ``error length-1`` (the root)."""
    outer: BaseException | None = None
    for index in reversed(range(length)):
        error = RuntimeError(f"error {index}")
        error.__cause__, outer = outer, error
    assert outer is not None
    return outer


def messages(error: BaseException) -> list[str]:
    """Give the messages along the causes, as they are recorded."""
    found, current = [], error
    while current is not None:
        assert isinstance(current, FailureError)
        found.append(current.message)
        current = current.__cause__  # type: ignore[assignment]
    return found


async def recorded(error: BaseException) -> FailureProto:
    """Give the failure as Temporal records it."""
    proto = FailureProto()
    await DataConverter.default.encode_failure(error, proto)
    return proto


class Login(BaseModel):
    user: str
    pin: int


SENT = {"user": {"x": "hunter2"}, "pin": "hunter2"}


def bad_login() -> None:
    Login.model_validate(SENT)


FIELDS = (
    "user: Input should be a valid string; pin: Input should be a valid integer, "
    "unable to parse string as an integer"
)


def test_a_failure_is_type_message_causes() -> None:
    """Outermost first; ``root`` is the innermost; text is ``Type: message``."""
    error = RuntimeError("outer")
    error.__cause__ = KeyError("inner")
    failure = Failure.of(error)
    assert failure == Failure(
        type="RuntimeError", message="outer", cause=Failure(type="KeyError", message="'inner'")
    )
    assert (str(failure), str(failure.root)) == ("RuntimeError: outer", "KeyError: 'inner'")
    assert Failure.model_validate_json(failure.model_dump_json()) == failure


def test_only_explicit_causes_count() -> None:
    """What an exception was raised *during* is no cause of it."""

    def raising() -> None:
        try:
            raise KeyError("first")
        except KeyError:
            raise RuntimeError("second")  # noqa: B904

    assert Failure.of(caught(raising)) == Failure(type="RuntimeError", message="second")


def test_an_exception_without_text_is_named() -> None:
    """An empty message would say nothing, so the type stands in."""
    assert Failure.of(ValueError()) == Failure(type="ValueError", message="ValueError")


@pytest.mark.parametrize("make", [Failure.of, on_wire], ids=["value", "wire"])
def test_validation_errors_hold_no_value(make: Callable[[BaseException], Any]) -> None:
    """pydantic's own error, as outermost and as cause: fields and reasons only."""
    error = caught(bad_login)
    assert isinstance(error, ValidationError)
    outer = RuntimeError("login failed")
    outer.__cause__ = error
    assert make(error).message == FIELDS
    assert getattr(made := make(outer), "cause", None).message == FIELDS  # type: ignore[union-attr]
    assert "hunter2" not in repr(made)


async def test_a_recorded_validation_error_holds_no_value() -> None:
    """Neither message nor trace of what Temporal records contain the input."""
    proto = await recorded(on_wire(caught(bad_login)))
    assert proto.message == FIELDS
    assert "hunter2" not in proto.SerializeToString().decode(errors="replace")


def test_messages_are_cut_to_8_kb() -> None:
    """8,192 bytes are kept, more is cut between characters and marked, also in causes."""
    assert on_wire(RuntimeError("x" * 8192)).message == "x" * 8192
    long = on_wire(RuntimeError("x" * 8193)).message
    assert long == "x" * 8172 + " [cut]"
    error = RuntimeError("outer")
    error.__cause__ = ValueError("ä" * 5000)
    inner = messages(on_wire(error))[1]
    assert inner == "ä" * 4086 + " [cut]"


def test_twenty_causes_with_the_root() -> None:
    """Of 25 the first 19 and the root stay; of 20 all."""
    assert messages(on_wire(chained(20))) == [f"error {n}" for n in range(20)]
    kept = [*(f"error {n}" for n in range(19)), "error 24"]
    assert messages(on_wire(chained(25))) == kept
    assert str(Failure.of(chained(25)).root) == "RuntimeError: error 24"


def test_causes_that_form_a_ring() -> None:
    """Each is given once, and nothing hangs."""
    first, second, third = (RuntimeError(f"error {n}") for n in range(3))
    first.__cause__, second.__cause__, third.__cause__ = second, third, first
    assert messages(on_wire(first)) == ["error 0", "error 1", "error 2"]
    assert list(causes(first)) == [first, second, third]
    second.__cause__ = second
    assert messages(on_wire(first)) == ["error 0", "error 1"]


def test_a_group_shows_its_first_member() -> None:
    """A ``TaskGroup``'s error would hide the root; ``causes`` walks over every member."""
    inner = RuntimeError("b")
    inner.__cause__ = OutcomeUnknown("maybe")
    group = ExceptionGroup("two tasks", [KeyError("a"), inner])
    assert messages(on_wire(group)) == ["two tasks (2 sub-exceptions)", "'a'"]
    assert str(Failure.of(group).root) == "KeyError: 'a'"
    assert [type(e).__name__ for e in causes(group)] == [
        "ExceptionGroup",
        "KeyError",
        "RuntimeError",
        "OutcomeUnknown",
    ]


def test_a_group_with_a_cause_shows_the_cause() -> None:
    """An explicit cause says more than a member."""
    group = ExceptionGroup("tasks", [KeyError("a")])
    group.__cause__ = ValueError("why")
    assert messages(on_wire(group)) == ["tasks (1 sub-exception)", "why"]


def deep(levels: int) -> None:
    if levels == 0:
        raise RuntimeError("deep")
    _LEVELS[levels % 7](levels)


_LEVELS = [eval(f"lambda n: deep(n - 1)  # {'y' * 300}") for _ in range(7)]


async def test_traces_are_cut_to_32_kb() -> None:
    """Of 900 frames the innermost stay, at most 32 KB of text; the raising line is among them."""
    error = caught(lambda: deep(300))
    assert len(traceback.extract_tb(error.__traceback__)) > 500
    trace = (await recorded(on_wire(error))).stack_trace
    assert 5_000 < len(trace.encode()) <= 32 * 1024
    assert trace.rstrip().endswith('raise RuntimeError("deep")')


async def test_short_traces_are_whole() -> None:
    """An ordinary trace is kept as it is."""
    error = caught(bad_login)
    assert (await recorded(on_wire(error))).stack_trace == "\n".join(traceback.format_tb(error.__traceback__))


async def test_texts_that_utf8_lacks_are_recorded() -> None:
    """A lone surrogate (a file name that isn't UTF-8) becomes ``?``; the failure isn't lost."""
    assert cut("a\udcffb") == "a?b"
    assert (await recorded(on_wire(OSError("no file \udcff")))).message == "no file ?"


def test_an_exception_whose_text_breaks() -> None:
    """``__str__`` that raises doesn't replace the error."""

    class Broken(Exception):
        def __str__(self) -> str:
            raise ZeroDivisionError

    wired = on_wire(Broken())
    assert (wired.type, wired.message) == ("Broken", "Broken, whose text can't be made")


def test_application_errors_keep_what_they_are() -> None:
    """Type, details, delay and non-retryable stay; ours come behind the error's own details."""
    error = ApplicationError(
        "m", "own", type="Kind", non_retryable=True, next_retry_delay=timedelta(seconds=3)
    )
    wired = on_wire(error, {"ours": 1})
    assert (wired.message, wired.type, list(wired.details)) == ("m", "Kind", ["own", {"ours": 1}])
    assert (wired.non_retryable, wired.next_retry_delay) == (True, timedelta(seconds=3))


def test_plain_errors_are_retryable_unless_final() -> None:
    """Type is the class name."""
    assert (on_wire(KeyError("a")).type, on_wire(KeyError("a")).non_retryable) == ("KeyError", False)
    assert on_wire(KeyError("a"), final=True).non_retryable


def test_the_errors_that_handlers_raise() -> None:
    """``Unrecoverable`` isn't retried, ``Retryable`` and ``OutcomeUnknown`` are, the first with its delay."""
    wired = [
        on_wire(e)
        for e in (Unrecoverable("a"), Retryable("b", after=timedelta(seconds=9)), OutcomeUnknown("c"))
    ]
    assert [(w.type, w.non_retryable, w.next_retry_delay) for w in wired] == [
        ("Unrecoverable", True, None),
        ("Retryable", False, timedelta(seconds=9)),
        ("OutcomeUnknown", False, None),
    ]


LEFT_OUT = " [1 of its details left out: too large, or not JSON]"


@pytest.mark.parametrize(
    "detail", ["x" * 65_535, object(), {1, object()}, "\udcff"], ids=["large", "object", "set", "text"]
)
async def test_details_that_cannot_be_recorded_are_left_out(detail: Any) -> None:
    """The message says so; the other details, and ours behind them, stay."""
    wired = on_wire(ApplicationError("m", "own", detail, 1), {"ours": 1})
    assert (wired.message, list(wired.details)) == ("m" + LEFT_OUT, ["own", 1, {"ours": 1}])
    assert (await recorded(wired)).application_failure_info.details.payloads[0].data == b'"own"'


def test_details_share_64_kb() -> None:
    """Over all causes, the outermost first; a message that is cut still says what is left out."""
    outer = ApplicationError("a", "x" * 40_000)
    outer.__cause__ = ApplicationError("b" * 9000, "x" * 40_000, "y")
    wired = on_wire(outer)
    inner = wired.__cause__
    assert isinstance(inner, ApplicationError)
    assert (wired.message, wired.details, inner.details) == ("a", ("x" * 40_000,), ("y",))
    assert inner.message == "b" * (8192 - len(LEFT_OUT) - 20) + " [cut]" + LEFT_OUT


def test_a_protobuf_message_among_the_details_is_kept() -> None:
    """A message is recorded as it is; one that holds a message of an unknown type is left out, and counted."""
    status = Status(code=9, message="no seats")
    unreadable = Status(details=[AnyMessage(type_url="type.googleapis.com/no.Such", value=b"x")])
    wired = on_wire(ApplicationError("no seats", status, unreadable, {"n": 1}))
    assert wired.details == (status, {"n": 1})
    assert wired.message == f"no seats{LEFT_OUT}"
