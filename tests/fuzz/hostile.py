"""Inputs made from good ones by changing them anywhere, and what is no JSON at all."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

CANARY = "hunter2"
"""In every hostile string: no message about a flow's input may hold it."""

VALUES: list[Any] = [
    None, True, 0, -1, 2**70, 1e308, "", CANARY, f"{CANARY}\x00", f"{CANARY}\ud800", f"../{CANARY}", f"{CANARY}💥" * 500,
    [], {}, [None], [[[]]], {"": CANARY}, {"strange": 1}, {"__proto__": CANARY}, {"$ref": CANARY},
]  # fmt: skip
TEXTS = [
    "", " ", "nul", "{", "[1,", "'a'", f"{{\"{CANARY}\": NaN}}", "Infinity", '{"a": 1} {"b": 2}', "\ufeff{}",
    "[" * 200 + "]" * 200, '{"a":' * 200 + "1" + "}" * 200, f'"{CANARY}',
]  # fmt: skip
ENCODINGS = ["binary/plain", "binary/null", "binary/protobuf", "json/protobuf", "json/strange", "💥"]
"""That an input may say it has: the CLI sends nothing that is no JSON as ``json/plain``."""


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Give the path of each value inside a value, itself first."""
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from places(inner, (*path, index))


def changed(good: Any) -> st.SearchStrategy[str]:
    """Draw JSON that differs from a good input in one place."""
    paths = st.sampled_from(list(places(good)))
    replaced = st.builds(lambda path, value: _replaced(good, path, value), paths, st.sampled_from(VALUES))
    inner = [path for path in places(good) if path and isinstance(path[-1], str)]
    dropped = [st.sampled_from(inner).map(lambda path: _dropped(good, path))] if inner else []
    extra = (
        [st.sampled_from(VALUES).map(lambda value: {**good, "extra": value})]
        if isinstance(good, dict)
        else []
    )
    return st.one_of(replaced, *dropped, *extra).map(json.dumps)


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def _replaced(good: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    made = copy.deepcopy(good)
    _at(made, path[:-1])[path[-1]] = value
    return made


def _dropped(good: Any, path: tuple[Any, ...]) -> Any:
    made = copy.deepcopy(good)
    del _at(made, path[:-1])[path[-1]]
    return made
