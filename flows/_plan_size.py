"""What a saga will carry from run to run, estimated before it runs."""

from __future__ import annotations

import warnings
from base64 import b64encode
from zlib import compress

import pydantic_core

from activities._json import Json
from flows._full import CONTINUE_AT
from flows._packed import LIMIT
from flows._plan import OperationStep, Plan

STEP_BYTES = 150
"""What a step adds, packed, if its output is small: its name, its state, its output."""

_EVENTS = 6


class LargePlan(UserWarning):
    """A plan whose run may have to hand more to its next run than Temporal records. Such a run fails, and unwinds."""


def warn_if_large(plan: Plan) -> None:
    """Warn the caller's caller of a plan whose run goes on as new and may carry too much.

    A run carries its plan, and input and output of every step that may have to be undone. Outputs aren't known
    yet: each is taken for a small one.
    """
    if sum(map(_events, plan.steps)) < CONTINUE_AT:
        return
    inputs = [step.input for step in plan.steps if isinstance(step, OperationStep) and step.undo]
    carried = _packed(plan.to_json()) + _packed(inputs) + STEP_BYTES * len(inputs)
    if carried > LIMIT:
        what = f"{plan.id}@{plan.version}: what its run carries may pass {LIMIT} bytes packed"
        says = f"{what} (about {carried} with small outputs); make it two sagas, or pass references to large values"
        warnings.warn(LargePlan(says), stacklevel=3)


def _events(step: object) -> int:
    """Count the events of a step and its undo."""
    if not isinstance(step, OperationStep):
        return 0
    return (1 if step.local else _EVENTS) * (2 if step.undo else 1)


def _packed(value: Json) -> int:
    return len(b64encode(compress(pydantic_core.to_json(value))))
