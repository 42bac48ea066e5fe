"""Input templates: JSON with references to the outputs of other steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NoReturn

import pydantic_core
from pydantic import BaseModel

from activities import NotSerializable
from activities._json import Json
from activities._schema import Schema

REF, LITERAL, PATH = "$ref", "$literal", "path"
UNREAD = "?"
"""The step that stands for one whose name can't be read; no step may have this name."""
_A_REFERENCE = (
    'a reference is {"$ref": "step", "path": ["field", 0]}, the path may be left out; '
    'a literal "$ref" is {"$literal": {"$ref": ...}}'
)
_A_LITERAL = 'a literal dict is {"$literal": {...}}, alone'
_PLAIN = (str, int, bool, type(None))
Path = tuple[str | int, ...]


class Ref:
    """A reference to the output of a step, or to a field of it.

    In a plan's JSON it is ``{"$ref": "network", "path": ["id"]}``. A literal dict that has such a key is
    wrapped, ``{"$literal": {...}}``: then the keys of that dict mean themselves.

    What it stands for isn't known while the plan is built: to decide on it, compare or print it is an error.

    Attributes:
        step: full name of the step.
        path: field names and list indices, outermost first.
    """

    # No dataclass: pydantic would write one that hides in a value as a plain dict.
    __slots__ = ("path", "step")

    def __init__(self, step: str, path: tuple[Any, ...] = ()) -> None:
        """Refer to a step's output.

        Raises:
            TypeError: when a part of the path is neither a name nor an index.
        """
        self.step, self.path = step, path
        if not all(isinstance(part, (str, int)) and not isinstance(part, bool) for part in path):
            raise TypeError(f"{self!r}: refer to a field by its name, and to an item of a list by its index")

    def ref(self, *path: str | int) -> Any:
        """Refer to a field of what it refers to."""
        return Ref(self.step, (*self.path, *path))

    def __getitem__(self, part: str | int) -> Any:
        """Refer to a field, or an item, of what it refers to."""
        return self.ref(part)

    def to_json(self) -> Json:
        """Write it."""
        return {REF: self.step, **({PATH: list(self.path)} if self.path else {})}

    def __repr__(self) -> str:
        return f"<ref {'.'.join(map(str, (self.step, *self.path)))}>"

    def __hash__(self) -> int:
        return hash((self.step, self.path))

    def __eq__(self, other: object) -> bool:
        return (
            (self.step, self.path) == (other.step, other.path) if isinstance(other, Ref) else self._unknown()
        )

    def _unknown(self, *_: Any) -> NoReturn:
        raise TypeError(
            f"{self!r} isn't known while the plan is built; pass it on, or decide on it in an operation"
        )

    __bool__ = __iter__ = __len__ = __contains__ = __str__ = __format__ = _unknown


def encode(template: Any, dump: Callable[[Any], Json]) -> Json:
    """Turn a template with :class:`Ref` values into JSON.

    Args:
        template: what the author wrote: refs, dicts, lists, models, plain values.
        dump: turns other values into JSON.

    Raises:
        TypeError: when something stands in it that is no value.
    """
    if type(template) in _PLAIN and (type(template) is not str or template.isascii()):
        return template
    if isinstance(template, Ref):
        return template.to_json()
    if isinstance(template, dict):
        return _wrapped({_key(key): encode(value, dump) for key, value in template.items()}, len(template))
    if isinstance(template, (list, tuple)):
        return [encode(value, dump) for value in template]
    if holds_ref(template):
        return _wrapped({name: encode(value, dump) for name, value in _named(template)})
    if hasattr(template, "ref"):
        raise TypeError(f"{template!r} stands there itself; give its output, .ref()")
    return _escaped(dump(template))


def literal(value: Any, what: str) -> Json:
    """Turn a value that holds no reference into JSON, the way its own type is written.

    Raises:
        NotSerializable: when a round trip would change it, or it differs from run to run.
    """
    if isinstance(value, (set, frozenset)):
        raise NotSerializable(f"{what} is a set, which has no order; give a list")
    kind: Any = type(value)
    return _schema(kind).dump(value, what)


@lru_cache(256)
def _schema(type_: Any) -> Schema[Any]:
    return Schema(Any if type_ in (*_PLAIN, float, dict, list, tuple) else type_)


def _key(key: Any) -> str:
    return key if type(key) is str else str(next(iter(pydantic_core.to_jsonable_python({key: None}))))


def _wrapped(written: dict[str, Json], count: int | None = None) -> Json:
    if count is not None and len(written) != count:
        raise TypeError(f"two keys are the same in JSON, of {', '.join(written)}")
    return {LITERAL: written} if REF in written or LITERAL in written else written


