"""Fixtures of the tests on linear workflows."""

from tests.linear.steps import runs

__all__ = ["runs"]
