"""Types as schemas: what may be declared, and values to JSON and back without losing anything."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from datetime import date
from functools import cached_property
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

import pydantic_core
from pydantic import BaseModel, SecretBytes, SecretStr, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, PydanticUndefined

from activities._errors import InvalidInput, NotSerializable
from activities._failure import describe
from activities._json import Json, finite

T = TypeVar("T")


class Schema(Generic[T]):
    """A type whose values travel as JSON."""

    def __init__(self, type_: type[T] | Any) -> None:
        """Take the type; nothing is built before it is used."""
        self.type = type_

    @cached_property
    def adapter(self) -> TypeAdapter[T]:
        """Pydantic's view of the type."""
        return TypeAdapter[T](self.type)

    def dump(self, value: Any, what: str) -> Json:
        """Turn a value into JSON, making sure that it comes back equal.

        Args:
            value: an instance, or what pydantic turns into one.
            what: names the value in errors.

        Raises:
            InvalidInput: when it doesn't fit the type.
            NotSerializable: when a round trip would change it.
        """
        typed = self._fit(value, what)
        try:
            dumped = self.adapter.dump_python(typed, mode="json", by_alias=True, round_trip=True, warnings=False)
            finite(dumped)
            back = self.adapter.validate_json(pydantic_core.to_json(dumped))
        except (PydanticSerializationError, ValidationError, NotSerializable) as error:
            reason = describe(error) if isinstance(error, ValidationError) else getattr(error, "message", str(error))
            raise NotSerializable(f"{what} doesn't survive JSON: {reason}") from None
        if back != typed:
            raise NotSerializable(f"{what} doesn't survive JSON: a round trip changes it; keep all of it in fields")
        return dumped

    def load(self, data: bytes, what: str) -> T:
        """Turn JSON into a value.

        Raises:
            InvalidInput: naming the fields that don't fit, without values.
        """
        try:
            return self.adapter.validate_json(data)
        except ValidationError as error:
            raise InvalidInput(f"{what} doesn't fit {self.name}: {describe(error)}") from None

    def load_value(self, value: Json, what: str) -> T:
        """Turn decoded JSON into a value, as :meth:`load` does."""
        return self.load(pydantic_core.to_json(value), what)

    @property
    def name(self) -> str:
        """The type's name, for messages."""
        return getattr(self.type, "__name__", str(self.type)) if not get_args(self.type) else str(self.type)

    def check(self, what: str) -> None:
        """Refuse a type that loses something in JSON, or whose values differ from run to run.

        Raises:
            NotSerializable: naming model and field.
        """
        for problem in _problems(self.type, set()):
            raise NotSerializable(f"{what}: {problem}")

    def _fit(self, value: Any, what: str) -> T:
        try:
            return self.adapter.validate_python(value)
        except ValidationError as error:
            raise InvalidInput(f"{what} doesn't fit {self.name}: {describe(error)}") from None


def _problems(type_: Any, seen: set[int]) -> Iterator[str]:
    if id(type_) in seen:
        return
    seen.add(id(type_))
    if type_ in (SecretStr, SecretBytes):
        yield f"{type_.__name__} is masked in JSON; use SecretRef, which records only a name"
    elif type_ in (set, frozenset) or get_origin(type_) in (set, frozenset):
        yield "a set has no order, so its JSON differs from run to run; use a list"
    for argument in get_args(type_):
        yield from _problems(argument, seen)
    if isinstance(type_, type):
        yield from _field_problems(type_, seen)


def _field_problems(type_: type, seen: set[int]) -> Iterator[str]:
    for name, annotation, factory, excluded in _fields(type_):
        place = f"{type_.__name__}.{name}"
        if excluded:
            yield f"{place} is excluded from dumping, so it would be lost"
        if factory is not None and _changes(factory):
            yield f"{place} has a default that is new each time; let the caller give it"
        yield from (f"{place}: {problem}" for problem in _problems(annotation, seen))


def _fields(type_: type) -> Iterator[tuple[str, Any, Callable[[], Any] | None, bool]]:
    if issubclass(type_, BaseModel):
        for name, field in type_.model_fields.items():
            plain = None if field.default_factory_takes_validated_data else field.default_factory
            yield name, field.annotation, plain, bool(field.exclude or field.exclude_if)  # type: ignore[misc]
    elif dataclasses.is_dataclass(type_):
        hints = get_type_hints(type_)
        for entry in dataclasses.fields(type_):
            factory = None if entry.default_factory is dataclasses.MISSING else entry.default_factory
            yield entry.name, hints[entry.name], factory, False


def _changes(factory: Callable[[], Any]) -> bool:
    """Call a default twice; a clock moves on between the calls."""
    if factory == date.today:
        return True
    first = factory()
    time.sleep(0.002)
    return bool(first != factory()) and first is not PydanticUndefined
