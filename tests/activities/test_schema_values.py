"""Values to JSON and back: equal, or refused; messages that hold no input value."""

from __future__ import annotations

import dataclasses
import enum
import ipaddress
import json
import uuid
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

import pydantic_core
import pytest
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_serializer, field_validator

from activities import InvalidInput, NotSerializable
from activities._schema import Schema


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Plain(enum.Enum):
    A = (1, 2)


class Point(NamedTuple):
    x: int
    y: int


@dataclasses.dataclass(frozen=True)
class Disk:
    size: int
    labels: dict[str, str] = dataclasses.field(default_factory=dict)


class Vm(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    name: str
    cidr_block: str = Field(alias="cidrBlock")
    disks: list[Disk] = []
    made: datetime | None = None


class Fleet(BaseModel):
    model_config = ConfigDict(extra="allow")

    vms: dict[str, Vm]
    total: int


class Chooses(BaseModel):
    one: Annotated[Disk | int | str, Field(union_mode="left_to_right")]


VM = Vm(
    name="a",
    cidr_block="10.0.0.0/8",
    disks=[Disk(1, {"k": "v"})],
    made=datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
)
VM_JSON = {
    "name": "a",
    "cidrBlock": "10.0.0.0/8",
    "disks": [{"size": 1, "labels": {"k": "v"}}],
    "made": "2026-01-02T03:04:05.000006Z",
}


@pytest.mark.parametrize(
    ("type_", "value", "dumped"),
    [
        (int, 16015286601757825753, 16015286601757825753),
        (int, -(10**4000), -(10**4000)),
        (Any, 2**200, 2**200),
        (float, 0.1, 0.1),
        (Decimal, Decimal("1.10"), "1.10"),
        (datetime, datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00Z"),
        (datetime, datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=2))), "2026-01-01T00:00:00+02:00"),
        (datetime, datetime(2026, 7, 1, tzinfo=ZoneInfo("Europe/Berlin")), "2026-07-01T00:00:00+02:00"),
        (datetime, datetime(2026, 1, 1), "2026-01-01T00:00:00"),
        (date, date(2026, 1, 1), "2026-01-01"),
        (timedelta, timedelta(days=1, microseconds=1), "P1DT0.000001S"),
        (Colour, Colour.RED, "red"),
        (Level, Level.LOW, 1),
        (Literal["a", 1], "a", "a"),
        (uuid.UUID, uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Path, Path("/a/b"), "/a/b"),
        (ipaddress.IPv4Network, ipaddress.ip_network("10.0.0.0/8"), "10.0.0.0/8"),
        (bytes, b"text", "text"),
        (Point, Point(1, 2), [1, 2]),
        (tuple[int, str], (1, "a"), [1, "a"]),
        (dict[int, Colour], {7: Colour.RED}, {"7": "red"}),
        (Disk, Disk(1), {"size": 1, "labels": {}}),
        (Vm, VM, VM_JSON),
        (Fleet, Fleet(vms={"a": VM}, total=1, note="x"), {"vms": {"a": VM_JSON}, "total": 1, "note": "x"}),
        (list[Vm | None], [None, VM], [None, VM_JSON]),
        (int | str, "1", "1"),
        (None, None, None),
        (Any, {"a": [1, 1.5, None, True, "ä", {}]}, {"a": [1, 1.5, None, True, "ä", {}]}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_round_trips(type_: Any, value: Any, dumped: Any) -> None:
    """What is dumped is the JSON one expects, and loading it gives an equal value of the same type."""
    schema: Schema[Any] = Schema(type_)
    assert schema.dump(value, "input") == dumped
    back = schema.load(pydantic_core.to_json(dumped), "input")
    assert (back, type(back)) == (value, type(value)) or isinstance(value, Path)


def test_any_shape_of_one_input_dumps_alike() -> None:
    """A model, a dict in another order, and 1.0 for 1 are the same JSON."""
    schema: Schema[Disk] = Schema(Disk)
    for value in (
        Disk(1, {"k": "v"}),
        {"labels": {"k": "v"}, "size": 1},
        {"size": 1.0, "labels": {"k": "v"}},
    ):
        assert schema.dump(value, "input") == {"size": 1, "labels": {"k": "v"}}


class Loose(BaseModel):
    value: Any


class Sub(Vm):
    extra: int = 1


@dataclasses.dataclass(frozen=True)
class SubDisk(Disk):
    extra: int = 1


class Hidden(BaseModel):
    _secret: int = PrivateAttr(default=0)


class HiddenBeside(BaseModel):
    x: int = 1
    _secret: int = PrivateAttr(default=0)


class Masks(BaseModel):
    x: int

    @field_serializer("x")
    def mask(self, x: int) -> int:
        return 0


class Fails(BaseModel):
    x: int

    @field_serializer("x")
    def fail(self, x: int) -> int:
        raise RuntimeError(f"{x} hunter2")


class Renamed(BaseModel):
    x: int = Field(default=0, validation_alias="y", serialization_alias="z")


def _hidden(model: type[Hidden | HiddenBeside]) -> Any:
    value = model()
    value._secret = 7
    return value


def _cycle() -> list[Any]:
    ring: list[Any] = []
    ring.append(ring)
    return ring


def _deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(5000):
        value = [value]
    return value


CHANGED = "a round trip changes it; keep all of it in fields"


@pytest.mark.parametrize(
    ("type_", "value", "why"),
    [
        (float, float("nan"), "value is nan, which JSON can't hold"),
        (Loose, Loose(value={"a": [0, float("inf")]}), "value.a.1 is inf, which JSON can't hold"),
        (Any, ({"a": float("nan")},), "0.a is nan, which JSON can't hold"),
        (Plain, Plain.A, "value: Input should be (1, 2)"),
        (Loose, Loose(value=object()), "Unable to serialize unknown type: <class 'object'>"),
        (Loose, Loose(value={1, 2}), CHANGED),
        (Loose, Loose(value=(1, 2)), CHANGED),
        (Loose, Loose(value={1: 2}), CHANGED),
        (Loose, Loose(value=datetime(2026, 1, 1, tzinfo=UTC)), CHANGED),
        (Loose, Loose(value=VM), CHANGED),
        (Vm, Sub(name="a", cidr_block="c"), CHANGED),
        (Disk, SubDisk(1), CHANGED),
        (Hidden, _hidden(Hidden), CHANGED),
        (HiddenBeside, _hidden(HiddenBeside), CHANGED),
        (Masks, Masks(x=1), CHANGED),
        (Renamed, Renamed(y=1), CHANGED),
        (Fails, Fails(x=1), "PydanticSerializationError"),
        (bytes, b"\xff", "UnicodeDecodeError"),
        (str, "\udcff", "PydanticSerializationError"),
        (Any, _cycle(), "Circular reference detected (id repeated)"),
        (Any, _deep(), "Maximum serialization depth exceeded"),
        (int, 10**5000, "value: Invalid JSON: number out of range at line 1 column 4302"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_does_not_survive(type_: Any, value: Any, why: str) -> None:
    """OPS-25, G55: what JSON would lose or change is ``NotSerializable``; the message says what and why, and no value."""
    with pytest.raises(NotSerializable) as caught:
        Schema(type_).dump(value, "vm: input")
    assert caught.value.message == f"vm: input doesn't survive JSON: {why}"


def test_private_attributes_at_their_defaults() -> None:
    """A model whose private attributes are untouched loses nothing."""
    assert Schema(HiddenBeside).dump(HiddenBeside(x=2), "input") == {"x": 2}


class Picky(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    port: int = Field(default=1, ge=1, le=65535)

    @field_validator("name")
    @classmethod
    def check(cls, name: str) -> str:
        if name.startswith("key"):
            raise KeyError(name)
        if name.startswith("echo"):
            raise ValueError(f"{name!r} isn't a name")
        if name.startswith("plain"):
            raise ValueError("a name is lower case")
        return name


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


class Owner(BaseModel):
    pets: list[Annotated[Cat | Dog, Field(discriminator="kind")]]


@pytest.mark.parametrize(
    ("type_", "data", "why"),
    [
        (Picky, {}, "name: Field required"),
        (Picky, {"name": 31337}, "name: Input should be a valid string"),
        (Picky, {"name": "a", "port": 31337000}, "port: Input should be less than or equal to 65535"),
        (Picky, {"name": "a", "port": "hunter2"},
         "port: Input should be a valid integer, unable to parse string as an integer"),
        (Picky, {"name": "a", "more": "hunter2"}, "more: Extra inputs are not permitted"),
        (Picky, {"name": "plain hunter2"}, "name: Value error, a name is lower case"),
        (Picky, {"name": "echo hunter2"}, "name: value_error, refused in words that hold the value"),
        (Owner, {"pets": [{"kind": "hunter2"}]},
         "pets.0: union_tag_invalid, refused in words that hold the value"),
        (Picky, "hunter2", "value: Input should be an object"),
        (Picky, None, "value: Input should be an object"),
        (int, [31337], "value: Input should be a valid integer"),
        (Picky, {"port": 0, "more": 1},
         "name: Field required; port: Input should be greater than or equal to 1; "
         "more: Extra inputs are not permitted"),
    ],
)  # fmt: skip
def test_messages_name_the_field_and_hold_no_value(type_: Any, data: Any, why: str) -> None:
    """``InvalidInput`` says which field and why; what was sent isn't in it."""
    with pytest.raises(InvalidInput) as caught:
        Schema(type_).load(json.dumps(data).encode(), "deploy@1.0.0: input")
    assert caught.value.message == f"deploy@1.0.0: input doesn't fit {type_.__name__}: {why}"
    assert "hunter2" not in str(caught.value) and caught.value.__cause__ is None


def test_text_that_is_no_json() -> None:
    """Malformed JSON is ``InvalidInput`` with the place."""
    with pytest.raises(InvalidInput) as caught:
        Schema(int).load(b"hunter2", "input")
    assert (
        caught.value.message
        == "input doesn't fit int: value: Invalid JSON: expected value at line 1 column 1"
    )


def test_a_validator_that_breaks() -> None:
    """An exception that isn't a validation error refuses the value all the same, by type alone."""
    with pytest.raises(InvalidInput) as caught:
        Schema(Picky).load(b'{"name": "key hunter2"}', "input")
    assert caught.value.message == "input doesn't fit Picky: KeyError"


def test_many_and_long_problems_are_cut() -> None:
    """Ten problems are listed, the rest counted; a huge field name is cut."""
    with pytest.raises(InvalidInput) as caught:
        Schema(list[int]).load(json.dumps(["x"] * 12).encode(), "input")
    listed = caught.value.message.removeprefix("input doesn't fit list[int]: ").split("; ")
    assert [line.split(":")[0] for line in listed] == [*map(str, range(10)), "and 2 more"]
    with pytest.raises(InvalidInput) as caught:
        Schema(Picky).load(json.dumps({"name": "a", "k" * 1_900_000: 1}).encode(), "input")
    assert (
        caught.value.message == f"input doesn't fit Picky: {'k' * 180} [cut]: Extra inputs are not permitted"
    )
