"""What a type's values have in JSON: told from the type alone, and only where it is certain."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping, Sequence
from datetime import date, time, timedelta
from enum import Enum
from pathlib import PurePath
from typing import Annotated, Any, Literal, NewType, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from pydantic import BaseModel, PlainSerializer, RootModel, WrapSerializer
from pydantic.dataclasses import is_pydantic_dataclass
from pydantic.fields import FieldInfo
from typing_extensions import is_typeddict

_SCALARS = (int, float, str, bytes, type(None), Enum, date, time, timedelta, UUID, PurePath)
_UNIONS = (Union, types.UnionType)
_ANY = object()


@dataclasses.dataclass(frozen=True)
class Lack:
    """Where a path leads nowhere.

    Attributes:
        depth: the index of its first part that is certainly not there.
        there: the types of what the parts before lead to.
    """

    depth: int
    there: list[Any]


def lacks(type_: Any, path: tuple[str | int, ...]) -> Lack | None:
    """Find the first part of a path that values of a type certainly lack."""
    types_ = list(_members(type_))
    for depth, part in enumerate(path):
        there, types_ = types_, [inner for each in types_ for inner in _inner(each, part)]
        if _ANY in types_:
            return None
        if not types_:
            return Lack(depth, there)
    return None


def plain(type_: Any) -> Any:
    """Give what an annotation, an alias or a ``NewType`` stands for."""
    while True:
        if get_origin(type_) is Annotated:
            type_ = get_args(type_)[0]
        elif isinstance(type_, NewType):
            type_ = type_.__supertype__
        elif type(type_).__name__ == "TypeAliasType":
            type_ = type_.__value__
        else:
            return type_


def _members(type_: Any) -> list[Any]:
    """Give a type, or the members of a union."""
    type_ = plain(type_)
    if get_origin(type_) in _UNIONS:
        return [inner for member in get_args(type_) for inner in _members(member)]
    if isinstance(type_, type) and issubclass(type_, RootModel):
        return _members(type_.model_fields["root"].annotation)
    return [type_]


def _inner(type_: Any, part: str | int) -> list[Any]:
    """Give the types of what stands behind a name or an index: nothing where nothing can."""
    fields = named(type_)
    if fields is not None:
        return _members(fields[part]) if isinstance(part, str) and part in fields else []
    if (
        type_ is None
        or (isinstance(type_, type) and issubclass(type_, _SCALARS))
        or get_origin(type_) is Literal
    ):
        return []
    origin = get_origin(type_) or type_
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _members((*get_args(type_), _ANY, _ANY)[1]) if isinstance(part, str) else []
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return _item(get_args(type_), origin, part) if isinstance(part, int) else []
    return [_ANY]


def _item(arguments: tuple[Any, ...], origin: type, index: int) -> list[Any]:
    if issubclass(origin, tuple) and arguments and arguments[-1] is not Ellipsis:
        return _members(arguments[index]) if -len(arguments) <= index < len(arguments) else []
    return _members(arguments[0]) if arguments else [_ANY]


def named(type_: Any) -> dict[str, Any] | None:
    """Give a type's fields by their names in JSON; ``None`` when it has none, or may have others."""
    if isinstance(type_, type) and issubclass(type_, BaseModel):
        return _of_model(type_)
    if isinstance(type_, type) and dataclasses.is_dataclass(type_) and not is_pydantic_dataclass(type_):
        return {f.name: get_type_hints(type_)[f.name] for f in dataclasses.fields(type_)}
    return get_type_hints(type_) if is_typeddict(type_) else None


def _of_model(model: type[BaseModel]) -> dict[str, Any] | None:
    decorators = model.__pydantic_decorators__
    if (
        model.model_config.get("extra") == "allow"
        or decorators.model_serializers
        or issubclass(model, RootModel)
    ):
        return None
    written = {name for each in decorators.field_serializers.values() for name in each.info.fields}
    return {
        info.serialization_alias or info.alias or name: Any
        if name in written or _written(info)
        else info.annotation
        for name, info in model.model_fields.items()
    }


def _written(info: FieldInfo) -> bool:
    return any(isinstance(each, (PlainSerializer, WrapSerializer)) for each in info.metadata)
