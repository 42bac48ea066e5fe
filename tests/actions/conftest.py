"""Fixtures of the tests on actions."""

from tests.actions.jobs import runs

__all__ = ["runs"]
