"""Whether a template can fit a type, told before the values behind its references are known."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin, get_type_hints

import pydantic_core
from pydantic import AliasChoices, BaseModel, RootModel, TypeAdapter, ValidationError
from pydantic.dataclasses import is_pydantic_dataclass
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from activities._failure import FROM_PYDANTIC, LOC_LIMIT, cut, reason_of
from activities._json import Json
from activities._schema import Schema
from flows._fields import plain
from flows._template import LITERAL, REF, Ref, refs, replaced

_UNSEEN = "a value that isn't known yet"
_SHOWN = 10
Fields = Mapping[str, tuple[list[str], Any]]


def misfits(template: Json, schema: Schema[Any]) -> Iterator[str]:
    """Say what can't fit: a literal that its field refuses, a field that is missing or isn't there.

    Args:
        template: well formed.
        schema: of the type that it is to become.
    """
    yield from _dropped(template, schema.type, "")
    try:
        schema.adapter.validate_json(pydantic_core.to_json(replaced(template, lambda *_: _UNSEEN)))
    except ValidationError as error:
        rows = [
            row for row in error.errors(include_url=False, include_context=False) if _certain(row, template)
        ]
        for row in rows[:_SHOWN]:
            yield f"{cut('.'.join(map(str, row['loc'])), LOC_LIMIT) or 'value'}: {reason_of(row)}"
        if len(rows) > _SHOWN:
            yield f"and {len(rows) - _SHOWN} more that don't fit"
    except Exception as error:  # from a validator of the user's; the stand-in may have confused it
        if not _has_refs(template):
            yield f"its validation raised {type(error).__name__}"


def _certain(row: ErrorDetails, template: Json) -> bool:
    """Whether an error stands, whatever the references turn out to be."""
    for part in row["loc"][:-1] if row["type"] == "missing" else row["loc"]:
        inner = template.get(LITERAL, template) if isinstance(template, dict) else template
        if _is_ref(template):
            return False
        if not _holds(inner, part):  # the name of a union's member: another one may fit
            return not _has_refs(template)
        template = inner[part]
    return not _has_refs(template) or (row["type"] in FROM_PYDANTIC and not _is_ref(template))


def _is_ref(template: Json) -> bool:
    return isinstance(template, dict) and REF in template


def _has_refs(template: Json) -> bool:
    return any(True for _ in refs(template))


def _holds(value: Json, part: str | int) -> bool:
    return part in value if isinstance(value, dict) else isinstance(value, list) and part in range(len(value))


def _dropped(template: Json, type_: Any, path: str) -> Iterator[str]:
    """Find fields that a model would drop without a word."""
    type_ = _sole(type_)
    if isinstance(template, list) and get_origin(type_) is list:
        for index, item in enumerate(template):
            yield from _dropped(item, get_args(type_)[0], f"{path}{index}.")
    elif isinstance(template, dict) and not _is_ref(template) and (fields := _closed(type_)) is not None:
        known = {name: annotation for names, annotation in fields.values() for name in names}
        for name, item in template.get(LITERAL, template).items():
            if name in known:
                yield from _dropped(item, known[name], f"{path}{name}.")
            else:
                listed = ", ".join(known) or "none"
                yield f"{path}{name}: {type_.__name__} has no such field; its fields are: {listed}"


def _closed(type_: Any) -> Fields | None:
    """Give the fields of a type that drops what it doesn't know."""
    if isinstance(type_, type) and issubclass(type_, BaseModel):
        open_ = type_.model_config.get("extra") in ("allow", "forbid")
        validators = type_.__pydantic_decorators__.model_validators.values()
        if open_ or any(validator.info.mode != "after" for validator in validators):
            return None
    fields = fields_of(type_)
    return fields if fields is None or all(names for names, _ in fields.values()) else None


def _sole(type_: Any) -> Any:
    """Give what an annotation stands for, also where it may be ``None``."""
    type_ = plain(type_)
    others = [member for member in get_args(type_) if member is not type(None)]
    return plain(others[0]) if len(others) == 1 and type(None) in get_args(type_) else type_


def fields_of(type_: Any) -> Fields | None:
    """Give the fields of a model or a dataclass: name → the names it is read by, and its type.

    The names are empty where a field is read from somewhere else.
    """
    if not isinstance(type_, type) or issubclass(type_, RootModel) or is_pydantic_dataclass(type_):
        return None
    if issubclass(type_, BaseModel):
        return {
            name: (_names(name, info, type_), info.annotation) for name, info in type_.model_fields.items()
        }
    if dataclasses.is_dataclass(type_):
        hints = get_type_hints(type_, include_extras=True)
        return {f.name: ([f.name], hints[f.name]) for f in dataclasses.fields(type_) if f.init}
    return None


def _names(name: str, info: FieldInfo, model: type[BaseModel]) -> list[str]:
    alias = info.validation_alias if info.validation_alias is not None else info.alias
    choices = list(alias.choices) if isinstance(alias, AliasChoices) else [alias]
    names = [choice for choice in choices if isinstance(choice, str)]
    if len(names) < len(choices) and alias is not None:
        return []
    by_name = model.model_config.get("populate_by_name") or model.model_config.get("validate_by_name")
    return [*names, name] if by_name or alias is None else names


def shaped(template: Json, type_: Any) -> Any:
    """Make a value of a type from a template; what is given as a reference stays one.

    A model behind a reference becomes a model of references, so that builders can name its fields.

    Args:
        template: that fits, as :func:`misfits` says.
        type_: what it is to become.
    """
    if _is_ref(template):
        return _stand_in(plain(type_), next(refs(template)))
    type_ = _sole(type_)
    if not _has_refs(template):
        value = replaced(template, lambda *_: None)
        return TypeAdapter(type_).validate_json(pydantic_core.to_json(value))
    if isinstance(template, list):
        inner = (*get_args(type_), Any)[0] if get_origin(type_) is list else Any
        return [shaped(item, inner) for item in template]
    return _made(template.get(LITERAL, template), type_)


def _made(template: Mapping[str, Json], type_: Any) -> Any:
    fields = fields_of(type_)
    if fields is None:
        inner = (*get_args(type_), Any, Any)[1] if get_origin(type_) is dict else Any
        return {key: shaped(item, inner) for key, item in template.items()}
    given: dict[str, Any] = {}
    for name, (aliases, annotation) in fields.items():
        found = [alias for alias in aliases if alias in template]
        given |= {name: shaped(template[found[0]], annotation)} if found else {}
    return _construct(type_, given)


def _stand_in(type_: Any, ref: Ref) -> Any:
    fields = fields_of(type_)
    if fields is None or not all(aliases for aliases, _ in fields.values()):
        return ref
    return _construct(
        type_,
        {name: _stand_in(plain(inner), ref.ref(aliases[0])) for name, (aliases, inner) in fields.items()},
    )


def _construct(type_: Any, values: dict[str, Any]) -> Any:
    return type_.model_construct(**values) if issubclass(type_, BaseModel) else type_(**values)
