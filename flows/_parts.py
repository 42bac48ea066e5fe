"""Handlers that are made of a user's functions: their shape, their hints, and what the start check looks into."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any, get_type_hints

from activities import Context, DefinitionError

_PARTS = "__counterstep_parts__"


def takes(function: Any, count: int, who: str, shape: str) -> None:
    """Refuse what can't be called with so many arguments.

    Raises:
        DefinitionError: naming whose function it is, and the shape that it needs.
    """
    try:
        inspect.signature(function).bind(*range(count))
    except (TypeError, ValueError):
        raise DefinitionError(f"{who}: {function!r} must be a function of {shape}") from None


def given_hints(handler: Callable[..., Any], part: Callable[..., Any], *, input: Any, result: Any) -> None:
    """Give a handler of ``(ctx, input)`` its hints: the dependencies of one of its parts, and these types."""
    handler.__annotations__ = {"ctx": _context(part), "input": input, "return": result}


def _context(part: Callable[..., Any]) -> Any:
    """Give the hint of a function's first parameter, where it says which dependencies it wants."""
    names = list(inspect.signature(part).parameters)
    hints: dict[str, Any] = {}
    with contextlib.suppress(NameError, TypeError):  # names known to type checkers only: it gets all of them
        hints = get_type_hints(part)
    return hints.get(names[0], Context[Any]) if names else Context[Any]


def of_parts(handler: Callable[..., Any], *parts: Callable[..., Any]) -> None:
    """Say of which functions a handler is made."""
    setattr(handler, _PARTS, parts)


def parts_of(handler: Any) -> Iterator[Any]:
    """Give the user's functions of a handler: those that it is made of, or itself."""
    parts = getattr(handler, _PARTS, None)
    if parts is None:
        yield handler
        return
    for part in parts:
        yield from parts_of(part)
