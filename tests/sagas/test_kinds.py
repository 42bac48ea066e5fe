"""A reference of a kind that its field never takes is a mistake of the plan; what may fit is left to the step."""

from __future__ import annotations

import dataclasses
from datetime import date, timedelta
from decimal import Decimal
from enum import IntEnum
from typing import Annotated, Any, Literal, Optional

import pytest
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    OnErrorOmit,
    PlainSerializer,
    RootModel,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)
from typing_extensions import TypedDict

from activities import EmptyInput, operation
from activities._schema import Schema
from flows import Dag, Ref, Step, no_undo
from flows._kinds import clashes, given_at
from tests.sagas.operations import Made, work
from tests.sagas.planning import mistakes_of, plan_of, typed_mistakes
from tests.sagas.values import Aliased, Colour, Place


class Level(IntEnum):
    """A number in JSON."""

    LOW = 1


class Words(TypedDict):
    """A dict with known keys."""

    text: str


class Numbers(RootModel[list[int]]):
    """A list in JSON."""


class Tree(BaseModel):
    """A type that names itself."""

    label: str
    inner: Optional[Tree] = None  # noqa: UP045


class Short(BaseModel):
    """A model that becomes text in JSON."""

    id: int

    @model_serializer
    def text(self) -> str:
        """Write it."""
        return str(self.id)

    @model_validator(mode="before")
    @classmethod
    def parsed(cls, given: Any) -> Any:
        """Read it."""
        return {"id": int(given)} if isinstance(given, str) else given


class Loose(BaseModel, coerce_numbers_to_str=True):
    """A model that takes numbers for text."""

    text: str
    words: Words = {"text": ""}


class Split(BaseModel):
    """A model with a validator that sees what is given first."""

    parts: list[str]

    @field_validator("parts", mode="before")
    @classmethod
    def split(cls, given: Any) -> Any:
        """Take text."""
        return given.split() if isinstance(given, str) else given


class Own(BaseModel):
    """A model that sees what is given first."""

    parts: str

    def __init__(self, parts: Any) -> None:
        """Take anything."""
        super().__init__(parts=str(parts))


@dataclasses.dataclass
class Pair:
    """A dataclass."""

    left: int
    right: str


Texted = Annotated[int, PlainSerializer(str)]
Later = Annotated[int, AfterValidator(lambda value: value)]
Comma = Annotated[list[str], BeforeValidator(lambda v: v.split(",") if isinstance(v, str) else v)]
Coerced = Annotated[str, Field(coerce_numbers_to_str=True)]

VALUES: list[tuple[Any, Any]] = [
    (int, 1), (float, 1.0), (bool, True), (str, "1"), (str, "a,b"), (None, None), (list[int], [1]), (dict[str, int], {"id": 1}),
    (tuple[int, str], (1, "1")), (Made, Made(id=1, name="m")), (Aliased, Aliased(theSize=1)), (Texted, 1), (Later, 1),
    (Short, Short(id=1)), (Numbers, Numbers([1])), (Level, Level.LOW), (Colour, Colour.RED), (Literal["1"], "1"),
    (date, date(2026, 1, 1)), (timedelta, timedelta(1)), (Decimal, Decimal(1)), (int | None, 1), (int | str, "1"),
    (Words, {"text": "t"}), (Pair, Pair(1, "1")), (Tree, Tree(label="x", inner=Tree(label="y"))), (Any, {"id": 1}),
]  # fmt: skip
TAKEN: list[Any] = [
    int, float, bool, str, None, list[int], list[str], tuple[int, ...], set[int], dict[str, Any], Made, Aliased, Words, Pair,
    Numbers, Short, Comma, Coerced, Loose, Split, Tree, Level, Colour, Literal[1], Literal["1"], date, timedelta, Decimal,
    str | None, int | list[int], str | dict[str, Any], Place, Any, Later, Texted,
]  # fmt: skip


