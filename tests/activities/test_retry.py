"""Retry policies: delays, and Temporal's form of them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import TypeAdapter, ValidationError

from activities import Retry

MS = timedelta(milliseconds=1)


class Gone(LookupError):
    """An error of the user's own."""


def test_defaults() -> None:
    """Ten attempts, 100 ms doubling up to a minute."""
    retry = Retry()
    assert (retry.max_attempts, retry.initial, retry.factor, retry.maximum) == (
        10,
        100 * MS,
        2.0,
        timedelta(minutes=1),
    )
    assert retry.non_retryable == ()


def test_delays_grow_up_to_the_maximum() -> None:
    """After failure n: initial × factor^(n-1), at most maximum, also where floats overflow."""
    retry = Retry(initial=100 * MS, factor=3, maximum=timedelta(seconds=1))
    delays = [100 * MS, 300 * MS, 900 * MS, timedelta(seconds=1)]
    assert [retry.delay(n) for n in (1, 2, 3, 4)] == delays
    assert retry.delay(100_000) == timedelta(seconds=1)
    assert Retry(factor=1).delay(50) == 100 * MS


def test_classes_and_names_that_end_it() -> None:
    """``non_retryable`` takes classes and names; classes are kept by name."""
    assert Retry(non_retryable=[Gone, "TypeError"]).non_retryable == ("Gone", "TypeError")


def test_on_temporal() -> None:
    """Temporal gets the fields, what is left of the attempts, and doesn't retry its own timeouts."""
    retry = Retry(5, initial=10 * MS, factor=1.5, maximum=20 * MS, non_retryable=[Gone])
    policy = retry.on_temporal(3)
    assert (
        policy.maximum_attempts,
        policy.initial_interval,
        policy.backoff_coefficient,
        policy.maximum_interval,
    ) == (
        3,
        10 * MS,
        1.5,
        20 * MS,
    )
    assert policy.non_retryable_error_types == [
        "TemporalTimeout:StartToClose",
        "TemporalTimeout:Heartbeat",
        "Gone",
    ]


def test_on_temporal_after_failures() -> None:
    """What the server waits first is what comes after the failures that the flow has seen."""
    retry = Retry(5, initial=10 * MS, factor=3, maximum=50 * MS)
    assert [retry.on_temporal(3, failures).initial_interval for failures in (0, 1, 2)] == [
        10 * MS,
        30 * MS,
        50 * MS,
    ]


def test_no_limit_and_one_attempt() -> None:
    """0 is no limit, as in Temporal; for one attempt nothing else matters."""
    assert Retry(0).on_temporal(0).maximum_attempts == 0
    assert Retry(0).on_temporal(0).maximum_interval == timedelta(minutes=1)
    once = Retry(max_attempts=1).on_temporal(1)
    assert (once.maximum_attempts, once.non_retryable_error_types) == (1, None)


def test_a_maximum_below_the_initial_delay() -> None:
    """Temporal would refuse such a policy, so it gets the initial delay as the maximum."""
    retry = Retry(initial=timedelta(minutes=2))
    assert retry.on_temporal(3).maximum_interval == timedelta(minutes=2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_attempts": -1},
        {"initial": timedelta(0)},
        {"factor": 0.5},
        {"maximum": timedelta(0)},
        {"attempts": 3},
    ],
)
def test_policies_that_make_no_sense(wrong: dict[str, object]) -> None:
    """Negative attempts, no delay, shrinking delays and unknown names are refused where they are written."""
    with pytest.raises(ValidationError):
        Retry(**wrong)  # type: ignore[arg-type]


def test_a_policy_travels_as_json() -> None:
    """It is recorded with plans and undo records, and comes back equal."""
    retry = Retry(0, initial=1 * MS, non_retryable=[Gone])
    travels = TypeAdapter(Retry)
    assert travels.validate_json(travels.dump_json(retry)) == retry
