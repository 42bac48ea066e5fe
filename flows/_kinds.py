"""Kinds of values in JSON: which ones a type gives, and which ones it takes, told only where that is certain.

Pydantic's core schemas tell it. What isn't known to be as plain as it looks (a serializer, a validator that sees the value
before pydantic does, a type with a schema of its own) is taken for something that may give and take anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from activities._json import Json
from flows._template import LITERAL, REF, Path, Ref, refs

_CALLED = {
    "null": "null", "boolean": "a boolean", "integer": "an integer", "number": "a number", "string": "a string",
    "array": "a list", "object": "an object",
}  # fmt: skip
_GIVES = {
    "none": "null", "bool": "boolean", "int": "integer", "float": "number", "str": "string", "list": "array",
    "tuple": "array", "set": "array", "frozenset": "array", "dict": "object", "typed-dict": "object",
    "model": "object", "dataclass": "object",
}  # fmt: skip
_ALSO_TAKES = {
    "boolean": {"integer", "number", "string"},
    "integer": {"boolean", "number", "string"},
    "number": {"boolean", "integer", "string"},
}
"""What pydantic converts, unless a type is strict."""
_ANYTHING: Mapping[str, Any] = {"type": "any"}
_NULL: Mapping[str, Any] = {"type": "none"}
_DEEP = 15
"""So far is looked into what stands for another type, which may stand for itself."""


@dataclass(frozen=True)
class Shape:
    """A core schema: of values that are given, or of what is taken.

    Attributes:
        schema: pydantic's.
        giving: whether its values are written; else they are read.
        known: the definitions that it may name.
    """

    schema: Mapping[str, Any]
    giving: bool
    known: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def kinds(self) -> list[str] | None:
        """Give the kinds that it gives, or is called by; ``None`` when it isn't certain."""
        kinds = [_GIVES.get(member.schema["type"]) for member in self.members()]
        return None if None in kinds else list(dict.fromkeys(kind for kind in kinds if kind is not None))

    def at(self, part: str | int) -> Shape:
        """Give what is behind a name or an index, as JSON has it."""
        members = [member for member in self.members() if member.schema["type"] != "none"]
        return members[0]._inner(part) if len(members) == 1 else self._of(_ANYTHING)

    def members(self, depth: int = 0) -> Iterator[Shape]:
        """Give it without what changes nothing: the members of a union, the type in a default or a definition."""
        inside = self._inside() if depth < _DEEP else [self._of(_ANYTHING)]
        if inside is None:
            yield self
        for shape in inside or ():
            yield from shape.members(depth + 1)

    def _inside(self) -> list[Shape] | None:
        """Give what stands for it; ``None`` when it stands for itself."""
        schema, type_ = self.schema, self.schema["type"]
        if self._changed():
            return [self._of(_ANYTHING)]
        if type_ == "definitions":
            known = {each["ref"]: each for each in schema["definitions"]}
            return [Shape(schema["schema"], self.giving, {**self.known, **known})]
        if type_ == "definition-ref":
            return [self._of(self.known.get(schema["schema_ref"], _ANYTHING))]
        if type_ == "union":
            return [self._of(each[0] if isinstance(each, tuple) else each) for each in schema["choices"]]
        if type_ == "nullable":
            return [self._of(_NULL), self._of(schema["schema"])]
        return [self._of(schema["schema"])] if self._changes_nothing() else None

    def _changed(self) -> bool:
        """Whether code, or an option, gives or takes something else than the type says."""
        if self.giving:
            return "serialization" in self.schema
        fields = {"model": "model-fields", "dataclass": "dataclass-args"}.get(self.schema["type"])
        first = fields and self.schema["schema"]["type"] != fields and not self.schema.get("root_model")
        forgives = self.schema.get("on_error", "raise") != "raise"
        return bool(
            first or forgives or self.schema.get("custom_init") or self.schema.get("coerce_numbers_to_str")
        )

    def _changes_nothing(self) -> bool:
        """Whether what is inside says it: a validator changes what is given after it, and what is taken before it."""
        type_ = self.schema["type"]
        if type_ == "function-after":  # that of a whole model gives the model
            return not self.giving or self.schema["schema"]["type"] == "model"
        before = type_ == "function-before" and self.giving
        return before or type_ == "default" or (type_ == "model" and self.schema["root_model"])

    def _inner(self, part: str | int) -> Shape:
        schema = self.schema
        if (schema.get("config") or {}).get("coerce_numbers_to_str"):
            return self._of(_ANYTHING)
        if isinstance(part, int):
            return self._of(schema.get("items_schema", _ANYTHING) if schema["type"] == "list" else _ANYTHING)
        if schema["type"] == "dict":
            return self._of(schema.get("values_schema", _ANYTHING))
        return self._of(self._fields().get(part, _ANYTHING))

    def _fields(self) -> Mapping[str, Any]:
        """Give the schemas of fields by their names in JSON."""
        inner = self.schema if self.schema["type"] == "typed-dict" else self.schema.get("schema", _ANYTHING)
        fields = inner.get("fields", {})
        named = fields if isinstance(fields, dict) else {each["name"]: each for each in fields}
        alias = "serialization_alias" if self.giving else "validation_alias"
        return {
            each.get(alias, name): each["schema"]
            for name, each in named.items()
            if isinstance(each.get(alias, name), str)
        }

    def _of(self, schema: Mapping[str, Any]) -> Shape:
        return Shape(schema, self.giving, self.known)


def kinds_of(value: Json) -> list[str]:
    """Give the kind of a value, as :meth:`Shape.kinds` does."""
    if value is None or isinstance(value, bool):
        return ["null" if value is None else "boolean"]
    by_type = {int: "integer", float: "number", str: "string"}
    return [by_type.get(type(value), "array" if isinstance(value, list) else "object")]


def given_at(schema: Mapping[str, Any], path: Path) -> list[str] | None:
    """Give the kinds of what a path leads to in values of a type; ``None`` when it isn't certain."""
    shape = Shape(schema, giving=True)
    for part in path:
        shape = shape.at(part)
    return shape.kinds()


def clashes(
    template: Json, schema: Mapping[str, Any], given: Callable[[Ref], list[str] | None]
) -> Iterator[str]:
    """Say which references give what their place in a template can't take.

    Args:
        template: well formed.
        schema: pydantic's core schema of the type that it is to become.
        given: gives the kinds of values that a reference may stand for; ``None`` when that isn't certain.
    """
    yield from _clashes(template, Shape(schema, giving=False), given, ())


def _clashes(
    template: Json, shape: Shape, given: Callable[[Ref], list[str] | None], at: Path
) -> Iterator[str]:
    if isinstance(template, dict) and REF in template:
        ref = next(refs(template))
        kinds, wanted = given(ref), shape.kinds()
        if kinds is not None and wanted is not None and not any(_taken(wanted, kind) for kind in kinds):
            where = ".".join(map(str, at)) or "value"
            yield f"{where}: takes {_called(wanted)}, and {ref!r} is {_called(kinds)}"
    elif isinstance(template, dict):
        for name, inner in template.get(LITERAL, template).items():
            yield from _clashes(inner, shape.at(name), given, (*at, name))
    elif isinstance(template, list):
        for index, inner in enumerate(template):
            yield from _clashes(inner, shape.at(index), given, (*at, index))


def _taken(wanted: list[str], kind: str) -> bool:
    return any(kind == each or kind in _ALSO_TAKES.get(each, ()) for each in wanted)


def _called(kinds: list[str]) -> str:
    return " or ".join(_CALLED[kind] for kind in kinds)