@pytest.mark.parametrize("taken", TAKEN, ids=range(len(TAKEN)))
def test_what_pydantic_takes_is_never_refused(taken: Any) -> None:
    """Each value, written as its type says: where the plan would be refused, so would the value."""
    refused = 0
    for type_, value in VALUES:
        kinds = given_at(Schema(type_).core, ())
        if list(clashes({"$ref": "a"}, Schema(taken).core, lambda _, kinds=kinds: kinds)):  # type: ignore[misc]
            refused += 1
            written = TypeAdapter(type_).dump_json(value, by_alias=True, round_trip=True)
            with pytest.raises(ValidationError):
                TypeAdapter(taken).validate_json(written)
    unsure = (Short, Comma, Coerced, Level, Colour, Literal[1], Literal["1"], date, timedelta, Decimal, Any)
    assert (refused == 0) == (taken in unsure), refused


class Taking(BaseModel):
    """Fields of many kinds."""

    text: str = ""
    maybe: str | None = None
    many: list[str] = []
    by_name: dict[str, list[int]] = {}
    made: Made | None = None
    tree: Tree | None = None
    pair: Pair | None = None
    words: Words = {"text": ""}
    loose: Loose | None = None
    parts: Split | None = None
    own: Own | None = None
    some: list[OnErrorOmit[str]] = []
    either: str | list[str] = ""
    renamed: str = Field("", alias="theText")
    whole: int = 0


class Giving(BaseModel):
    """Fields of many kinds."""

    number: int = 0
    maybe: int | None = None
    texts: list[str] = []
    made: Made = Made(id=1, name="m")
    size: Aliased = Aliased(theSize=1)
    written: list[Texted] = []
    tree: Tree = Tree(label="x")
    pair: Pair = dataclasses.field(default_factory=lambda: Pair(1, "1"))


@operation(id="takes", version="1.0.0")
async def takes(ctx: Any, input: Taking) -> None: ...


@operation(id="gives", version="1.0.0")
async def gives(ctx: Any, input: EmptyInput) -> Giving:
    raise NotImplementedError


def _ref(*path: str | int) -> Any:
    return Step[Any]("a").ref(*path)


CANT_FIT: dict[str, tuple[Any, str]] = {
    "number to text": ({"text": _ref("number")}, "text: takes a string, and <ref a.number> is an integer"),
    "optional": ({"maybe": _ref("number")}, "maybe: takes null or a string, and <ref a.number> is an integer"),
    "whole to text": ({"text": _ref()}, "text: takes a string, and <ref a> is an object"),
    "item": ({"many": [_ref("number")]}, "many.0: takes a string, and <ref a.number> is an integer"),
    "text to list": ({"many": _ref("texts", 0)}, "many: takes a list, and <ref a.texts.0> is a string"),
    "in a dict": ({"by_name": {"x": [_ref("texts")]}}, "by_name.x.0: takes an integer, and <ref a.texts> is a list"),
    "value of a dict": ({"by_name": {"x": _ref("made")}}, "by_name.x: takes a list, and <ref a.made> is an object"),
    "in a model": (
        {"made": {"id": 1, "name": _ref("made", "id")}},
        "made.name: takes a string, and <ref a.made.id> is an integer",
    ),
    "itself": (
        {"tree": {"label": "x", "inner": {"label": _ref("tree", "inner")}}},
        "tree.inner.label: takes a string, and <ref a.tree.inner> is null or an object",
    ),
    "dataclass": (
        {"pair": {"left": 1, "right": _ref("pair", "left")}},
        "pair.right: takes a string, and <ref a.pair.left> is an integer",
    ),
    "typed dict": (
        {"words": {"text": _ref("size", "theSize")}},
        "words.text: takes a string, and <ref a.size.theSize> is an integer",
    ),
    "union": ({"either": _ref("number")}, "either: takes a string or a list, and <ref a.number> is an integer"),
    "alias": ({"theText": _ref("number")}, "theText: takes a string, and <ref a.number> is an integer"),
    "null or number": ({"text": _ref("maybe")}, "text: takes a string, and <ref a.maybe> is null or an integer"),
    "list to number": ({"whole": _ref("texts")}, "whole: takes an integer, and <ref a.texts> is a list"),
    "the whole input": (_ref("texts"), "value: takes an object, and <ref a.texts> is a list"),
    "literal": ({"by_name": {"$ref": [_ref("texts")]}}, "by_name.$ref.0: takes an integer, and <ref a.texts> is a list"),
}  # fmt: skip
MAY_FIT: dict[str, Any] = {
    "text to number": {"whole": _ref("texts", 0)},
    "null or number to number": {"whole": _ref("maybe")},
    "written by a serializer": {"text": _ref("written", 0)},
    "coerced": {"loose": {"text": _ref("number")}},
    "coerced deeper": {"loose": {"text": "", "words": {"text": _ref("number")}}},
    "a validator before": {"parts": {"parts": _ref("made", "name")}},
    "an __init__ of its own": {"own": {"parts": _ref("number")}},
    "omitted where it doesn't fit": {"some": [_ref("number")]},
    "same type": {
        "made": _ref("made"),
        "tree": _ref("tree", "inner"),
        "pair": _ref("pair"),
        "many": _ref("texts"),
    },
}


