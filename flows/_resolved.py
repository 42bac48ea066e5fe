"""What a workflow type stands for, and a saga's plan: asked in local activities, built there, and recorded."""

from __future__ import annotations

from datetime import timedelta

import pydantic_core
from pydantic import BaseModel, ConfigDict
from temporalio import workflow

from activities._json import Json
from flows._errors import refusal
from flows._packed import LIMIT, pack, unpack
from flows._plan import Plan

RESOLVE = "counterstep-resolve"
PLAN_INLINE = "counterstep-plan-inline"
"""Another activity than that which makes a run's own plan, so that a history's reader can't take one for the other."""

PLAN = "saga"
"""The workflow type whose input is a plan."""


class Resolved(BaseModel):
    """What a workflow type stands for: a sequence under its exact type, or a saga's plan.

    Attributes:
        flow: ``id@version`` of the sequence.
        plan: JSON of the plan, packed where it is large.
    """

    model_config = ConfigDict(frozen=True)

    flow: str | None = None
    plan: str | None = None

    @classmethod
    def of(cls, plan: Plan) -> Resolved:
        """Record a plan.

        Raises:
            InvalidPlan: when it is too large even when packed.
        """
        text = pack(pydantic_core.to_json(plan.to_json()).decode())
        if len(text) > LIMIT:
            size = f"the plan has {len(text)} bytes packed, {LIMIT} can be recorded"
            raise refusal(f"{plan.id}@{plan.version}", [f"steps: {size}; make it two sagas"])
        return cls(plan=text)

    @property
    def text(self) -> str:
        """The plan's JSON."""
        return unpack(self.plan or "")

    def unpacked(self) -> Plan:
        """Read the plan back."""
        return Plan.model_validate_json(self.text)


class InlinePlan(BaseModel):
    """The recorded plan of a saga that runs inline.

    Attributes:
        name: of the saga in the run; its steps stand under it.
        plan: its JSON, packed where it is large.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    plan: str


async def resolve(workflow_type: str, inputs: list[dict[str, Json]]) -> Resolved:
    """Ask which flow a type stands for, or which plan.

    Args:
        workflow_type: exact, with a range, or a bare id.
        inputs: each as ``{"json": value}``, or ``{"error": why it can't be read}``.

    Raises:
        ApplicationError: ``UnknownFlow``, ``InvalidInput`` or ``InvalidPlan``.
    """
    found: Resolved = await workflow.execute_local_activity(
        RESOLVE,
        args=[workflow_type, inputs],
        result_type=Resolved,
        start_to_close_timeout=timedelta(minutes=2),  # a builder is bounded inside
        summary="which flow, which plan?",
    )
    return found


async def plan_inline(name: str, saga: str, data: Json) -> str:
    """Have the plan of a saga made that runs inline, and give its JSON.

    Args:
        name: of the saga in the run.
        saga: ``id@version``.
        data: its params.

    Raises:
        ApplicationError: ``UnknownFlow``, ``InvalidInput`` or ``InvalidPlan``.
    """
    found: InlinePlan = await workflow.execute_local_activity(
        PLAN_INLINE,
        args=[name, saga, data],
        result_type=InlinePlan,
        start_to_close_timeout=timedelta(minutes=2),
        summary=f"which plan has {name}?",
    )
    return unpack(found.plan)
