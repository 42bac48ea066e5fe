"""Declaring operations: what is read off a handler, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from pydantic import Field

from activities import (
    Context,
    DefinitionError,
    EmptyInput,
    Failure,
    InvalidInput,
    Operation,
    Outcome,
    Registry,
    Retry,
    operation,
)

if TYPE_CHECKING:
    from decimal import Decimal


class Cloud:
    """Dependencies of the operations below."""


def declare(handler: Callable[..., Any], **options: Any) -> Operation[Any, Any]:
    made: Operation[Any, Any] = operation(id="op", version="1.0.0", **options)(handler)
    return made


async def double(ctx: Context[Cloud], input: int) -> int:
    """Double a number.

    By adding it to itself.
    """
    return input + input


async def undo(ctx: Context[Any], input: int, outcome: Outcome[int]) -> None: ...


def test_defaults() -> None:
    """One minute, one attempt, remote, the flow's own queue, no undo; types and deps from the hints."""
    op = declare(double)
    assert (op.timeout, op.retry, op.placement, op.task_queue, op.at_most_once) == (
        timedelta(minutes=1),
        Retry(max_attempts=1),
        "remote",
        None,
        False,
    )
    assert (op.input.type, op.output.type, op.deps_type) == (int, int, Cloud)
    assert (op.undo_handler, op.retry_input_handler, repr(op)) == (None, None, "<operation op@1.0.0>")


def test_options_are_kept() -> None:
    """Timeout, retry and queue are what was given."""
    op = declare(double, timeout=timedelta(seconds=5), retry=Retry(3), task_queue="gpu")
    assert (op.timeout, op.retry.max_attempts, op.task_queue) == (timedelta(seconds=5), 3, "gpu")


def test_the_description_is_the_docstrings_first_line() -> None:
    """Unless ``description`` is given; without either it is empty."""

    async def silent(ctx: Context[Any], input: int) -> int:
        return input

    found = [
        declare(double),
        declare(double, description="Twice."),
        declare(double, description=""),
        declare(silent),
    ]
    assert [op.definition.description for op in found] == ["Double a number.", "Twice.", "", ""]


def test_declaring_is_pure() -> None:
    """The handler stays what it was, two equal declarations are two objects, and no registry knows them."""
    before = dict(vars(double))
    first, second = declare(double), declare(double)
    assert vars(double) == before
    assert first is not second
    assert first.definition == second.definition
    assert list(Registry()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"at_most_once": True, "retry": Retry()}, "op@1.0.0 is at_most_once, so it can't have retry"),
        ({"at_most_once": True, "retry": Retry(0)}, "op@1.0.0 is at_most_once, so it can't have retry"),
        (
            {"placement": "local", "task_queue": "gpu"},
            "op@1.0.0 is local, so it has no task_queue and no at_most_once",
        ),
        (
            {"placement": "local", "at_most_once": True},
            "op@1.0.0 is local, so it has no task_queue and no at_most_once",
        ),
        ({"timeout": timedelta(0)}, "timeout of op@1.0.0 must be above zero"),
    ],
)
def test_options_that_contradict_each_other(options: dict[str, Any], message: str) -> None:
    """Such a declaration is a ``DefinitionError`` that names the operation."""
    with pytest.raises(DefinitionError) as caught:
        declare(double, **options)
    assert caught.value.message == message


def test_at_most_once_with_one_attempt_is_fine() -> None:
    """``Retry(max_attempts=1)`` is no retry."""
    assert declare(double, at_most_once=True, retry=Retry(max_attempts=1)).at_most_once


def _wrong_shapes() -> dict[str, tuple[Callable[..., Any], str]]:
    async def one(input: int) -> int:
        return input

    async def three(ctx: Context[Any], input: int, more: int) -> int:
        return input

    async def no_input_hint(ctx: Context[Any], input) -> int:  # type: ignore[no-untyped-def]
        return 1

    async def no_output_hint(ctx: Context[Any], input: int):  # type: ignore[no-untyped-def]
        return 1

    async def keyword(ctx: Context[Any], *, input: int) -> int:
        return input

    shape = "op@1.0.0 must be a function of (ctx, input)"
    hints = "op@1.0.0: annotate the input and what the handler returns"
    return {
        "one": (one, shape),
        "three": (three, shape),
        "keyword": (keyword, shape),
        "no input hint": (no_input_hint, hints),
        "no output hint": (no_output_hint, hints),
    }


@pytest.mark.parametrize("name", ["one", "three", "keyword", "no input hint", "no output hint"])
def test_handlers_of_another_shape(name: str) -> None:
    """A handler takes context and input, and says their types."""
    handler, message = _wrong_shapes()[name]
    with pytest.raises(DefinitionError) as caught:
        declare(handler)
    assert caught.value.message == message


