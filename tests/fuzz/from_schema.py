"""JSON that fits a JSON Schema, and JSON that doesn't: one way not to for each place that the schema names.

For the keywords that pydantic writes; one that isn't known here is refused, since nothing would be drawn for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker

from tests.fuzz.hostile import CANARY, VALUES

Node = dict[str, Any]
Strategy = st.SearchStrategy[Any]

SILENT = {"title", "description", "default", "examples", "deprecated", "discriminator", "$defs", "$schema"}
KNOWN = {
    "$ref", "anyOf", "oneOf", "enum", "const", "type", "format", "pattern", "minLength", "maxLength",
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
    "items", "minItems", "maxItems", "properties", "required", "additionalProperties",
}  # fmt: skip
FORMATS = {
    "duration": (["PT1S", "P1DT2H", "PT0.5S"], r"-?P(\d+D)?(T(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?"),
    "date-time": (["2026-01-31T12:00:00Z", "2026-01-31T12:00:00+02:00"], r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d.*"),
}
"""Of each format values that have it, and what any value that has it looks like."""

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT.map(CANARY.__add__),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
"""Any JSON, whatever a schema says."""
HOSTILE = st.sampled_from(VALUES) | JSON

_CHECKER = FormatChecker(formats=())
for _name, (_, _looks) in FORMATS.items():
    _CHECKER.checks(_name)(
        lambda value, looks=_looks: not isinstance(value, str) or bool(re.fullmatch(looks, value))
    )


@dataclass(frozen=True)
class Shape:
    """What a JSON Schema says."""

    root: Node

    @cached_property
    def fitting(self) -> Strategy:
        """Draw what fits: any of the optional parts there or not, extra ones where they are allowed."""
        return self._fit(self.root).filter(lambda value: self.takes(self.root, value))

    @cached_property
    def wrong(self) -> dict[str, Strategy]:
        """Draw what doesn't fit, in one place; by the name of the place and of what is wrong there."""
        found: dict[str, Strategy] = {}
        for place, strategy in self._wrong(self.root, ()):
            found[place] = found[place] | strategy if place in found else strategy
        return {
            place: strategy.filter(lambda value: not self.takes(self.root, value))
            for place, strategy in found.items()
        }

    def takes(self, node: Node, value: Any) -> bool:
        """Whether a value fits, as another library says."""
        whole = {**node, "$defs": self.root.get("$defs", {})}
        return bool(Draft202012Validator(whole, format_checker=_CHECKER).is_valid(value))

    def _resolved(self, node: Node) -> Node:
        unknown = node.keys() - KNOWN - SILENT
        assert not unknown, f"nothing is drawn for {sorted(unknown)}: {node}"
        if "$ref" in node:
            return self._resolved(self.root["$defs"][node["$ref"].removeprefix("#/$defs/")])
        return node

    # --- what fits ---

    def _fit(self, node: Node) -> Strategy:
        node = self._resolved(node)
        if alternatives := node.get("anyOf") or node.get("oneOf"):
            return st.one_of([self._later(one) for one in alternatives])
        if "const" in node or "enum" in node:
            return st.sampled_from(node.get("enum") or [node["const"]])
        return self._of_type(node)

    def _later(self, node: Node) -> Strategy:
        """Draw what fits, also where a schema names itself."""
        return st.deferred(lambda: self._fit(node))

    def _of_type(self, node: Node) -> Strategy:
        match node.get("type"):
            case "object":
                return self._object(node)
            case "array":
                least = node.get("minItems", 0)
                item = self._fit(node.get("items", {}))
                return st.lists(item, min_size=least, max_size=node.get("maxItems", least + 2))
            case "string":
                return _text(node)
            case "integer" | "number" as kind:
                return _number(node, st.integers if kind == "integer" else st.floats)
            case "boolean":
                return st.booleans()
            case "null":
                return st.none()
        return JSON

    def _object(self, node: Node, replaced: dict[str, Strategy] | None = None) -> Strategy:
        """Draw an object, with some properties replaced."""
        replaced = replaced or {}
        properties, required = node.get("properties", {}), node.get("required", [])
        drawn = {name: self._fit(one) for name, one in properties.items() if name not in replaced}
        needed = {name: one for name, one in drawn.items() if name in required}
        optional = {name: one for name, one in drawn.items() if name not in required}
        more = node.get("additionalProperties", True)
        if more is not False:
            optional["more-of-it"] = JSON if more is True else self._fit(more)
        return st.fixed_dictionaries({**needed, **replaced}, optional=optional)

    # --- what doesn't ---

    def _wrong(self, node: Node, path: tuple[str, ...]) -> Iterator[tuple[str, Strategy]]:
        node = self._resolved(node)
        if self._takes_all(node):
            return
        if alternatives := node.get("anyOf") or node.get("oneOf"):
            inner = [found for one in alternatives for found in self._wrong(one, path)]
        else:
            inner = [(".".join(path) or "all of it", HOSTILE), *self._inside(node, path)]
        for place, strategy in inner:
            yield place, strategy.filter(lambda value: not self.takes(node, value))

    def _takes_all(self, node: Node) -> bool:
        if alternatives := node.get("anyOf"):
            return any(self._takes_all(self._resolved(one)) for one in alternatives)
        return not (node.keys() & KNOWN)

    def _inside(self, node: Node, path: tuple[str, ...]) -> Iterator[tuple[str, Strategy]]:
        """Give what is wrong inside something of the right type."""
        match node.get("type"):
            case "object":
                yield from self._in_object(node, path)
            case "array":
                yield from self._in_array(node, path)
            case "string":
                yield from ((".".join((*path, "text")), text) for text in _other_texts(node))
            case "integer" | "number":
                yield from ((".".join((*path, "bounds")), numbers) for numbers in _outside(node))

    def _in_object(self, node: Node, path: tuple[str, ...]) -> Iterator[tuple[str, Strategy]]:
        for name in node.get("required", []):
            yield ".".join((*path, name, "missing")), self._object(node).map(partial(_without, name))
        if node.get("additionalProperties", True) is False:
            yield ".".join((*path, "extra")), self._object(node, {"unforeseen": st.sampled_from(VALUES)})
        for name, one in node.get("properties", {}).items():
            for place, strategy in self._wrong(one, (*path, name)):
                yield place, self._object(node, {name: strategy})
        if isinstance(more := node.get("additionalProperties"), dict):
            for place, strategy in self._wrong(more, (*path, "*")):
                yield place, self._object(node, {"unforeseen": strategy})

    def _in_array(self, node: Node, path: tuple[str, ...]) -> Iterator[tuple[str, Strategy]]:
        item = self._fit(node.get("items", {}))
        if least := node.get("minItems", 0):
            yield ".".join((*path, "too few")), st.lists(item, max_size=least - 1)
        if (most := node.get("maxItems")) is not None:
            yield ".".join((*path, "too many")), st.lists(item, min_size=most + 1, max_size=most + 2)
        for place, strategy in self._wrong(node.get("items", {}), (*path, "[]")):
            beside = st.lists(item, max_size=2)
            yield place, st.builds(lambda a, b, c: [*a, b, *c], beside, strategy, beside)


