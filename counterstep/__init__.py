"""Counterstep: durable operations on Temporal."""