def test_types_under_type_checking() -> None:
    """A type that is there for the checker only is refused, saying where to import it."""

    async def price(ctx: Context[Any], input: Decimal) -> int:
        return int(input)

    with pytest.raises(DefinitionError) as caught:
        declare(price)
    assert caught.value.message == (
        "op@1.0.0: name 'Decimal' is not defined; import its types at run time, not under TYPE_CHECKING"
    )


def test_constraints_of_annotated_inputs_hold() -> None:
    """``Annotated[int, Field(gt=0)]`` refuses 0."""

    async def positive(
        ctx: Context[Any], input: Annotated[int, Field(gt=0)]
    ) -> list[Annotated[int, Field(lt=9)]]:
        return [input]

    op = declare(positive)
    assert op.input.dump(1, "input") == 1
    with pytest.raises(
        InvalidInput, match=r"^InvalidInput: input doesn't fit .*: value: Input should be greater than 0$"
    ):
        op.input.dump(0, "input")
    with pytest.raises(InvalidInput, match=r"0: Input should be less than 9$"):
        op.output.dump([9], "output")


def test_an_undo_retries_unless_told_otherwise() -> None:
    """``@op.undo`` takes ``Retry()`` and the operation's timeout; both can be given."""
    plain, given = declare(double, timeout=timedelta(seconds=7)), declare(double)
    assert plain.undo(undo) is undo
    assert given.undo(retry=Retry(2), timeout=timedelta(seconds=3))(undo) is undo
    assert plain.undo_handler is not None and given.undo_handler is not None
    assert (plain.undo_handler.retry, plain.undo_handler.timeout) == (
        Retry(max_attempts=10),
        timedelta(seconds=7),
    )
    assert (given.undo_handler.retry, given.undo_handler.timeout) == (
        Retry(max_attempts=2),
        timedelta(seconds=3),
    )
    assert plain.undo_name == "op@1.0.0/undo"


def test_a_second_undo_is_refused() -> None:
    """An operation has one counter-step."""
    op = declare(double)
    op.undo(undo)
    with pytest.raises(DefinitionError) as caught:
        op.undo(undo)
    assert caught.value.message == "op@1.0.0 has an undo already"


def test_an_undo_of_another_shape() -> None:
    """An undo takes context, input and outcome."""
    with pytest.raises(DefinitionError) as caught:
        declare(double).undo(double)
    assert caught.value.message == "the undo of op@1.0.0 must be a function of (ctx, input, outcome)"


def test_retry_input_of_a_local_operation() -> None:
    """A local operation has no ``retry_input``."""
    with pytest.raises(DefinitionError) as caught:
        declare(double, placement="local").retry_input(lambda attempt, error, input, deps: input)
    assert caught.value.message == "op@1.0.0 is local, and retry_input needs a remote operation"


def test_retry_input_of_another_shape() -> None:
    """It takes attempt, error, input and dependencies; the right one is kept and given back."""
    op = declare(double)
    with pytest.raises(DefinitionError) as caught:
        op.retry_input(lambda attempt, error: 1)  # type: ignore[misc, arg-type]
    assert (
        caught.value.message == "retry_input of op@1.0.0 must be a function of (attempt, error, input, deps)"
    )

    def widen(attempt: int, error: Any, input: int, deps: Any) -> int:
        return input * 10

    assert op.retry_input(widen) is widen
    assert op.retry_input_handler is widen


def test_empty_input() -> None:
    """``EmptyInput`` is ``{}``, equal to any other, and takes no fields."""

    async def nothing(ctx: Context[Any], input: EmptyInput) -> None: ...

    op = declare(nothing)
    assert op.input.dump(EmptyInput(), "input") == {}
    assert op.input.load(b"{}", "input") == EmptyInput()
    assert op.output.type is type(None)
    with pytest.raises(InvalidInput) as caught:
        op.input.load(b'{"a": 1}', "input")
    assert caught.value.message == "input doesn't fit EmptyInput: a: Extra inputs are not permitted"


def test_a_second_retry_input_is_refused() -> None:
    """It would silently replace the first."""
    op = declare(double)
    op.retry_input(lambda attempt, error, input, deps: input)
    with pytest.raises(DefinitionError) as caught:
        op.retry_input(lambda attempt, error, input, deps: input)
    assert caught.value.message == "op@1.0.0 has a retry_input already"


def test_an_async_retry_input_is_refused() -> None:
    """Nothing awaits it."""

    async def widen(attempt: int, error: Failure, input: int, deps: Any) -> int:
        return input

    with pytest.raises(DefinitionError) as caught:
        declare(double).retry_input(widen)  # type: ignore[arg-type]
    assert caught.value.message == "retry_input of op@1.0.0 must be a plain def: nothing awaits it"
