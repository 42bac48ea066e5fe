"""What a flow shows of its progress while it runs: metadata of an operation (AIP-151), without a worker from the memo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict
from temporalio import workflow

from activities import NotSerializable
from activities._json import Json, size

METADATA = "counterstep.metadata"
"""Memo key of what a long-running operation says of itself: the JSON of its ``Metadata``."""

PROGRESS = "counterstep.progress"
"""Memo key of where a long-running operation was entered last."""

METADATA_LIMIT = 16 * 1024
"""Bytes of the JSON: every answer that lists operations holds it."""


class FlowMetadata(BaseModel):
    """The progress of a flow.

    Attributes:
        flow: ``id@version``, or what it was started as.
        state: as the query ``status`` shows it.
        steps_done: how many steps ended well; ``None`` where only a worker knows.
        steps_total: how many there are, where that is known before: in sagas.
        current: the steps and waits at work.
        resume_point: where a long-running operation was entered last; empty at its beginning, and of other flows.
    """

    model_config = ConfigDict(frozen=True)

    flow: str
    state: str
    steps_done: int | None = None
    steps_total: int | None = None
    current: tuple[str, ...] = ()
    resume_point: str = ""

    @classmethod
    def of_memo(
        cls, flow: str, state: str, memo: Mapping[str, Any], pending: Sequence[str] = ()
    ) -> FlowMetadata:
        """Give what is known without a worker.

        Args:
            flow: the workflow type.
            state: as Temporal shows it, ``running`` or how it was closed; what the memo tells goes before that.
            memo: of the run, decoded.
            pending: ids of the activities that Temporal shows as pending.
        """
        told, progress = _dict(memo.get("counterstep")).get("state"), _dict(memo.get(PROGRESS))
        done, point = progress.get("steps_done"), progress.get("resume_point")
        if not isinstance(told, str) or told == "running" or state in ("terminated", "timed_out"):
            told = state
        return cls(
            flow=flow,
            state=told,
            steps_done=done if type(done) is int else None,
            current=tuple(pending),
            resume_point=point if isinstance(point, str) else "",
        )


def _dict(value: Any) -> dict[str, Any]:
    """Take a value of a memo, which anybody may write, only if it is an object."""
    return value if isinstance(value, dict) else {}


def write_metadata(who: str, value: Json) -> None:
    """Write an operation's metadata: one event, and with it the task that it is part of.

    Raises:
        NotSerializable: when it is too large.
    """
    if size(value) > METADATA_LIMIT:
        raise NotSerializable(
            f"{who}: metadata has {size(value)} bytes, {METADATA_LIMIT} are allowed; keep large values elsewhere"
        )
    workflow.upsert_memo({METADATA: value})
