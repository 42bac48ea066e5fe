"""What is certain of an output that a reference names: what it lacks, and the kinds of what it stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, get_origin

from activities._failure import LOC_LIMIT, cut
from activities._json import Json
from activities._schema import Schema
from flows._control import Decision
from flows._declaration import Declaration
from flows._fields import lacks, named
from flows._kinds import given_at, kinds_of
from flows._plan import ApprovalStep, ConstantStep, PlanStep, WaitStep
from flows._template import Path, Ref, missing, walk

_SHOWN, _COMPARED = 10, 200
_DECISION: Schema[Decision] = Schema(Decision)
Declared = Mapping[str, Declaration]
Found = tuple[int, str]


def lacking(target: PlanStep | None, ref: Ref, declared: Declared) -> str | None:
    """Say what the output of a step certainly lacks, and what it has; ``None`` where all may be there.

    Args:
        target: whose output it is.
        ref: to it, as it stands in the template.
        declared: the operations and flows of the plan's steps.
    """
    found = _found(target, ref.path, declared)
    if found is None:
        return None
    depth, what = found
    where = ".".join(map(str, (ref.step, *ref.path[:depth])))
    return f"there is no {ref.path[depth]!r} in its output; {where} {what}"


def kinds(target: PlanStep | None, path: Path, declared: Declared) -> list[str] | None:
    """Give the kinds of what a path into the output of a step leads to; ``None`` when they aren't certain."""
    if isinstance(target, ConstantStep):
        return None if missing(target.value, path) is not None else kinds_of(walk(target.value, path))
    if isinstance(target, WaitStep):
        return None if path else kinds_of(None)
    if isinstance(target, ApprovalStep):
        return given_at(_DECISION.core, path)
    if target is None or target.name not in declared:
        return None
    return given_at(declared[target.name].output.core, path)


def _found(target: PlanStep | None, path: Path, declared: Declared) -> Found | None:
    """Give how many parts of a path lead somewhere, and what is there."""
    if isinstance(target, ConstantStep):
        return _in_value(target.value, path)
    if isinstance(target, WaitStep):
        return (0, "has no output") if path else None
    if isinstance(target, ApprovalStep):
        return _in_type(Decision, path)
    if target is None or target.name not in declared:
        return None
    return _in_type(declared[target.name].output.type, path)


def _in_value(value: Json, path: Path) -> Found | None:
    for depth, part in enumerate(path):
        if missing(value, (part,)) is not None:
            return depth, _has(list(value), part) if isinstance(value, dict) else f"is {_of_value(value)}"
        value = value[part]
    return None


def _of_value(value: Json) -> str:
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return "null" if value is None else type(value).__name__


def _in_type(type_: Any, path: Path) -> Found | None:
    found = lacks(type_, path)
    if found is None:
        return None
    names = dict.fromkeys(name for type_ in found.there for name in named(type_) or ())
    if names:
        return found.depth, _has(list(names), path[found.depth])
    return found.depth, "is " + " or ".join(dict.fromkeys(map(_of_type, found.there)))


def _of_type(type_: Any) -> str:
    kind = get_origin(type_) or type_
    if kind in (None, type(None)):
        return "null"
    is_list = isinstance(kind, type) and issubclass(kind, Sequence) and not issubclass(kind, (str, bytes))
    return "a list" if is_list else str(getattr(kind, "__name__", kind))


def _has(names: list[str], wanted: str | int) -> str:
    """List names; where there are many, those that are near to what was wanted, then the first ones."""
    near = get_close_matches(str(wanted), names[:_COMPARED]) if len(names) > _SHOWN else []
    shown = [cut(name, LOC_LIMIT) for name in dict.fromkeys([*near, *names])][:_SHOWN]
    more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"has {', '.join(shown) or 'nothing'}{more}"
