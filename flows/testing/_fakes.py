"""Operations that only pretend: the same to a flow, another handler."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from activities import Context, DefinitionError, Operation, Outcome

In = TypeVar("In")
Out = TypeVar("Out")


def fake(
    operation: Operation[In, Out],
    output: Any = None,
    *,
    undo: Callable[[Context[Any], In, Outcome[Out]], Any] | None = None,
) -> Operation[In, Out]:
    """Make a stand-in for an operation: its name, types, retry and timeout, without its effect.

    Args:
        operation: the real one, which isn't touched.
        output: what each call returns; or a function of the input that gives it, or raises.
        undo: instead of an undo that does nothing; only for an operation that has an undo.

    Returns:
        What to serve instead of the real one.

    Raises:
        DefinitionError: when an undo is given to an operation without one.
    """
    if undo is not None and operation.undo_handler is None:
        raise DefinitionError(f"{operation.definition} has no undo that could be faked")

    async def handler(ctx: Context[Any], input: Any) -> Any:
        given = output(input) if callable(output) else output
        return await given if inspect.isawaitable(given) else given

    async def nothing(ctx: Context[Any], input: Any, outcome: Outcome[Any]) -> None:
        """Undo nothing."""

    made = copy.copy(operation)
    made.handler, made.retry_input_handler = handler, None
    if operation.undo_handler is not None:
        made.undo_handler = replace(operation.undo_handler, handler=undo or nothing)
    return made
