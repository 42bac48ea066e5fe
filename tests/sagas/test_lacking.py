"""A reference to what isn't there is refused with what is there instead."""

from __future__ import annotations

from typing import Any

import pytest

from activities import Context, EmptyInput, operation
from flows import no_undo
from tests.sagas.operations import work
from tests.sagas.planning import mistakes_of
from tests.sagas.test_fields import Everything


@operation(id="everything", version="1.0.0")
async def everything(ctx: Context[Any], input: EmptyInput) -> Everything:
    """Never run."""
    raise AssertionError


INSTEAD = {
    ("made", "x"): "all.made has id, name",
    ("either", "x"): "all.either has id, name, theSize",
    ("made", 0): "all.made has id, name",
    ("many", "id"): "all.many is a list",
    ("many", 3, "x"): "all.many.3 has id, name",
    ("by_name", 0): "all.by_name is dict",
    ("pair", 0, "id"): "all.pair.0 is int",
    ("pair", 2): "all.pair is a list",
    ("aliased", "size"): "all.aliased has theSize",
    ("colour", "name"): "all.colour is Colour",
    ("places",): "all has place, made, maybe, either, many, by_name, pair, more, aliased, typed, and 7 more",
}  # fmt: skip


@pytest.mark.parametrize("path", INSTEAD, ids=str)
def test_what_is_there_instead(path: tuple[str | int, ...]) -> None:
    """A field that isn't there is told with those that are, ten at most, of what the reference leads to."""
    whole = ".".join(map(str, ("all", *path)))
    (line,) = mistakes_of(
        lambda dag: dag.append(
            "b", work, {"number": dag.append("all", everything, {}, undo=no_undo).ref(*path)}
        )
    )
    assert line == f"b: input: refers to {whole}, and there is no {path[-1]!r} in its output; {INSTEAD[path]}"


@pytest.mark.parametrize(
    ("value", "there"),
    [
        ({}, "has nothing"), ({"a": 1, "b\nc": 2}, "has a, b c"), ([1, 2], "is a list of 2"), (None, "is null"),
        ("text", "is str"),
        ({f"n{n}": n for n in range(30)}, "has n0, n1, n2, n3, n4, n5, n6, n7, n8, n9, and 20 more"),
    ],
)  # fmt: skip
def test_what_a_constant_has(value: Any, there: str) -> None:
    """A constant's own names are told, in one line."""
    (line,) = mistakes_of(lambda dag: dag.append("b", work, {"number": dag.constant("one", value).ref("x")}))
    assert line == f"b: input: refers to one.x, and there is no 'x' in its output; one {there}"
