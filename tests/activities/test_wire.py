"""What travels beside the user's values. What is recorded here must read the same for ever."""

from __future__ import annotations

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue

from activities._wire import Identity, StepHeader, json_bytes, json_payload
from flows._calls import call_digest

BASE = Identity(namespace="default", workflow="w", origin="r", step="a")


def test_a_key_never_changes() -> None:
    """sha256 of namespace, workflow id, origin, leg, step, generation: systems outside keep it."""
    assert BASE.key(0) == "c55f8fc088ff24b9ded6f4419c616256797590720f26df48db1fc2a60820f0ac"


@pytest.mark.parametrize(
    "change", [{"namespace": "n"}, {"workflow": "w2"}, {"origin": "r2"}, {"leg": 1}, {"step": "b"}]
)
def test_each_part_counts_in_the_key(change: dict[str, object]) -> None:
    """Another run, step, leg or generation has another key."""
    assert BASE.model_copy(update=change).key(0) not in (BASE.key(0), BASE.key(1))


def test_parts_of_a_key_do_not_run_together() -> None:
    """Moving a letter from one part to the next gives another key."""
    left = Identity(namespace="ab", workflow="c", origin="r", step="s")
    assert left.key(0) != Identity(namespace="a", workflow="bc", origin="r", step="s").key(0)


def test_a_calls_digest_never_changes() -> None:
    """A later version answers from what an earlier one recorded."""
    assert (
        call_digest("operation", "double@1.0.0", {"b": 1.0, "a": "x"}, None)
        == "704936fba14e69c3a4274114ff69daddc407242582e16b92393b3dd220c99140"
    )


def test_what_makes_calls_differ() -> None:
    """Kind, version, build, input and key; an empty key is none, and a key never runs into the input."""
    base = call_digest("operation", "count@1.0.0", 1, None)
    others = [
        call_digest("sequence", "count@1.0.0", 1, None),
        call_digest("operation", "count@1.0.1", 1, None),
        call_digest("operation", "count@1.0.0+abc", 1, None),
        call_digest("operation", "count@1.0.0", "1", None),
        call_digest("operation", "count@1.0.0", 1, "k"),
        call_digest("operation", "count@1.0.0", 1, "23"),
        call_digest("operation", "count@1.0.0", 12, "3"),
    ]
    assert len({base, *others}) == 8
    assert call_digest("operation", "count@1.0.0", 1.0, "") == base


def test_a_first_header_holds_the_run_only() -> None:
    """Each step's history holds it, so it names only what differs from the defaults."""
    assert StepHeader(run="r").payload() == Payload(data=b'{"run":"r"}')
    full = StepHeader(
        run="r",
        origin="o",
        workflow="w",
        step="s",
        leg=1,
        series=("v", 2),
        key="k",
        flows=("f@1.0.0",),
        attempt=2,
    )
    assert StepHeader.read(full.payload()) == full


def test_arguments_as_json() -> None:
    """A raw payload's bytes, ``null`` for Temporal's empty payload, anything else as JSON."""
    assert json_bytes(RawValue(json_payload({"a": 2**70}))) == b'{"a":1180591620717411303424}'
    assert json_bytes(RawValue(Payload(metadata={"encoding": b"binary/null"}))) == b"null"
    assert json_bytes({"a": [1, None]}) == b'{"a":[1,null]}'
