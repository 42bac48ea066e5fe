"""What travels between a flow and an activity beside the user's values, and what is told of executions.

The header holds no user data, since codecs leave headers alone. A step's first dispatch sends the input and
nothing else; what later dispatches must know goes beside it as a second argument (:class:`Verdict`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Annotated, Any

import pydantic_core
from pydantic import AfterValidator, BaseModel, ConfigDict
from temporalio.api.common.v1 import Payload

from activities._json import Json

HEADER = "counterstep"
"""Key of our header, of our metadata on result payloads, and of our entry in failure details."""

AGAIN = "again"
"""Says in that entry that the failure isn't final although the server takes it so: the flow dispatches the step again."""

SENT = "counterstep-sent"
"""Local activity that records what a local step was sent with, where its own end holds nothing of ours."""

MAX_LOSSES = 20

_LEG = re.compile(r"leg:\d+/")
_BEGUN = re.compile(r"leg=\d+@(\d+)/")


def in_leg(step: str, leg: int) -> str:
    """Name a step of another leg than the one that runs: each leg gives names anew."""
    return step if _LEG.match(step) else f"leg:{leg}/{step}"


def without_leg(step: str) -> str:
    """Give the name that a step had in its own leg."""
    return _LEG.sub("", step) if "leg:" in step else step


def begun_in(leg: int, path: str) -> str:
    """Give the path of what a leg of the flow at a path starts, so that keys tell it from what other legs start.

    It stands in front, so that a path still ends with the step's name; with the depth of the flow whose leg it is.
    No step has such a name, and :func:`without_leg` leaves it.
    """
    return f"leg={leg}@{path.count('/')}/{path}" if leg else path


def from_depth(depth: int, path: str) -> str:
    """Give a path without what tells of legs of flows at a depth, or below."""
    while (begun := _BEGUN.match(path)) and int(begun[1]) >= depth:
        path = path[begun.end() :]
    return path


class StepHeader(BaseModel):
    """What a step's activity knows of where it stands.

    Attributes:
        run: the run id that it was scheduled in; another one executes it after a reset.
        origin: where the flow began, if that is another run.
        workflow: the workflow id that its key is made with, if the step was taken over from another run.
        step: its name, if the activity id doesn't tell.
        path: of a child flow's steps in the flow that all began with; its key is made with it.
        leg: of a long-running operation.
        series: id and order of its series.
        key: the call's own key.
        flows: definitions of the inline flows that it is in, outermost first.
        attempt: of a local step, which the flow counts.
        part: which of the linked traces of a large run its span is in.
        trace: that its span is in, where that can't be derived from the rest.
        span: of a child: the span of who started it.
        pivot: whether there is no way back after it.
        no_undo: whether its plan says that it isn't undone, where that plan isn't the flow's own.
    """

    model_config = ConfigDict(frozen=True)

    run: str
    origin: str | None = None
    workflow: str | None = None
    step: str | None = None
    path: str = ""
    leg: int = 0
    series: tuple[str, int] | None = None
    key: str | None = None
    flows: tuple[str, ...] = ()
    attempt: int = 1
    part: int = 0
    trace: str | None = None
    span: str | None = None
    pivot: bool = False
    no_undo: bool = False

    def payload(self) -> Payload:
        """Write it. No encoding is named: it is ours alone, and each step's history holds it."""
        return Payload(data=self.model_dump_json(exclude_defaults=True).encode())

    @classmethod
    def read(cls, payload: Payload) -> StepHeader:
        """Read it back."""
        return cls.model_validate_json(payload.data)


class Identity(BaseModel):
    """What an idempotency key is made of, beside the generation."""

    model_config = ConfigDict(frozen=True)

    namespace: str
    workflow: str
    origin: str
    leg: int = 0
    step: Annotated[str, AfterValidator(without_leg)]

    def key(self, generation: int) -> str:
        """Give the idempotency key of a generation."""
        parts = (self.namespace, self.workflow, self.origin, str(self.leg), self.step, str(generation))
        return sha256("\n".join(parts).encode()).hexdigest()


@dataclass(frozen=True)
class Verdict:
    """What all executions of a step so far amount to.

    Attributes:
        failures: attempts that raised or ran into their start-to-close timeout.
        losses: executions that were lost.
        unknown: whether any execution may have left an effect behind although the step failed.
        called: whether the handler was ever called.
        generation: how often the input was changed.
        changed: the input as changed, in a list of one; empty when it never was.
        saved: what the handler saved last.
        errors: that the handler noted, a line each.
        metadata: that the handler noted, base64 by name.
    """

    failures: int = 0
    losses: int = 0
    unknown: bool = False
    called: bool = True
    generation: int = 0
    changed: tuple[Json, ...] = ()
    saved: Json = None
    errors: tuple[str, ...] = ()
    metadata: Json = None

    def tells_more_than(self, carried: Verdict) -> bool:
        """Whether it says what an undo has to know, and the flow doesn't know yet."""
        return (self.unknown, self.saved) != (carried.unknown, carried.saved)

    def to_json(self) -> dict[str, Json]:
        """Give what differs from the defaults."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: value for name, value in plain.items() if value != getattr(_NOTHING, name)}

    @classmethod
    def from_json(cls, data: Json) -> Verdict:
        """Read it back, leaving out what this version doesn't know."""
        known = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
        tuples = {name: tuple(known.get(name, ())) for name in ("changed", "errors")}
        return cls(**{**known, **tuples})

    @property
    def was_called(self) -> bool:
        """Whether an execution that has ended called the handler."""
        return self.called and bool(self.failures or self.losses or self.unknown)

    def lost(self) -> Verdict:
        """Add a loss: the effect may be there."""
        return replace(self, losses=self.losses + 1, unknown=True, called=True)

    def failed(self, *, unknown: bool = False) -> Verdict:
        """Add a failure."""
        return replace(self, failures=self.failures + 1, unknown=self.unknown or unknown, called=True)


_NOTHING = Verdict()

BESIDE = ("generation", "changed", "saved", "errors", "metadata")
"""What of a verdict goes beside the result of a step that ended well."""


def mark_of(details: Sequence[Any]) -> dict[str, Any]:
    """Give our mark from heartbeat details; a handler may have sent details of its own instead."""
    return dict(details[0]) if details and isinstance(details[0], dict) else {}


def json_payload(value: Json) -> Payload:
    """Write JSON as a payload, whatever converter the client has; codecs apply to it as to any other."""
    return Payload(metadata={"encoding": b"json/plain"}, data=pydantic_core.to_json(value))


def json_bytes(value: Any) -> bytes:
    """Give an activity's argument as JSON, whether it came with a type hint or without."""
    payload = getattr(value, "payload", None)
    if isinstance(payload, Payload):
        return b"null" if payload.metadata.get("encoding") == b"binary/null" else payload.data
    return pydantic_core.to_json(value)