def _text(node: Node) -> Strategy:
    if "format" in node:
        return st.sampled_from(FORMATS[node["format"]][0])
    if "pattern" in node:
        return st.from_regex(node["pattern"], fullmatch=True)
    return st.text(
        st.characters(codec="utf-8"), min_size=node.get("minLength", 0), max_size=node.get("maxLength", 20)
    )


def _number(node: Node, numbers: Any) -> Strategy:
    least = node.get("minimum", node.get("exclusiveMinimum", -(2**31)))
    most = node.get("maximum", node.get("exclusiveMaximum", 2**31))
    ends = {node.get("exclusiveMinimum"), node.get("exclusiveMaximum")}
    drawn: Strategy = numbers(least, most)
    return drawn.filter(lambda value: value not in ends)


def _without(name: str, made: Node) -> Node:
    return {key: value for key, value in made.items() if key != name}


def _other_texts(node: Node) -> Iterator[Strategy]:
    """Draw texts that are none of those wanted, or too short, or too long."""
    if {"pattern", "format", "enum", "const"} & node.keys():
        yield TEXT.map(CANARY.__add__)
    if least := node.get("minLength", 0):
        yield st.text(st.characters(codec="utf-8"), max_size=least - 1)
    if (most := node.get("maxLength")) is not None:
        yield st.text(st.characters(codec="utf-8"), min_size=most + 1, max_size=most + 20)


def _outside(node: Node) -> Iterator[Strategy]:
    """Draw numbers outside of the bounds."""
    least = node.get("minimum", node.get("exclusiveMinimum"))
    most = node.get("maximum", node.get("exclusiveMaximum"))
    if least is not None:
        yield st.integers(max_value=int(least))
    if most is not None:
        yield st.integers(min_value=int(most))
