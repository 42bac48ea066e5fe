"""Plans: sagas as data. Everything a run needs is here; running one needs no user code beside its operations."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, TypeAdapter

from activities import Retry
from activities._json import Json
from flows._policy import Policy
from flows._undo import UndoSpec

_STEP = ConfigDict(frozen=True, extra="forbid")


def _say_kind(schema: dict[str, Any]) -> None:
    """Make the schema ask for the kind: a step without one is an operation."""
    schema["required"] = [*schema.get("required", ()), "kind"]


_OTHER_STEP = ConfigDict(frozen=True, extra="forbid", json_schema_extra=_say_kind)


class OperationStep(BaseModel):
    """A step that runs an operation.

    Attributes:
        name: full name, with the path of the subsagas around it.
        after: names of the steps that must have ended before it starts.
        operation: ``id@version``; in a plan that somebody types, a range or a bare id too.
        input: a template.
        description: shown in the Temporal UI.
        timeout: of one attempt; the operation's own unless given.
        retry: the operation's own unless given.
        local: whether it runs as a local activity.
        task_queue: the operation's own unless given.
        at_most_once: the operation's own unless given.
        undo: how it is undone; filled in when the plan is made.
        no_undo: said on purpose of an operation that has no undo, or whose undo isn't wanted here.
        pivot: no way back after it: from the moment it is scheduled a failure holds, and nothing is undone.
    """

    model_config = _STEP

    kind: Literal["operation"] = "operation"
    name: str
    after: tuple[str, ...] = ()
    operation: str
    input: Json = Field(default_factory=dict)
    description: str = ""
    timeout: timedelta | None = None
    retry: Retry | None = None
    local: bool | None = None
    task_queue: str | None = None
    at_most_once: bool | None = None
    undo: UndoSpec | None = None
    no_undo: bool = False
    pivot: bool = False


class ConstantStep(BaseModel):
    """A value with a name."""

    model_config = _OTHER_STEP

    kind: Literal["constant"] = "constant"
    name: str
    after: tuple[str, ...] = ()
    value: Json = None


class WaitStep(BaseModel):
    """A durable timer."""

    model_config = _OTHER_STEP

    kind: Literal["wait"] = "wait"
    name: str
    after: tuple[str, ...] = ()
    duration: timedelta = Field(gt=timedelta(0))


class ApprovalStep(BaseModel):
    """A place where the run waits for an operator."""

    model_config = _OTHER_STEP

    kind: Literal["approval"] = "approval"
    name: str
    after: tuple[str, ...] = ()
    timeout: timedelta | None = Field(default=None, gt=timedelta(0))


class SubsagaStep(BaseModel):
    """The end of a subsaga, whose steps are in the plan under its name; its output is that of one of them.

    Attributes:
        result: full name of the step whose output is the subsaga's; ``None`` when it has none.
    """

    model_config = _OTHER_STEP

    kind: Literal["subsaga"] = "subsaga"
    name: str
    after: tuple[str, ...] = ()
    result: str | None = None


class FlowStep(BaseModel):
    """A flow of its own, run as a child workflow, which hands what would undo it to this saga.

    Attributes:
        flow: ``id@version``; in a plan that somebody types, a range or a bare id too.
        input: a template.
        description: shown in the Temporal UI.
    """

    model_config = _OTHER_STEP

    kind: Literal["flow"] = "flow"
    name: str
    after: tuple[str, ...] = ()
    flow: str
    input: Json = Field(default_factory=dict)
    description: str = ""


def _kind(step: Any) -> str:
    return str(step.get("kind", "operation") if isinstance(step, dict) else getattr(step, "kind", ""))


PlanStep = Annotated[
    Annotated[OperationStep, Tag("operation")]
    | Annotated[ConstantStep, Tag("constant")]
    | Annotated[WaitStep, Tag("wait")]
    | Annotated[ApprovalStep, Tag("approval")]
    | Annotated[SubsagaStep, Tag("subsaga")]
    | Annotated[FlowStep, Tag("flow")],
    Discriminator(_kind),
]
"""A step of a plan; one without a ``kind`` is an operation."""

STEP: TypeAdapter[PlanStep] = TypeAdapter(PlanStep)


class Plan(BaseModel):
    """A saga as data (steno: the saga DAG). ``Plan.model_json_schema()`` is its published schema.

    Attributes:
        format: of this model.
        id: of the saga.
        version: of the saga.
        description: one line.
        policy: what happens when something fails.
        steps: in plan order; ready steps start in this order.
        result: full name of the step whose output is the run's result.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    id: str = "saga"
    version: str = "0.0.0"
    description: str = ""
    policy: Policy = Policy()
    steps: tuple[PlanStep, ...]
    result: str | None = None

    def to_json(self) -> Json:
        """Give what ``--type saga`` takes as its input: all that differs from the defaults, and each step's kind."""
        plan: dict[str, Json] = self.model_dump(mode="json", exclude_defaults=True)
        kinds = [{"kind": step.kind} for step in self.steps]
        return {**plan, "steps": [{**kind, **step} for kind, step in zip(kinds, plan["steps"], strict=True)]}

    def mermaid(self) -> str:
        """Draw it as a Mermaid flowchart."""
        lines = ["flowchart TD"]
        numbers = {step.name: f"n{index}" for index, step in enumerate(self.steps)}
        for step in self.steps:
            left, right = _SHAPES[step.kind]
            lines.append(f'  {numbers[step.name]}{left}"{step.name}"{right}')
        lines += [
            f"  {numbers[before]} --> {numbers[step.name]}" for step in self.steps for before in step.after
        ]
        return "\n".join(lines)

    def dot(self) -> str:
        """Draw it in Graphviz's DOT language."""
        lines = [f'digraph "{self.id}" {{', "  rankdir=TB; node [shape=box];"]
        lines += [f'  "{step.name}" [label="{step.name}\\n{_label(step)}"];' for step in self.steps]
        lines += [f'  "{before}" -> "{step.name}";' for step in self.steps for before in step.after]
        return "\n".join([*lines, "}"])


_SHAPES = {
    "operation": ("[", "]"),
    "constant": ("[/", "/]"),
    "wait": ("([", "])"),
    "approval": ("{{", "}}"),
    "subsaga": ("[[", "]]"),
    "flow": ("[/", "\\]"),
}


def _label(step: Any) -> str:
    if isinstance(step, FlowStep):
        return step.flow
    return str(step.operation) if isinstance(step, OperationStep) else str(step.kind)
