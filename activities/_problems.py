"""What in a type loses something in JSON, or differs from run to run: seen when an operation is declared."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, MutableSet, Set
from datetime import date
from typing import Annotated, Any, NewType, get_args, get_origin, get_type_hints

from pydantic import BaseModel, Secret, SecretBytes, SecretStr
from pydantic.dataclasses import is_pydantic_dataclass
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from typing_extensions import is_typeddict

_MASKED = (SecretStr, SecretBytes, Secret)
_SETS = (set, frozenset, Set, MutableSet)


def problems(type_: Any) -> Iterator[str]:
    """Say what is wrong with a type, naming model and field.

    Raises:
        NameError: when it names what isn't there yet.
    """
    return _walk(type_, {})


def _walk(type_: Any, seen: dict[int, Any]) -> Iterator[str]:
    """Walk a type and its parts; ``seen`` holds on to them, so that no two share an ``id``."""
    if id(type_) in seen:
        return
    seen[id(type_)] = type_
    if isinstance(type_, type) and issubclass(type_, _MASKED):
        yield f"{type_.__name__} is masked in JSON; use SecretRef, which records only a name"
    elif type_ in _SETS:
        yield "a set has no order, so its JSON differs from run to run; use a list"
    for part in _parts(type_):
        yield from _walk(part, seen)
    if isinstance(type_, type):
        yield from _field_problems(type_, seen)


def _parts(type_: Any) -> Iterator[Any]:
    """Give what an annotation is made of: arguments, the generic itself, what an alias stands for."""
    yield from get_args(type_)
    if get_origin(type_) is not None:
        yield get_origin(type_)
    elif isinstance(type_, NewType):
        yield type_.__supertype__
    elif type(type_).__name__ == "TypeAliasType":
        yield type_.__value__


def _field_problems(type_: type, seen: dict[int, Any]) -> Iterator[str]:
    for name, annotation, info in _fields(type_):
        place = f"{type_.__name__}.{name}"
        if info.exclude or info.exclude_if:
            yield f"{place} is excluded from dumping, so it would be lost"
        if not info.default_factory_takes_validated_data and _changes(info.default_factory):
            yield f"{place} has a default that is new each time; let the caller give it"
        yield from (f"{place}: {problem}" for problem in _walk(annotation, seen))


def _fields(type_: type) -> Iterator[tuple[str, Any, FieldInfo]]:
    if issubclass(type_, BaseModel) or is_pydantic_dataclass(type_):
        of_pydantic: dict[str, FieldInfo] = getattr(type_, "__pydantic_fields__", {})
        yield from ((name, info.annotation, info) for name, info in of_pydantic.items())
    elif dataclasses.is_dataclass(type_):
        hints = get_type_hints(type_, include_extras=True)
        for field in dataclasses.fields(type_):
            yield field.name, hints[field.name], _info(hints[field.name], field.default_factory)
    elif is_typeddict(type_) or (issubclass(type_, tuple) and hasattr(type_, "_fields")):
        hints = get_type_hints(type_, include_extras=True)
        yield from ((name, hint, _info(hint)) for name, hint in hints.items())


def _info(hint: Any, factory: Any = dataclasses.MISSING) -> FieldInfo:
    """Give pydantic's view of a field that isn't its own."""
    if factory is not dataclasses.MISSING:
        return FieldInfo(default_factory=factory)
    return FieldInfo.from_annotation(hint) if get_origin(hint) is Annotated else FieldInfo()


def _changes(factory: Any) -> bool:
    """Call a default twice; a clock moves on between the calls."""
    if factory is None or factory == date.today:
        return factory is not None
    first = factory()
    time.sleep(0.002)
    return bool(first != factory()) and first is not PydanticUndefined
