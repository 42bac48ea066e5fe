"""Measurements: ours against the same written by hand on the SDK, in the same run. Never part of a test."""
