"""Input templates: JSON with references to the outputs of other steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from activities._json import Json

REF, LITERAL = "$ref", "$literal"


@dataclass(frozen=True)
class Ref:
    """A reference to the output of a step, or to a field of it.

    In a plan's JSON it is ``{"$ref": "network", "path": ["id"]}``; a literal dict that has such a key is
    wrapped: ``{"$literal": {...}}``.

    Attributes:
        step: full name of the step.
        path: field names and list indices, outermost first.
    """

    step: str
    path: tuple[str | int, ...] = ()

    def to_json(self) -> Json:
        """Write it."""
        return {REF: self.step, **({"path": list(self.path)} if self.path else {})}

    def __bool__(self) -> bool:
        """Refuse to be decided on: the value isn't known while the plan is built."""
        raise TypeError(f"the output of {self.step} isn't known while the plan is built; decide on it in an operation")


def encode(template: Any, dump: Callable[[Any], Json]) -> Json:
    """Turn a template with :class:`Ref` values into JSON.

    Args:
        template: what the author wrote: refs, dicts, lists, models, plain values.
        dump: turns other values into JSON.
    """
    if isinstance(template, Ref):
        return template.to_json()
    if isinstance(template, dict):
        written = {str(key): encode(value, dump) for key, value in template.items()}
        return {LITERAL: written} if REF in written or LITERAL in written else written
    if isinstance(template, (list, tuple)):
        return [encode(value, dump) for value in template]
    return dump(template)


def refs(template: Json) -> Iterator[Ref]:
    """Give every reference in a template."""
    if isinstance(template, dict):
        if LITERAL in template:
            return
        if REF in template:
            yield Ref(template[REF], tuple(template.get("path", ())))
            return
        for value in template.values():
            yield from refs(value)
    elif isinstance(template, list):
        for value in template:
            yield from refs(value)


def fill(template: Json, output: Callable[[str], Json]) -> Json:
    """Put outputs in the place of references.

    Raises:
        LookupError: when an output lacks what a path names.
    """
    if isinstance(template, dict):
        if LITERAL in template:
            return template[LITERAL]
        if REF in template:
            return _walk(output(template[REF]), template.get("path", ()), template[REF])
        return {key: fill(value, output) for key, value in template.items()}
    if isinstance(template, list):
        return [fill(value, output) for value in template]
    return template


def _walk(value: Json, path: Any, step: str) -> Json:
    for part in path:
        try:
            value = value[part]
        except (LookupError, TypeError):
            raise LookupError(f"the output of {step} has no {'.'.join(map(str, path))}") from None
    return value
