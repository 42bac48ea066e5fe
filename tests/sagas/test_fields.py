"""A reference to a field that no value of the output's type can have is found in the plan."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Generic, NewType, Optional, TypeVar

import pytest
from pydantic import BaseModel, RootModel
from typing_extensions import TypedDict

from flows._fields import lacks
from tests.sagas.operations import Made
from tests.sagas.values import Aliased, Colour, Place


class Typed(TypedDict):
    """A dict with known keys."""

    id: int


T = TypeVar("T")


class Box(BaseModel, Generic[T]):
    """A generic model."""

    content: T


class Numbers(RootModel[list[int]]):
    """A model that is a list in JSON."""


class Open(BaseModel, extra="allow"):
    """A model that may have more."""

    id: int


New = NewType("New", Made)


class Everything(BaseModel):
    """A field of every sort."""

    made: Made
    maybe: Optional[Made]  # noqa: UP045
    either: Made | Aliased | None
    many: list[Made]
    by_name: dict[str, Made]
    pair: tuple[int, Made]
    more: tuple[Made, ...]
    aliased: Aliased
    typed: Typed
    box: Box[Made]
    numbers: Numbers
    open: Open
    place: Place
    anything: Any
    new: New
    colour: Colour
    after: timedelta


THERE = [
    ("made", "id"), ("maybe", "id"), ("either", "id"), ("either", "theSize"), ("many", 0, "id"), ("many", -1, "id"),
    ("by_name", "x", "id"), ("pair", 1, "id"), ("more", 7, "id"), ("aliased", "theSize"), ("typed", "id"),
    ("box", "content", "id"), ("numbers", 0), ("open", "x", "y"), ("place", "given", "others", 0), ("anything", "x", 0),
    ("new", "id"), ("colour",), ("after",), (),
]  # fmt: skip
NOT_THERE = [
    ("nope",), ("made", "x"), ("made", 0), ("maybe", "x"), ("either", "x"), ("many", "id"), ("many", 0, "x"),
    ("by_name", "x", "y"), ("by_name", 0), ("pair", 2), ("pair", 0, "id"), ("aliased", "size"), ("typed", "x"),
    ("box", "content", "x"), ("numbers", "root"), ("place", "given", "x"), ("new", "x"), ("colour", "name"),
    ("after", "days"),
]  # fmt: skip


@pytest.mark.parametrize("path", THERE, ids=str)
def test_a_path_that_may_be_there(path: tuple[str | int, ...]) -> None:
    """G39: models, Optional, unions, lists, dicts, tuples, aliases, TypedDict, generics, root models, open models."""
    assert lacks(Everything, path) is None


@pytest.mark.parametrize("path", NOT_THERE, ids=str)
def test_a_path_that_certainly_isnt_there(path: tuple[str | int, ...]) -> None:
    """G39: the first part that no value of the type can have is found."""
    found = lacks(Everything, path)
    assert found is not None and lacks(Everything, path[: found.depth]) is None
    assert lacks(Everything, path[: found.depth + 1]) == found
