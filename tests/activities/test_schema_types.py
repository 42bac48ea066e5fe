"""Types that lose something in JSON are refused when an operation is declared, naming model and field."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Set
from datetime import UTC, date, datetime
from typing import Annotated, Any, Generic, NamedTuple, NewType, TypeVar

import pytest
from pydantic import BaseModel, Field, PrivateAttr, Secret, SecretBytes, SecretStr
from pydantic import dataclasses as pydantic_dataclasses
from typing_extensions import TypeAliasType, TypedDict

from activities import Context, DefinitionError, NotSerializable, operation

T = TypeVar("T")


class Excluded(BaseModel):
    shown: int
    hidden: int = Field(default=0, exclude=True)


class ExcludedIf(BaseModel):
    hidden: int = Field(default=0, exclude_if=lambda value: value == 0)


class Token(BaseModel):
    token: SecretStr


class Wraps(BaseModel):
    tokens: dict[str, list[Token]] | None


class RandomId(BaseModel):
    id: uuid.UUID = Field(default_factory=uuid.uuid4)


class Clocked(BaseModel):
    at: datetime = Field(default_factory=lambda: datetime.now(tz=UTC))


class Today(BaseModel):
    on: date = Field(default_factory=date.today)


class HasSet(BaseModel):
    tags: set[str]


class Box(BaseModel, Generic[T]):
    value: T


@dataclasses.dataclass
class Data:
    at: float = dataclasses.field(default_factory=lambda: datetime.now(tz=UTC).timestamp())


@dataclasses.dataclass
class DataExcluded:
    hidden: Annotated[int, Field(exclude=True)] = 0


@dataclasses.dataclass
class DataBox(Generic[T]):
    token: SecretStr
    value: T


@pydantic_dataclasses.dataclass
class PydanticData:
    hidden: int = Field(default=0, exclude=True)


class Typed(TypedDict):
    hidden: Annotated[int, Field(exclude=True)]


class Named(NamedTuple):
    password: SecretStr


class Recursive(BaseModel):
    children: list[Recursive] = []
    token: SecretBytes | None = None


class MySecret(SecretStr): ...


Password = NewType("Password", SecretStr)
Tags = TypeAliasType("Tags", frozenset[str])
NEW = "has a default that is new each time; let the caller give it"
LOST = "is excluded from dumping, so it would be lost"
SECRET = "is masked in JSON; use SecretRef, which records only a name"
SET = "a set has no order, so its JSON differs from run to run; use a list"


def declare(input: Any, output: Any = int) -> None:
    async def handler(ctx: Context[Any], input: Any) -> Any: ...

    handler.__annotations__ |= {"input": input, "return": output}
    operation(id="op", version="1.0.0")(handler)


@pytest.mark.parametrize(
    ("type_", "problem"),
    [
        (Excluded, f"Excluded.hidden {LOST}"),
        (ExcludedIf, f"ExcludedIf.hidden {LOST}"),
        (DataExcluded, f"DataExcluded.hidden {LOST}"),
        (PydanticData, f"PydanticData.hidden {LOST}"),
        (Typed, f"Typed.hidden {LOST}"),
        (SecretStr, f"SecretStr {SECRET}"),
        (MySecret, f"MySecret {SECRET}"),
        (Secret[int], f"Secret {SECRET}"),
        (Password, f"SecretStr {SECRET}"),
        (Token, f"Token.token: SecretStr {SECRET}"),
        (Wraps, f"Wraps.tokens: Token.token: SecretStr {SECRET}"),
        (Box[Token], f"Box[Token].value: Token.token: SecretStr {SECRET}"),
        (DataBox[int], f"DataBox.token: SecretStr {SECRET}"),
        (Named, f"Named.password: SecretStr {SECRET}"),
        (Recursive, f"Recursive.token: SecretBytes {SECRET}"),
        (RandomId, f"RandomId.id {NEW}"),
        (Clocked, f"Clocked.at {NEW}"),
        (Today, f"Today.on {NEW}"),
        (Data, f"Data.at {NEW}"),
        (list[RandomId] | None, f"RandomId.id {NEW}"),
        (HasSet, f"HasSet.tags: {SET}"),
        (set, SET),
        (dict[str, frozenset[int]], SET),
        (Set[int], SET),
        (Tags, SET),
    ],
)
def test_what_dumping_would_lose(type_: Any, problem: str) -> None:
    """OPS-09, OPS-23, as an input and as an output: ``NotSerializable`` at import, naming model and field."""
    with pytest.raises(NotSerializable) as caught:
        declare(type_)
    assert caught.value.message == f"op@1.0.0: input: {problem}"
    with pytest.raises(NotSerializable) as caught:
        declare(int, type_)
    assert caught.value.message == f"op@1.0.0: output: {problem}"


class Fine(BaseModel):
    names: list[str] = Field(default_factory=list)
    at: datetime | None = None
    _cache: dict[str, int] = PrivateAttr(default_factory=dict)


@pytest.mark.parametrize(
    "type_",
    [
        int,
        None,
        Fine,
        list[Fine],
        Box[int],
        dict[str, Fine | None],
        tuple[int, str],
        Any,
        Annotated[int, "x"],
    ],
)
def test_what_survives_may_be_declared(type_: Any) -> None:
    """Builtins, models, fixed defaults, generics, ``Any`` and private attributes are judged by value."""
    declare(type_, type_)


class Opaque: ...


def test_a_type_that_pydantic_does_not_know() -> None:
    """A plain class is refused when declared, not when the first run meets it."""
    with pytest.raises(NotSerializable) as caught:
        declare(Opaque)
    assert caught.value.message.startswith(
        f"op@1.0.0: input: Unable to generate pydantic-core schema for {Opaque!r}."
    )


class Unfinished(BaseModel):
    x: Missing  # type: ignore[name-defined]  # noqa: F821


@dataclasses.dataclass
class UnfinishedData:
    x: Missing  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize("type_", [Unfinished, UnfinishedData])
def test_a_model_that_names_what_is_not_there(type_: type) -> None:
    """It can't be judged, so declaring it is an error."""
    with pytest.raises(DefinitionError) as caught:
        declare(type_)
    assert caught.value.message == (
        f"op@1.0.0: input: a name in it isn't known yet; define {type_.__name__} and all that it names first"
    )


def test_judging_leaves_no_false_memory() -> None:
    """Types that are made and dropped in turn are each judged (their ``id`` is used again)."""

    def one(kind: Callable[[], Any]) -> str:
        try:
            declare(kind())
        except NotSerializable:
            return "refused"
        return "fine"

    def made(annotation: Any) -> Callable[[], Any]:
        return lambda: dataclasses.make_dataclass("Made", [("x", annotation)])

    kinds = [made(list[int]), made(set[int])] * 20
    assert [one(kind) for kind in kinds] == ["fine", "refused"] * 20