@pytest.mark.parametrize("case", CANT_FIT)
def test_a_reference_that_cant_fit(case: str) -> None:
    """The line names the field, what it takes, the reference and what that is."""
    template, says = CANT_FIT[case]
    assert mistakes_of(lambda dag: _both(dag, template)) == [f"b: input: {says}"]


@pytest.mark.parametrize("case", MAY_FIT)
def test_a_reference_that_may_fit(case: str) -> None:
    """Where a value may fit, only the step can tell."""
    plan_of(lambda dag: _both(dag, MAY_FIT[case]))


def _both(dag: Dag, template: Any) -> None:
    dag.append("a", gives, {}, undo=no_undo)
    dag.append("b", takes, template, undo=no_undo)


def test_constants_are_checked_as_literals() -> None:
    """Their values are known: plain ones are tried in their fields, lists and dicts by their kind."""

    def build(dag: Dag) -> None:
        dag.constant("c", {"text": "x", "no": None, "list": [1], "$ref": 7})
        c: Any = Ref("c")
        dag.append("b", takes, {"whole": c["text"], "text": c["list"], "theText": c["no"]}, undo=no_undo)
        dag.append("fits", takes, {"whole": c["$ref"], "text": c["text"], "maybe": c["no"]}, undo=no_undo)

    assert mistakes_of(build) == [
        "b: input: theText: Input should be a valid string",
        "b: input: whole: Input should be a valid integer, unable to parse string as an integer",
        "b: input: text: takes a string, and <ref c.list> is a list",
    ]


def test_what_other_steps_give() -> None:
    """A wait gives nothing, an approval who decided, a subsaga what its result gives."""

    def build(dag: Dag) -> None:
        dag.wait("w", timedelta(seconds=1))
        dag.approval("go", timeout=timedelta(seconds=1))
        dag.append("b", takes, {"text": Ref("w"), "many": Ref("go", ("name",))}, undo=no_undo)

    assert mistakes_of(build) == [
        "b: input: text: takes a string, and <ref w> is null",
        "b: input: many: takes a list, and <ref go.name> is a string",
    ]


def test_a_typed_plan_is_checked_too() -> None:
    """References that somebody typed, through a subsaga's result."""
    a = {"kind": "operation", "name": "s/a", "operation": str(work.definition), "input": {}}
    s = {"kind": "subsaga", "name": "s", "after": ["s/a"], "result": "s/a"}
    b = {
        "kind": "operation", "name": "b", "operation": str(work.definition),
        "input": {"number": {"$ref": "s"}, "others": [{"$ref": "s", "path": ["id"]}]},
    }  # fmt: skip
    assert typed_mistakes(a, s, b) == ["b: input: number: takes an integer, and <ref s> is an object"]