def _escaped(value: Json) -> Json:
    if isinstance(value, dict):
        return _wrapped({key: _escaped(item) for key, item in value.items()})
    return [_escaped(item) for item in value] if isinstance(value, list) else value


def holds_ref(value: Any) -> bool:
    """Whether a reference stands somewhere in a value, also in a model made without validation."""
    if isinstance(value, Ref):
        return True
    if isinstance(value, BaseModel):
        return any(map(holds_ref, value.__dict__.values()))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return any(map(holds_ref, vars(value).values())) if hasattr(value, "__dict__") else False
    if isinstance(value, (dict, list, tuple)):
        return any(map(holds_ref, value.values() if isinstance(value, dict) else value))
    return False


def _named(value: Any) -> Iterator[tuple[str, Any]]:
    """Give the fields of a model or a dataclass by their names in JSON."""
    fields = type(value).model_fields if isinstance(value, BaseModel) else {}
    for name, item in vars(value).items():
        info = fields.get(name)
        yield (info and (info.serialization_alias or info.alias)) or name, item


def refs(template: Json) -> Iterator[Ref]:
    """Give every reference in a template."""
    if isinstance(template, dict):
        if REF in template:
            yield Ref(template[REF], tuple(template.get(PATH, ())))
            return
        for value in template.get(LITERAL, template).values():
            yield from refs(value)
    elif isinstance(template, list):
        for value in template:
            yield from refs(value)


def mended(template: Json, wrong: list[str]) -> Json:
    """Put a reference to :data:`UNREAD` where a template that somebody typed is malformed.

    Args:
        template: what was typed.
        wrong: where a line is added for each malformed reference and wrapped literal.
    """
    if isinstance(template, list):
        return [mended(value, wrong) for value in template]
    if not isinstance(template, dict):
        return template
    if line := _malformed(template):
        wrong.append(line)
        return {REF: UNREAD}
    if REF in template:
        return template
    inner = {key: mended(value, wrong) for key, value in template.get(LITERAL, template).items()}
    return {LITERAL: inner} if LITERAL in template else inner


def _malformed(template: Mapping[str, Json]) -> str | None:
    if REF in template:
        return None if _is_reference(template) else _A_REFERENCE
    alone = len(template) == 1 and isinstance(template.get(LITERAL), dict)
    return None if alone or LITERAL not in template else _A_LITERAL


def _is_reference(template: Mapping[str, Json]) -> bool:
    path = template.get(PATH, [])
    parts = path if isinstance(path, list) else [None]
    good = all(isinstance(part, (str, int)) and not isinstance(part, bool) for part in parts)
    return isinstance(template[REF], str) and good and not template.keys() - {REF, PATH}


def fill(template: Json, output: Callable[[str], Json]) -> Json:
    """Put outputs in the place of references.

    Raises:
        LookupError: when an output lacks what a path names.
    """
    return replaced(template, lambda step, path: _walked(output(step), path, step))


def replaced(template: Json, give: Callable[[str, Path], Json]) -> Json:
    """Put something in the place of references: what ``give(step, path)`` gives."""
    if isinstance(template, dict):
        if REF in template:
            return give(template[REF], template.get(PATH, ()))
        return {key: replaced(value, give) for key, value in template.get(LITERAL, template).items()}
    if isinstance(template, list):
        return [replaced(value, give) for value in template]
    return template


def settled(template: Json, values: Mapping[str, Json]) -> Json:
    """Put the plain values that are known, of constants, in the place of references to them.

    A reference stays where it leads nowhere, or to a list or a dict: those may be large, and stand in many templates.
    """
    if isinstance(template, list):
        return [settled(item, values) for item in template]
    if not isinstance(template, dict):
        return template
    if REF not in template:
        inner = {key: settled(item, values) for key, item in template.get(LITERAL, template).items()}
        return {LITERAL: inner} if LITERAL in template else inner
    step, path = template[REF], template.get(PATH, ())
    if step not in values or missing(values[step], path) is not None:
        return template
    found = walk(values[step], path)
    return template if isinstance(found, (dict, list)) else found


def _walked(value: Json, path: Path, step: str) -> Json:
    if missing(value, path) is not None:
        raise LookupError(f"the output of {step} has no {'.'.join(map(str, path))}")
    return walk(value, path)


def walk(value: Json, path: Path) -> Json:
    """Give what a path leads to; it :func:`misses <missing>` nothing."""
    for part in path:
        value = value[part]
    return value


def missing(value: Json, path: Path) -> str | int | None:
    """Give the first part of a path that a JSON value lacks."""
    for part in path:
        fits = isinstance(value, dict) if isinstance(part, str) else isinstance(value, list)
        if not fits or (part not in value if isinstance(part, str) else not -len(value) <= part < len(value)):
            return part
        value = value[part]
    return None
