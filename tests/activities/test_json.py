"""Canonical JSON and its digest: equal values and only those are equal."""

from __future__ import annotations

import json
import math
from hashlib import sha256
from typing import Any

import pydantic_core
import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities import NotSerializable
from activities._json import canonical, digest, finite, size

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def same(left: Any, right: Any) -> bool:
    """Say, the slow way, whether two JSON values are equal: booleans are no numbers, numbers go by value."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 2, "a": 1.0}, '{"a":1,"b":2}'),
        ([2, 1], "[2,1]"),
        (16015286601757825753, "16015286601757825753"),
        (1e22, "10000000000000000000000"),
        (-0.0, "0"),
        (0.1, "0.1"),
        (1.5e-9, "1.5e-09"),
        (True, "true"),
        (None, "null"),
        ("ä\n\u2028", '"ä\\n\u2028"'),
        ({"a": {"c": [], "b": {}}}, '{"a":{"b":{},"c":[]}}'),
        ((1, 2), "[1,2]"),
    ],
)
def test_canonical_form(value: Any, text: str) -> None:
    """Keys sorted, no spaces, whole numbers without a point, all digits, UTF-8."""
    assert canonical(value) == text.encode()


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1.0}),
        (1, 1.0),
        (10**22, 1e22),
        ([1, [2.0]], [1.0, [2]]),
        (0, -0.0),
        (2**53, float(2**53)),
    ],
)
def test_equal_values(left: Any, right: Any) -> None:
    """Key order and the type of a number don't matter."""
    assert digest("op", left) == digest("op", right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ([1, 2], [2, 1]),
        (1, "1"),
        (1, True),
        ("1", True),
        ("true", True),
        (0, False),
        (0, None),
        ("null", None),
        ({}, []),
        ({}, None),
        ({"a": None}, {}),
        (16015286601757825753, 16015286601757825754),
        (2**53 + 1, float(2**53)),
        (0.1, 0.1000000000000001),
        ("ä", "a\u0308"),
        (["ab"], ["a", "b"]),
    ],
)
def test_values_that_differ(left: Any, right: Any) -> None:
    """Numbers never equal text or booleans, and count with all their digits; array order counts."""
    assert digest("op", left) != digest("op", right)


def test_digest_of_parts() -> None:
    """The digest is the sha256 of the canonical JSON of the parts; parts don't run together."""
    assert digest("op", {"b": 1.0}) == sha256(b'["op",{"b":1}]').hexdigest()
    assert digest(1, "23") != digest(12, "3")
    assert digest("a", None) != digest("a")


@given(values)
def test_canonical_form_loses_nothing(value: Any) -> None:
    """Reading it back gives an equal value, and writing that gives the same bytes."""
    text = canonical(value)
    back = json.loads(text)
    assert same(back, value)
    assert canonical(back) == text


@given(values, values)
def test_digests_are_equal_exactly_where_values_are(left: Any, right: Any) -> None:
    """No two different values share a digest, no two equal ones differ."""
    assert (digest(left) == digest(right)) is same(left, right)


@given(st.dictionaries(st.text(), scalars, min_size=2), st.randoms(use_true_random=False))
def test_key_order_never_matters(value: dict[str, Any], random: Any) -> None:
    """A shuffled object is the same object."""
    items = list(value.items())
    random.shuffle(items)
    assert canonical(dict(items)) == canonical(value)


@given(st.integers(min_value=-(2**60), max_value=2**60))
def test_whole_floats_are_integers(number: int) -> None:
    """A float equals the integer that it stands for, and no other."""
    assert (canonical(float(number)) == canonical(number)) is (int(float(number)) == number)


@given(values)
def test_what_travels_is_what_counts(value: Any) -> None:
    """The digest after a trip through the wire's JSON is the digest before it."""
    assert digest(pydantic_core.from_json(pydantic_core.to_json(value))) == digest(value)


@given(values)
def test_size_counts_the_recorded_bytes(value: Any) -> None:
    """It is the length of compact UTF-8 JSON."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    assert size(value) == len(text.encode()) or any(c in text for c in "e.\\")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_lacks(number: float) -> None:
    """They are refused with their place."""
    with pytest.raises(NotSerializable) as caught:
        finite({"a": [0.0, {"b": number}]})
    assert caught.value.message == f"a.1.b is {number}, which JSON can't hold"
    with pytest.raises(NotSerializable) as caught:
        finite(number)
    assert caught.value.message == f"value is {number}, which JSON can't hold"
